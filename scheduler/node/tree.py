"""Walks, packs and unpacks a job's folder without ever being led out of it.

The job may still run, and an agent may have more rights than it: no path is followed, every file is opened below the
descriptor of its folder, and what turns out to be a link or no regular file is passed over.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: a folder with more files than this is not looked at any further
FILES_MAX = 100_000
CHUNK_BYTES = 1 << 20


class TreeError(Exception):
    """A folder or an archive that is not taken; one sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file or a folder; `folder` is an open descriptor of what it lies in, while the walk stands here."""

    path: str  #: relative to the top
    name: str
    folder: int
    facts: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.facts.st_mode)

    def open(self) -> int:
        """A descriptor to read it by.

        Raises:
            OSError: it is gone, or something else by now.
        """
        # without O_NONBLOCK the opening of a pipe would wait for its writer
        descriptor = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(f"{self.path} is no regular file any more")
        return descriptor


def walk(top: Path) -> Iterator[Entry]:
    """Regular files and folders below `top`, folders before what is in them, sorted; links and devices are left out.

    Raises:
        TreeError: there are too many.
    """
    count = 0
    for root, folders, files, descriptor in os.fwalk(top, follow_symlinks=False):
        folders.sort()
        inside = os.path.relpath(root, top)
        for name in (*folders, *sorted(files)):
            with contextlib.suppress(OSError):
                facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode):
                    count += 1
                    if count > FILES_MAX:
                        raise TreeError(f"more than {FILES_MAX} files and folders")
                    yield Entry(os.path.normpath(f"{inside}/{name}"), name, descriptor, facts)


def fingerprint(top: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file in the folder does: (path, bytes, ns of its last change) of each."""
    return tuple(
        (entry.path, entry.facts.st_size, entry.facts.st_mtime_ns) for entry in walk(top) if not entry.is_folder
    )


def pack(top: Path, target: Path, *, limit_bytes: int) -> None:
    """Write the folder's files as a tar archive.

    Raises:
        TreeError: there is more than `limit_bytes` in it, or too many files.
        OSError: the archive cannot be written.
    """
    left = limit_bytes
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry in walk(top):
            member = tarfile.TarInfo(entry.path)
            member.mode = stat.S_IMODE(entry.facts.st_mode) & 0o777
            member.mtime = int(entry.facts.st_mtime)
            if entry.is_folder:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
                continue
            with contextlib.suppress(FileNotFoundError, PermissionError), open(entry.open(), "rb") as file:  # noqa: PTH123
                member.size = os.fstat(file.fileno()).st_size
                left -= member.size
                if left < 0:
                    raise TreeError(f"more than {limit_bytes} bytes")
                _add(archive, member, file)


def _add(archive: tarfile.TarFile, member: tarfile.TarInfo, file: object) -> None:
    try:
        archive.addfile(member, file)  # type: ignore[arg-type]  # an open binary file
    except OSError as error:
        if "unexpected end of data" in str(error):
            raise TreeError(f"{member.name} was shortened while it was read") from error
        raise


def unpack(source: Path, into: Path, *, limit_bytes: int) -> None:
    """Extract a tar archive, gzipped or not, of files and folders; nothing of it can leave `into`.

    Raises:
        TreeError: it is no archive, it holds more than `limit_bytes`, or a path that leads out.
        OSError: a file cannot be written.
    """
    if not hasattr(tarfile, "data_filter"):  # PEP 706, from Python 3.11.4 on
        raise TreeError("archives are only unpacked by Python 3.11.4 or newer")
    left = limit_bytes
    count = 0
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                count += 1
                left -= max(0, member.size)
                if left < 0 or count > FILES_MAX:
                    raise TreeError(f"the archive holds more than {limit_bytes} bytes or {FILES_MAX} files")
                archive.extract(member, into, filter="data")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise TreeError(f"the archive cannot be unpacked: {error}") from error
