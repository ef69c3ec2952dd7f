"""A job's output as one text per stream: what its attempts printed, one after the other, read while it grows.

An offset counts from the job's first byte, whatever attempt printed it. Only the newest attempt may still print, so
what lies before its output never changes.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from scheduler.lifecycle import is_ended
from scheduler.records import Attempt, Job, Stream
from scheduler.store.logs import STREAMS
from server.runtime import Runtime

PIECE_BYTES = 64 << 10
ATTEMPTS_MAX = 1000
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some output."""

    stream: Stream
    offset: int
    attempt: int
    data: bytes

    def line(self) -> bytes:
        """As a line of JSON; what is no text goes as base64."""
        line: dict[str, object] = {"stream": self.stream, "offset": self.offset, "attempt": self.attempt}
        try:
            line["data"] = self.data.decode()
        except UnicodeDecodeError:
            line["data64"] = base64.b64encode(self.data).decode("ascii")
        return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


@dataclass(slots=True)
class Output:
    """How far somebody has read a job's output."""

    runtime: Runtime
    job: int
    offsets: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))

    def look(self) -> tuple[Job | None, list[Piece]]:
        """The job, and a piece of each stream that has one; moves the offsets on. Waits for the disk."""
        reader = self.runtime.reader
        job = reader.job(self.job)
        if job is None:
            return None, []
        tries = sorted(reader.attempts(self.job, limit=ATTEMPTS_MAX), key=lambda attempt: attempt.n)
        found = []
        for stream in STREAMS:
            piece = self._next(stream, tries, grows=not is_ended(job.state))
            if piece is not None:
                self.offsets[stream] = piece.offset + len(piece.data)
                found.append(piece)
        return job, found

    def _next(self, stream: Stream, tries: list[Attempt], *, grows: bool) -> Piece | None:
        logs = self.runtime.files.logs
        begins = 0
        offset = self.offsets[stream]
        for attempt in tries:
            size = logs.size(attempt.token, stream)
            if offset < begins + size:
                data = logs.read(attempt.token, stream, offset - begins, PIECE_BYTES)
                more = grows and attempt is tries[-1]
                whole = _whole_letters(data) if more or len(data) == PIECE_BYTES else data
                return Piece(stream=stream, offset=offset, attempt=attempt.n, data=whole) if whole else None
            begins += size
        return None

    def text(self, stream: Stream, limit: int) -> tuple[bytes, int]:
        """At most `limit` bytes of one stream, and how many there are in all. Waits for the disk."""
        logs = self.runtime.files.logs
        tries = sorted(self.runtime.reader.attempts(self.job, limit=ATTEMPTS_MAX), key=lambda attempt: attempt.n)
        found, begins = bytearray(), 0
        for attempt in tries:
            size = logs.size(attempt.token, stream)
            at = self.offsets[stream] + len(found)
            if begins <= at < begins + size and len(found) < limit:
                found += logs.read(attempt.token, stream, at - begins, limit - len(found))
            begins += size
        return bytes(found), begins

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines of JSON as the output grows; the last one says how the job ended."""
        with self.runtime.jobs.listen(self.job) as event:
            while not self.runtime.stopping:
                event.clear()
                job, pieces = await self.runtime.read(self.look)
                if job is None:
                    return
                for piece in pieces:
                    yield piece.line()
                if pieces:
                    continue
                if is_ended(job.state):
                    yield _end(job)
                    return
                await event.wait()


def _end(job: Job) -> bytes:
    end = {"state": job.state.name.lower(), "exit_code": job.exit_code, "reason": job.reason}
    return json.dumps({"end": end}, separators=(",", ":")).encode("ascii") + b"\n"


def _whole_letters(data: bytes) -> bytes:
    """Without the first bytes of a letter whose last have not come yet."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:  # goes on a letter
            continue
        begins = 0xC2 <= byte <= 0xF4  # other bytes never begin a letter of several (RFC 3629, section 4)
        length = (4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2) if begins else 1
        return data[:-back] if length > back else data
    return data


class FollowResponse(StreamingResponse):
    """Ends when the output does or when its reader leaves, whichever is first; then says so, once."""

    media_type = NDJSON

    def __init__(self, lines: AsyncIterator[bytes], *, closed: Callable[[], None]) -> None:
        # a proxy must hand each line on as it comes
        headers: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(lines, headers=headers)
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope
        sending = asyncio.ensure_future(self.stream_response(send))
        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            self._closed()
