"""Keeps the write-ahead log short while the market is busy.

SQLite copies the log back by itself after so many pages, but begins it anew only when no reader needs what is in it.
Under load there is always one, so that the log grows without end ("checkpoint starvation", sqlite.org/wal.html). Above
a bound the writer therefore waits for the readers, for a moment.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

#: the log's file may be so long before readers are waited for; four times what is copied back at once
BOUND_BYTES = 64 << 20
#: how long readers are waited for: theirs take micro- to milliseconds
PATIENCE_MS = 50
#: after a wait in vain, for there is a long read (a backup, a check), this long passes until the next
AGAIN_MS = 5_000


class Log:
    """The log beside a database, for its one writer."""

    def __init__(self, db: sqlite3.Connection, path: Path, *, busy_ms: int, bound_bytes: int = BOUND_BYTES) -> None:
        """Watch over the log of `db`, the writer's connection to `path`.

        Args:
            busy_ms: how long that connection waits for others otherwise.
        """
        self._db, self._file = db, path.with_name(f"{path.name}-wal")
        self._busy_ms, self._bound_bytes = busy_ms, bound_bytes
        self._not_before_ms = 0

    @property
    def size_bytes(self) -> int:
        """Of the file, from any thread; it does not shrink when the log begins anew within it."""
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0

    def shorten(self, now_ms: int) -> bool:
        """Begin the log anew if it is too long and nobody reads for a moment. Returns whether it is short now.

        Args:
            now_ms: of Now.mono_ms.

        Raises:
            sqlite3.Error: the disk does not take what is copied back.
        """
        if self.size_bytes <= self._bound_bytes:
            return True
        if now_ms < self._not_before_ms:
            return False
        self._db.execute(f"pragma busy_timeout = {PATIENCE_MS}")
        try:
            busy = bool(self._db.execute("pragma wal_checkpoint(truncate)").fetchone()[0])
        finally:
            self._db.execute(f"pragma busy_timeout = {self._busy_ms}")
        if busy:
            self._not_before_ms = now_ms + AGAIN_MS
        return not busy
