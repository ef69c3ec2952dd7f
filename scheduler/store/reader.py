"""Reading what is committed, from any thread and beside the writer; every list has a limit."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from scheduler.lifecycle import JobState
from scheduler.proofs.rows import Challenge, EvidenceEntry
from scheduler.records import Account, Attempt, Blob, Event, Figure, Job, ReportEntry, Result
from scheduler.store import accounts, attempts, evidence, history, jobs, keep
from scheduler.store.connection import connect_reader, freeze, thaw
from scheduler.store.errors import StoreError
from scheduler.store.keep import Keep
from scheduler.store.statement import translated

LIMIT_MAX = 1_000  #: rows of one answer
CONNECTIONS = 8
#: how long a caller waits for a connection; reads take microseconds to milliseconds
WAIT_S = 5.0
_ABOVE_ALL = sys.maxsize


class Reader:
    """A few connections that cannot write. What it reads was committed; each call sees one state of the database."""

    def __init__(self, path: Path, *, connections: int = CONNECTIONS) -> None:
        """Read the database that `open_store` opened, in this process or another.

        Raises:
            StoreError: there is none.
        """
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(connections - 1):
            self._idle.put(None)  # opened when first needed
        self._idle.put(connect_reader(path))
        self._size = connections
        self._held = threading.local()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Calls inside, by this thread, see one and the same state; keep it short, the log cannot shrink meanwhile."""
        if getattr(self._held, "db", None) is not None:
            yield  # it is one already
            return
        with self._connection() as db:
            freeze(db)
            self._held.db = db
            try:
                yield
            finally:
                self._held.db = None
                thaw(db)

    def job(self, job: int) -> Job | None:
        """A job by its number."""
        with self._connection() as db:
            return jobs.one(db, job)

    def jobs(
        self,
        owner: int | None,
        *,
        states: frozenset[JobState] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[Job, ...]:
        """Jobs of one owner, or of everybody, newest first; `before` is the last number of the page before."""
        with self._connection() as db:
            return jobs.page(db, owner, states=states, before=_or_all(before), limit=_checked(limit))

    def attempts(self, job: int, *, limit: int = 100) -> tuple[Attempt, ...]:
        """A job's tries, the latest first."""
        with self._connection() as db:
            return attempts.of_job(db, job, limit=_checked(limit))

    def attempt(self, token: int) -> Attempt | None:
        """A try by its token, ended or not."""
        with self._connection() as db:
            return attempts.one(db, token)

    def result(self, job: int) -> Result | None:
        """What came of a job; None while nothing did, and of one that was cancelled or given up."""
        with self._connection() as db:
            return history.result(db, job)

    def events(
        self, *, after: int = 0, limit: int = 100, job: int | None = None, node: int | None = None
    ) -> tuple[Event, ...]:
        """Events after a number, oldest first; of one job or one node where given."""
        with self._connection() as db:
            return history.events(db, after=after, limit=_checked(limit), job=job, node=node)

    def latest_events(
        self, *, before: int | None = None, limit: int = 100, job: int | None = None, node: int | None = None
    ) -> tuple[Event, ...]:
        """Events before a number, newest first."""
        with self._connection() as db:
            return history.latest_events(db, before=_or_all(before), limit=_checked(limit), job=job, node=node)

    def figures(self, node: int, metric: str, since_ms: int = 0, *, limit: int = LIMIT_MAX) -> tuple[Figure, ...]:
        """How a metric of a node went: the newest `limit` of what was measured since, oldest first."""
        with self._connection() as db:
            return history.figures(db, node, metric, since_ms=since_ms, limit=_checked(limit))

    def metrics(self, node: int) -> tuple[str, ...]:
        """What was ever measured of a node, by name."""
        with self._connection() as db:
            return history.metrics(db, node, limit=LIMIT_MAX)

    def report(self, report: str) -> ReportEntry | None:
        """A report by its id; look at whose it is."""
        with self._connection() as db:
            return history.report(db, report)

    def reports(self, node: int, *, before_ms: int | None = None, limit: int = 20) -> tuple[ReportEntry, ...]:
        """A node's reports, the newest first."""
        with self._connection() as db:
            return history.reports(db, node, before_ms=_or_all(before_ms), limit=_checked(limit))

    def account_by_digest(self, token_sha256: str) -> Account | None:
        """Whose token it is; look at `revoked_ms`."""
        with self._connection() as db:
            return accounts.by_digest(db, token_sha256)

    def accounts(self, *, after: int = 0, limit: int = 100) -> tuple[Account, ...]:
        """Accounts by number, revoked ones too."""
        with self._connection() as db:
            return accounts.page(db, after=after, limit=_checked(limit))

    def blob(self, owner: int, sha256: str) -> Blob | None:
        """An upload of this owner; nobody else's counts, whatever its content."""
        with self._connection() as db:
            return accounts.blob(db, owner, sha256)

    def blob_bytes(self, owner: int) -> int:
        """How much this owner's uploads are together."""
        with self._connection() as db:
            return accounts.blob_bytes(db, owner)

    def secrets(self, job: int) -> dict[str, bytes]:
        """A live job's secrets by name, sealed (Store.sealer opens them); none once it has ended."""
        with self._connection() as db:
            return history.secrets(db, job)

    def challenge(self, challenge: str) -> Challenge | None:
        """A challenge by its id; look at whose it is."""
        with self._connection() as db:
            return evidence.challenge(db, challenge)

    def challenges(self, node: int, *, before_ms: int | None = None, limit: int = 20) -> tuple[Challenge, ...]:
        """A node's challenges, the newest first."""
        with self._connection() as db:
            return evidence.challenges(db, node, before_ms=_or_all(before_ms), limit=_checked(limit))

    def evidence(self, *, after: int = 0, limit: int = 100) -> tuple[EvidenceEntry, ...]:
        """The chain of evidence after a number."""
        with self._connection() as db:
            return evidence.after(db, after, limit=_checked(limit))

    def newest_evidence(self) -> EvidenceEntry | None:
        """The end of the chain; None before the first entry."""
        with self._connection() as db:
            return next(iter(evidence.newest(db)), None)

    def evidence_of(self, challenge: str) -> EvidenceEntry | None:
        """The entry about a challenge."""
        with self._connection() as db:
            return evidence.about(db, challenge)

    def kept(self, *, logs_since_ms: int = 0) -> Keep:
        """What rows refer to, for Files.prune: uploads, artifacts, checkpoints, logs, reports, transcripts that stay.

        Args:
            logs_since_ms: logs of attempts that ended before (Unix) are not counted.
        """
        with self.snapshot(), self._connection() as db:
            return Keep(
                blobs=keep.blobs(db),
                tokens=keep.tokens(db, since_ms=logs_since_ms),
                reports=keep.reports(db),
                transcripts=keep.transcripts(db),
            )

    def live_tokens(self) -> frozenset[int]:
        """Attempts that live: whatever happens, their logs stay."""
        with self._connection() as db:
            return keep.live_tokens(db)

    def first_event_since(self, at_ms: int) -> int:
        """The number from which on events are no older than a time (Unix); all below it are."""
        with self.snapshot(), self._connection() as db:
            return history.first_event_since(db, at_ms)

    def close(self) -> None:
        """Close the connections; nobody may be reading."""
        for _ in range(self._size):
            if (db := self._idle.get_nowait()) is not None:
                db.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        held: sqlite3.Connection | None = getattr(self._held, "db", None)
        with translated(f"reading {self._path}"):
            if held is not None:
                yield held
                return
            try:
                db = self._idle.get(timeout=WAIT_S)
            except queue.Empty:
                raise StoreError(f"{self._size} reads are under way and none ended within {WAIT_S:g} s") from None
            try:
                if db is None:
                    db = connect_reader(self._path)
                yield db
            finally:
                self._idle.put(db)


def _checked(limit: int) -> int:
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"expected a limit of 1 to {LIMIT_MAX}, got {limit}")
    return limit


def _or_all(before: int | None) -> int:
    return _ABOVE_ALL if before is None else before
