"""Carries a job's output to the server as it comes, by offset: nothing twice, nothing missing, nothing waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from scheduler.node.remote import RefusedError, Remote, UnreachableError, WrongOffsetError
from scheduler.records import Stream

#: one call's worth
CHUNK_BYTES = 256 << 10


class LogPusher:
    """One stream of one attempt."""

    def __init__(
        self, remote: Remote, token: int, stream: Stream, path: Path, *, pauses: Callable[[], Callable[[], float]]
    ) -> None:
        """`pauses` begins a new series of pauses, in seconds, between attempts to reach a server that is away."""
        self._remote, self._token, self._stream, self._path, self._pauses = remote, token, stream, path, pauses
        self._offset = 0
        self._more = asyncio.Event()
        self._drained = asyncio.Event()
        self.given_up = ""  #: why the server does not want the rest

    def wake(self) -> None:
        """There may be more."""
        if self._size() > self._offset and not self.given_up:
            self._drained.clear()
            self._more.set()

    async def drained(self) -> None:
        """Until the server has all there is now, or does not want it."""
        self.wake()
        if self._size() > self._offset and not self.given_up:
            await self._drained.wait()

    async def run(self) -> None:
        """Until cancelled."""
        pause = self._pauses()
        while not self.given_up:
            await self._more.wait()
            self._more.clear()
            try:
                while data := self._next():
                    await self._push(data)
                    pause = self._pauses()
            except UnreachableError:
                await asyncio.sleep(pause())
                self._more.set()
                continue
            except RefusedError as refusal:
                self.given_up = str(refusal)
            self._drained.set()

    async def _push(self, data: bytes) -> None:
        try:
            await self._remote.append_log(self._token, self._stream, self._offset, data)
            self._offset += len(data)
        except WrongOffsetError as wrong:
            if wrong.offset == self._offset or wrong.offset > self._size():
                raise  # it would go on for ever
            self._offset = wrong.offset

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _next(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                return file.read(CHUNK_BYTES)
        except OSError:
            return b""
