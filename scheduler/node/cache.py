"""Content that jobs want again, by its SHA-256: bounded in bytes, longest unused goes first, checked at every use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

CHUNK_BYTES = 1 << 20


class ContentError(Exception):
    """Content is not what it was said to be, or more than was allowed; one sentence."""


class Cache:
    """Files named by their content, in one folder that only the agent writes."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    async def keep(self, sha256: str, pieces: AsyncIterator[bytes], *, limit_bytes: int) -> None:
        """Fetch content into the cache; nothing is kept of content that is not what its name says.

        Raises:
            ContentError: it is other content, or longer than `limit_bytes`.
            OSError: it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self._folder / f"{sha256}.{os.getpid()}.{id(pieces)}.part"
        digest, size = hashlib.sha256(), 0
        try:
            with unfinished.open("wb") as file:
                async for piece in pieces:
                    size += len(piece)
                    if size > limit_bytes:
                        raise ContentError(f"longer than the {limit_bytes} bytes that were said or allowed")
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != sha256:
                raise ContentError(f"its SHA-256 is {digest.hexdigest()}, expected {sha256}")
            self.shrink(size)
            unfinished.replace(self._folder / sha256)
        finally:
            unfinished.unlink(missing_ok=True)

    def copy(self, sha256: str, target: Path) -> bool:
        """Copy content out, checking it on the way; False when it is not there, or has rotted and was dropped.

        Never linked: the job may write to its copy.
        """
        path = self._folder / sha256
        digest = hashlib.sha256()
        try:
            with path.open("rb") as source, target.open("xb") as file:
                while piece := source.read(CHUNK_BYTES):
                    digest.update(piece)
                    file.write(piece)
        except FileNotFoundError:
            return False
        if digest.hexdigest() != sha256:
            path.unlink(missing_ok=True)
            target.unlink()
            return False
        with contextlib.suppress(OSError):
            os.utime(path)  # its last use
        return True

    def shrink(self, coming_bytes: int = 0) -> None:
        """Drop what was not used for longest until `coming_bytes` more fit the limit."""
        kept = sorted(self._files(), key=lambda one: one[1].st_mtime_ns, reverse=True)
        room = self._limit_bytes - coming_bytes
        for path, facts in kept:
            room -= facts.st_size
            if room < 0:
                path.unlink(missing_ok=True)

    def clear_unfinished(self) -> None:
        """Remove what an agent that was killed left half-fetched."""
        for path in self._folder.glob("*.part"):
            path.unlink(missing_ok=True)

    def make_room(self, wanted_bytes: int, *, free_bytes: Callable[[], int]) -> bool:
        """Drop content, longest unused first, until the disk has `wanted_bytes` free; whether it has."""
        for path, _ in sorted(self._files(), key=lambda one: one[1].st_mtime_ns):
            if free_bytes() >= wanted_bytes:
                break
            path.unlink(missing_ok=True)
        return free_bytes() >= wanted_bytes

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if not path.name.endswith(".part"):
                    with contextlib.suppress(FileNotFoundError):
                        found.append((path, path.stat()))
        return found


def default_limit_bytes(folder: Path) -> int:
    """A tenth of the disk, 50 GiB at most."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return min(50 << 30, shutil.disk_usage(folder).total // 10)
