"""Opening the database file: one process writes, its settings, and a lock that keeps a second one out."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from scheduler.store.errors import StoreError
from scheduler.store.statement import translated

#: how long a reader or the writer waits for another connection's short locks (recovery, checkpoint)
BUSY_TIMEOUT_S = 5.0
#: pages of the write-ahead log after which it is copied back: 4 KiB each, 16 MiB
CHECKPOINT_PAGES = 4_000
#: what is kept of the log's file after a long reader let it grow
LOG_KEPT_BYTES = 64 << 20
MMAP_BYTES = 256 << 20
CACHED_STATEMENTS = 256


class Lock:
    """Held while the process that writes lives; the kernel lets go of it whatever way the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the database at `path`.

        Raises:
            StoreError: another process has it, or its file cannot be made.
        """
        beside = path.with_name(f"{path.name}.lock")
        try:
            self._file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{beside} cannot be written: {error.strerror}; the server needs that folder") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(f"{path} is in use by another gridmark (process {holder}); stop that one first") from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process in."""
        os.close(self._file)


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; transactions are begun and ended by hand. What is in the file is not touched yet.

    A new file is for its owner only, and SQLite gives those beside it the same rights.

    Raises:
        StoreError: the file cannot be opened.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    with translated(f"opening {path}"):
        db = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # opened by the main thread, then owned by the writer's
            cached_statements=CACHED_STATEMENTS,
        )
        _configure(db)
    return db


def make_durable(db: sqlite3.Connection, path: Path) -> None:
    """The settings that what is written outlives a power cut by; some of them are kept in the file.

    Raises:
        StoreError: the file system cannot share memory between processes, which the write-ahead log needs.
    """
    mode = db.execute("pragma journal_mode = wal").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path} cannot be kept in WAL mode (found {mode}); put it on a local disk")
    db.execute("pragma synchronous = full")
    db.execute("pragma foreign_keys = on")
    db.execute("pragma recursive_triggers = on")  # so that `insert or replace` cannot pass for a delete
    db.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"pragma journal_size_limit = {LOG_KEPT_BYTES}")


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, for one thread at a time.

    Raises:
        StoreError: the file cannot be opened or is no database.
    """
    with translated(f"reading {path}"):
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        _configure(db)
        db.execute("pragma query_only = on")
    return db


def freeze(db: sqlite3.Connection) -> None:
    """Have a reader see the state of this very moment until it is thawed, or closed.

    Keep it short: the write-ahead log cannot begin anew meanwhile.
    """
    db.execute("begin")
    db.execute("select 1 from sqlite_schema limit 1").fetchone()  # a transaction begins with its first read


def thaw(db: sqlite3.Connection) -> None:
    """Have a frozen reader see again what is committed."""
    db.execute("rollback")


def _configure(db: sqlite3.Connection) -> None:
    db.row_factory = sqlite3.Row
    db.execute(f"pragma mmap_size = {MMAP_BYTES}")
