"""The database as its one writer sees it: opened, loaded into memory, and changed a batch at a time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.book import Change, Counters, Row
from scheduler.records import (
    Job,
)
from scheduler.store import accounts, attempts, batch, evidence, history, jobs, meta, nodes, schema
from scheduler.store.connection import BUSY_TIMEOUT_S, Lock, connect_writer, make_durable
from scheduler.store.errors import StaleWriteError, StoreError
from scheduler.store.seal import Sealer, make_key, read_key
from scheduler.store.statement import transaction, translated
from scheduler.store.wal import Log


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the market keeps in memory: nodes, accounts, what lives of the rest, and the next numbers."""

    rows: tuple[Row, ...]
    counters: Counters


class Store:
    """The open database. One thread at a time may call it; readers have connections of their own (reader.py)."""

    def __init__(
        self,
        path: Path,
        db: sqlite3.Connection,
        lock: Lock,
        *,
        sealer: Sealer,
        evidence_key: bytes,
        boot_number: int,
    ) -> None:
        self.path = path
        self.sealer = sealer  #: for the values of secrets; safe to use from any thread
        self.evidence_key = evidence_key  #: Ed25519, private: signs the chain of evidence
        self.boot_number = boot_number  #: raised by every opening; signatures of agents are bound to it
        self.log = Log(db, path, busy_ms=round(BUSY_TIMEOUT_S * 1000))
        self._db = db
        self._lock = lock
        self._saved = meta.counters(db)

    def load(self) -> Loaded:
        """The rows for `Book.load`, those that others refer to first.

        Raises:
            DamagedError: a row cannot be read.
        """
        with translated(f"loading {self.path}"):
            rows: list[Row] = [*accounts.every(self._db), *nodes.every(self._db)]
            rows += jobs.live(self._db)
            rows += attempts.live(self._db)
            rows += evidence.in_flight(self._db)
            rows += evidence.newest(self._db)
        return Loaded(tuple(rows), self._saved)

    def write(self, changes: Sequence[Change], counters: Counters) -> None:
        """Commit the changes in their order, all or none, durably: when this returns they outlive a power cut.

        Raises:
            StaleWriteError: the database is not what a change starts from, or forbids a row; nothing was written.
            StoreError: the disk is full, the file is locked or damaged …; nothing was written.
        """
        with translated(f"writing {self.path}"), transaction(self._db):
            try:
                batch.write(self._db, changes)
                meta.raise_counters(self._db, self._saved, counters)
            except (ValueError, TypeError, OverflowError) as error:  # text or numbers that no column can hold
                raise StaleWriteError(f"writing {self.path}: a row cannot be stored: {error}") from error
        self._saved = counters

    def probe(self) -> None:
        """Write to the disk without changing anything that means something.

        Raises:
            StoreError: it takes no writes.
        """
        with translated(f"writing {self.path}"), transaction(self._db):
            meta.probe(self._db)

    def job_by_key(self, owner: int, key: str) -> Job | None:
        """The job that was committed for an owner's idempotency key."""
        with translated(f"reading {self.path}"):
            return jobs.by_key(self._db, owner, key)

    def shorten_log(self, now_ms: int) -> bool:
        """Begin the write-ahead log anew if it has grown too long. Returns whether it is short; not in a transaction.

        Raises:
            StoreError: the disk does not take it.
        """
        with translated(f"copying the log of {self.path} back"):
            return self.log.shorten(now_ms)

    def prune_events(self, below: int) -> int:
        """Remove events numbered under `below` for good, and return how many.

        Write them elsewhere before. While a writer owns the store, a command of it has to make the call.
        """
        with translated(f"pruning {self.path}"), transaction(self._db):
            return history.prune_events(self._db, below)

    def close(self) -> None:
        """Put the write-ahead log back into the file and let another process in."""
        try:
            with translated(f"closing {self.path}"):
                self._db.close()
        finally:
            self._lock.release()


def open_store(path: Path) -> Store:
    """Open the database for writing; made if it is not there, brought to this version's schema if it is older.

    The first opening also makes the key files, `<name>.key` for secrets and `<name>.evidence-key` for the evidence's
    signatures (0600). The folder has to exist.

    Raises:
        StoreError: another process has it open, the folder cannot be written, the file is damaged or no database of
            ours, a newer version made it, or the key of its secrets is missing.
    """
    with contextlib.ExitStack() as opened:
        lock = Lock(path)
        opened.callback(lock.release)
        db = connect_writer(path)
        opened.callback(db.close)
        with translated(f"opening {path}"):
            schema.check_ours(db)
            make_durable(db, path)
            schema.migrate(db)
            sealer = _sealer(db, path.with_name(f"{path.name}.key"))
            with transaction(db):
                boot_number = meta.raise_boot(db)
            evidence_key = _evidence_key(path.with_name(f"{path.name}.evidence-key"))
            store = Store(path, db, lock, sealer=sealer, evidence_key=evidence_key, boot_number=boot_number)
        opened.pop_all()
    return store


def _evidence_key(path: Path) -> bytes:
    """The key in `path`, made if there is none: who knows the old one sees by its signatures that it was lost."""
    return read_key(path) or make_key(path)


def _sealer(db: sqlite3.Connection, path: Path) -> Sealer:
    """By the key in `path`, a new one where nothing is sealed with the old one."""
    key, mark = read_key(path), meta.key_mark(db)
    sealer = None if key is None else Sealer(key)
    if sealer is not None and sealer.mark == mark:
        return sealer
    if mark is not None and (sealed := history.count_secrets(db)):
        raise StoreError(
            f"{sealed} secrets are sealed with a key that is not in {path}; put that key back, "
            f"or delete the rows of the table secret and let their jobs fail"
        )
    if sealer is None:
        sealer = Sealer(make_key(path))
    with transaction(db):
        meta.set_key_mark(db, sealer.mark)
    return sealer
