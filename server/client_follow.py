"""Follows a job's output to its end: over broken connections, without a byte lost or shown twice."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

from server.client import BUSY, Client, Json, ProblemError, UnreachableError, with_query
from server.client_words import reason_of

Stream = Literal["out", "err"]

STREAMS: tuple[Stream, ...] = ("out", "err")
#: silence after which the connection is taken for dead and asked for anew: cheaper than to trust it
SILENCE_S = 30.0
#: how long a server may be gone before a follower gives up
PATIENCE_S = 300.0
MAX_LINE_BYTES = 8 << 20
PIECE_BYTES = 4 << 20


class BadStreamError(Exception):
    """The server sent something that is no line of output."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output; `missing` bytes before it are gone (quota, or pruned)."""

    stream: Stream
    data: bytes
    missing: int = 0
    attempt: int = 1  #: which of the job's tries wrote it


@dataclass(frozen=True, slots=True)
class End:
    """The job ended; nothing more comes."""

    state: str
    exit_code: int | None
    reason: str


@dataclass(slots=True)
class Place:
    """How far each stream was read, in bytes."""

    offsets: dict[Stream, int] = field(default_factory=lambda: {"out": 0, "err": 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a follower's user wants to hear besides output."""

    quiet: Callable[[], float] = lambda: SILENCE_S  #: nothing came for a while; answers how long to listen next
    lost: Callable[[str], None] = lambda _: None  #: the server is gone, for the first time since it was there
    found: Callable[[], None] = lambda: None  #: it is back


def follow(
    client: Client,
    job: int,
    place: Place,
    *,
    watch: Watch,
    first_s: float = SILENCE_S,
    patience_s: float = PATIENCE_S,
) -> Iterator[Chunk | End]:
    """Yield output as it comes, and at last how the job ended.

    Args:
        place: moved on with every piece that is yielded.
        first_s: silence before `watch.quiet` is asked for the first time.

    Raises:
        UnreachableError: the server was gone for `patience_s`.
        ProblemError: there is no such job, or it is somebody else's.
    """
    listen_s, loss = first_s, _Loss(client, watch, patience_s)
    while True:
        try:
            for one in _listen(client, job, place, listen_s):
                loss.over()
                yield one
                if isinstance(one, End):
                    return
            reason = "it ended the answer before the job ended"
        except TimeoutError:
            loss.over()
            listen_s = watch.quiet()
            continue
        except ProblemError as error:
            if error.status not in BUSY:
                raise
            reason = str(error)
        except (OSError, http.client.HTTPException, BadStreamError) as error:
            reason = reason_of(error)
        loss.wait(reason)


def so_far(client: Client, job: int, place: Place) -> Iterator[Chunk]:
    """Yield what was written until now, one stream after the other.

    Raises:
        UnreachableError, ProblemError: as every request.
    """
    for stream in place.offsets:
        path = f"/v1/jobs/{job}/logs"
        while data := client.get_bytes(path, stream=stream, offset=place.offsets[stream], limit=PIECE_BYTES):
            place.offsets[stream] += len(data)
            yield Chunk(stream, data)


class _Loss:
    """How long the server has been gone, and what was said about it."""

    def __init__(self, client: Client, watch: Watch, patience_s: float) -> None:
        self._client = client
        self._watch = watch
        self._patience_s = patience_s
        self._since_s: float | None = None
        self._step = 0

    def over(self) -> None:
        """Something was heard."""
        if self._step > 1:
            self._watch.found()
        self._since_s, self._step = None, 0

    def wait(self, reason: str) -> None:
        """Sleep before the next try; one broken connection is not worth a word, two are."""
        now_s = self._client.clock.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s >= self._patience_s:
            raise UnreachableError(f"{self._client.server} has not answered for {self._patience_s:.0f} s: {reason}")
        if self._step == 1:
            self._watch.lost(reason)
        self._client.clock.sleep(self._client.backoff_s(self._step))
        self._step += 1


def _listen(client: Client, job: int, place: Place, listen_s: float) -> Iterator[Chunk | End]:
    offsets = place.offsets
    query = {"follow": 1} | {str(stream): offset for stream, offset in offsets.items()}
    path = with_query(f"/v1/jobs/{job}/logs", query)
    with client.stream(path, timeout_s=listen_s) as response:
        while line := response.readline(MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                raise BadStreamError("it hung up in the middle of a line")
            document = _document(line)
            if "end" in document:
                end = document["end"]
                yield End(str(end.get("state")), end.get("exit_code"), str(end.get("reason") or ""))
                return
            if document.get("stream") in offsets:
                chunk = _chunk(document, place)
                if chunk is not None:
                    yield chunk


def _document(line: bytes) -> Json:
    try:
        document = json.loads(line or b"{}")
    except ValueError as error:
        raise BadStreamError("it sends what is no output of a job") from error
    if not isinstance(document, dict):
        raise BadStreamError("it sends what is no output of a job")
    return document


def _chunk(document: Json, place: Place) -> Chunk | None:
    """The part of a line that was not seen before; the place is moved behind it."""
    stream = cast("Stream", document["stream"])
    with contextlib.suppress(KeyError, TypeError, ValueError):
        text = document.get("data")
        data = text.encode("utf-8") if text is not None else base64.b64decode(document["data64"], validate=True)
        start, seen = int(document["offset"]), place.offsets[stream]
        place.offsets[stream] = max(seen, start + len(data))
        fresh = data[max(0, seen - start) :]
        missing, attempt = max(0, start - seen), int(document.get("attempt", 1))
        return Chunk(stream, fresh, missing, attempt) if fresh else None
    raise BadStreamError("it sends what is no output of a job")
