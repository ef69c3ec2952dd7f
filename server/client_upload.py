"""Content on its way to the server: files as they are, folders as archives; equal files make equal archives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from server.client import Client, ClientError, Json

COPY_BYTES = 1 << 20


class UploadError(ClientError):
    """A file or folder that cannot be handed over; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes, known by their digest."""

    sha256: str
    size_bytes: int


def send_file(client: Client, path: Path, to: str) -> Json:
    """Upload a file unless the server has it; the entry of a job's `inputs`."""
    with _readable(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UploadError(f"an input is a file, {str(path)!r} is none; a folder is handed over with --upload")
        content = measure(file)
        client.put_blob(file, content.sha256, content.size_bytes)
        executable = bool(os.fstat(file.fileno()).st_mode & 0o111)
    return {"to": to, "sha256": content.sha256, "size": content.size_bytes, "executable": executable}


def send_folder(client: Client, folder: Path, to: str) -> Json:
    """Upload a folder's content as one archive unless the server has it; the entry of a job's `inputs`."""
    with tempfile.TemporaryFile(prefix="gridmark-upload-") as archive:
        pack(folder, archive)
        content = measure(archive)
        client.put_blob(archive, content.sha256, content.size_bytes)
    return {"to": to, "sha256": content.sha256, "size": content.size_bytes, "unpack": True}


def measure(file: IO[bytes]) -> Content:
    """Digest and size of all of `file`."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while piece := file.read(COPY_BYTES):
        digest.update(piece)
        size += len(piece)
    return Content(sha256=digest.hexdigest(), size_bytes=size)


def pack(folder: Path, into: IO[bytes]) -> None:
    """Write a folder's content as a tar archive: sorted by name, owned by nobody in particular, times to the second.

    Raises:
        UploadError: no folder, something in it cannot be read or is no file, folder or link, or a link leads out.
    """
    if not folder.is_dir():
        raise UploadError(f"--upload wants a folder, found none at {str(folder)!r}")
    root = folder.resolve()
    try:
        with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in _walk(root):
                _add(archive, path, root)
    except (OSError, tarfile.TarError) as error:
        name = getattr(error, "filename", None) or folder
        raise UploadError(f"cannot pack {str(name)!r}: {getattr(error, 'strerror', None) or error}") from error


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below `folder`, a folder before its content."""
    for path in sorted(folder.iterdir(), key=lambda one: os.fsencode(one.name)):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _add(archive: tarfile.TarFile, path: Path, root: Path) -> None:
    status = path.lstat()
    entry = tarfile.TarInfo(path.relative_to(root).as_posix())
    entry.mtime = int(status.st_mtime)
    entry.mode = 0o755 if status.st_mode & 0o111 else 0o644
    if stat.S_ISDIR(status.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry)
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.mode = tarfile.SYMTYPE, 0o777
        entry.linkname = _inner_target(path, root)
        archive.addfile(entry)
    elif stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            archive.addfile(entry, file)
    else:
        raise UploadError(f"cannot upload {str(path)!r}: neither a file, a folder nor a link")


def _inner_target(path: Path, root: Path) -> str:
    """Where a link points, if that is inside of the folder whatever place it is unpacked at."""
    target = os.readlink(path)  # noqa: PTH115 - a Path would drop what is odd in it
    inside = os.path.normpath(path.parent.relative_to(root) / target)
    lexically_out = target.startswith("/") or inside == ".." or inside.startswith("../")
    if lexically_out or not path.resolve().is_relative_to(root):
        raise UploadError(f"cannot upload {str(path)!r}: it links to {target!r}, outside of the folder")
    return target


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        if error.filename is None:
            raise
        raise UploadError(f"cannot read {str(path)!r}: {error.strerror}") from error
