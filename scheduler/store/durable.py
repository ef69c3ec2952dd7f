"""Files that are there whole or not at all, whatever ends the process or the power."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Make a file with this content and these rights.

    Raises:
        FileExistsError: it is there already.
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(file)
        os.link(unfinished, path)  # unlike a rename it never replaces
    finally:
        unfinished.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as its files' contents."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
