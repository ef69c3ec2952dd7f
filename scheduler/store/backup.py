"""A consistent copy of the database while it is in use, fit to be served from after a disaster.

What the market did after the copy was taken is unknown to it. So that no number is ever used twice, the copy goes on
far ahead: a job that a lost server placed holds a token that the restored one will never give, an agent's epoch is not
met by chance, and a signature made for a lost boot is refused. (A copy made by other means lacks this: restore only
what this module made.)
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from scheduler.store import meta, nodes
from scheduler.store.connection import connect_reader
from scheduler.store.durable import sync_folder
from scheduler.store.errors import StoreError
from scheduler.store.statement import transaction, translated

#: more numbers than a market uses in its life: 2^32 placements are 500 a second for 270 days between two backups
SKIPPED_NUMBERS = 1 << 32


def backup(source: Path, target: Path) -> int:
    """Write a copy of the state at the time of the call; its size in bytes.

    The key of the secrets is not in it: keep a copy of `<source>.key` elsewhere.

    Raises:
        StoreError: `target` exists, cannot be written, or the source is damaged.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; choose another name")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with translated(f"copying {source} to {target}"):
            _copy(source, unfinished)
            _go_far_ahead(unfinished)
        return _put(unfinished, target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _copy(source: Path, target: Path) -> None:
    """One read transaction: the writer goes on meanwhile. Compacted on the way."""
    with contextlib.closing(connect_reader(source)) as db:
        db.execute("pragma query_only = off")  # vacuum into counts as writing; the connection itself is read-only
        db.execute("vacuum into :target", {"target": str(target)})


def _go_far_ahead(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        with transaction(db):
            meta.skip_numbers(db, SKIPPED_NUMBERS)
            nodes.raise_epochs(db, SKIPPED_NUMBERS)


def _put(unfinished: Path, target: Path) -> int:
    descriptor = os.open(unfinished, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
        size_bytes = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    os.link(unfinished, target)  # unlike a rename it never replaces
    sync_folder(target.parent)
    return size_bytes
