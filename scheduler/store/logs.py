"""What attempts print: one file per token and stream, only ever added to at its end, bounded by a quota.

A file longer than its quota is full: it ends with a notice, and what comes after is dropped.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from scheduler.records import Stream
from scheduler.store.durable import sync_folder
from scheduler.store.errors import StoreError

STREAMS: tuple[Stream, ...] = get_args(Stream)
#: tokens share folders, this many to each
TOKENS_PER_FOLDER = 1_000
_LOCKS = 64


class OffsetError(StoreError):
    """Bytes that do not follow on what is there: sent twice, or some before them are missing."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the log has {size} bytes; send what follows them")
        self.size = size  #: where to go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What became of some bytes."""

    size: int  #: of the log now, the notice counted
    full: bool  #: the quota is spent: nothing more will be kept


def notice(quota_bytes: int) -> bytes:
    """The last line of a full log."""
    return f"\n[gridmark: the log is full at {quota_bytes} bytes; what came after was dropped]\n".encode()


class Logs:
    """The logs below one folder. Safe to use from any thread of one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def append(self, token: int, stream: Stream, offset: int, data: bytes, *, quota_bytes: int) -> Appended:
        """Add bytes that begin at `offset` of the log; repeated calls after a lost answer do no harm.

        They are in the file when this returns, and on the disk after `sync`.

        Raises:
            OffsetError: the log does not end at `offset`.
            StoreError: the disk is full, or the like; what had fitted was kept, so ask for the size.
        """
        path = self.path(token, stream)
        with self._locks[token % _LOCKS]:
            try:
                return _append(path, offset, data, quota_bytes)
            except OSError as error:
                raise StoreError(f"the log {path} cannot be written: {error.strerror}") from error

    def size(self, token: int, stream: Stream) -> int:
        """Bytes there are; 0 when nothing was printed."""
        try:
            return self.path(token, stream).stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, token: int, stream: Stream, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset` on; none at the end of what is there so far."""
        try:
            with self.path(token, stream).open("rb") as file:
                return os.pread(file.fileno(), limit, offset)
        except FileNotFoundError:
            return b""

    def sync(self, token: int) -> None:
        """Make an attempt's logs outlive a power cut; called before its end is committed.

        Raises:
            StoreError: the disk does not take them.
        """
        try:
            for stream in STREAMS:
                path = self.path(token, stream)
                if path.exists():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                    sync_folder(path.parent)
        except OSError as error:
            raise StoreError(f"the logs of attempt {token} cannot be saved: {error.strerror}") from error

    def path(self, token: int, stream: Stream) -> Path:
        """Where a log lies, whether or not there is one."""
        if stream not in STREAMS:
            raise ValueError(f"expected one of {', '.join(STREAMS)}, got {stream!r}")
        return self._folder / str(token // TOKENS_PER_FOLDER) / f"{token}.{stream}"

    def prune(self, keep: frozenset[int], *, before_unix_s: float) -> int:
        """Remove the logs of tokens that are not to be kept and were last added to before a time; how many went."""
        removed = 0
        for path in self._folder.glob("*/*.*"):
            if int(path.stem) not in keep and path.stat().st_mtime < before_unix_s:
                path.unlink()
                removed += 1
        return removed

    def shrink(self, live: frozenset[int], *, most_bytes: int) -> int:
        """Remove the logs that were added to longest ago until all are `most_bytes` at most; how many files went.

        Args:
            live: tokens whose logs stay, though they be too large.
        """
        found = []
        for path in self._folder.glob("*/*.*"):
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                found.append((about.st_mtime_ns, about.st_size, path))
        total = sum(size for _, size, _ in found)
        removed = 0
        for _, size, path in sorted(found):
            if total <= most_bytes:
                break
            if int(path.stem) not in live:
                path.unlink(missing_ok=True)
                total -= size
                removed += 1
        return removed


def _append(path: Path, offset: int, data: bytes, quota_bytes: int) -> Appended:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        if size > quota_bytes:
            return Appended(size=size, full=True)
        if offset != size:
            raise OffsetError(size)
        room = quota_bytes - size
        kept = data if len(data) <= room else data[:room] + notice(quota_bytes)
        _write_all(file, kept)
        return Appended(size=size + len(kept), full=len(data) > room)
    finally:
        os.close(file)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
