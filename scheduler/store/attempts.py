"""The table `attempt`: `token` is its key, and live ones are what nodes are filled with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from scheduler.lifecycle import AttemptState
from scheduler.records import Attempt, Resources
from scheduler.store import text
from scheduler.store.statement import Row, insertion, update_each

_INSERT = insertion(
    "attempt",
    (
        "token",
        "job",
        "n",
        "node",
        "node_epoch",
        "state",
        "gpus",
        "gpu_count",
        "gpu_milli",
        "cpu_milli",
        "memory_bytes",
        "disk_bytes",
        "price_uh",
        "placed_ms",
        "started_ms",
        "ended_ms",
        "exit_code",
        "reason",
        "yields_to",
        "why",
    ),
)
_UPDATE = """
update attempt set state = ?, node_epoch = ?, started_ms = ?, ended_ms = ?, exit_code = ?, reason = ?,
    yields_to = ?
where token = ? and state = ? and node_epoch = ?
"""
_SELECT_LIVE = "select * from attempt where state < 10 order by token"
_SELECT_ONE = "select * from attempt where token = :token"
_SELECT_OF_JOB = "select * from attempt where job = :job order by n desc limit :limit"


def insert(db: sqlite3.Connection, attempts: Iterable[Attempt]) -> None:
    """Jobs placed."""
    db.executemany(_INSERT, map(_all_of, attempts))


def update(db: sqlite3.Connection, moved: Sequence[tuple[Attempt, Attempt]]) -> None:
    """Attempts moved on, each from the first to the second; where one is and what it holds never changes.

    Raises:
        StaleWriteError: the state of one is not that of its first.
    """
    rows = [
        (
            int(after.state),  # SQLite takes an enumeration for something to be adapted, at some cost
            after.node_epoch,
            after.started_ms,
            after.ended_ms,
            after.exit_code,
            after.reason,
            after.yields_to,
            after.token,
            int(was.state),
            was.node_epoch,
        )
        for was, after in moved
    ]
    update_each(db, _UPDATE, rows, "attempt")


def live(db: sqlite3.Connection) -> Iterator[Attempt]:
    """Every attempt that holds resources."""
    return map(_attempt, db.execute(_SELECT_LIVE))


def one(db: sqlite3.Connection, token: int) -> Attempt | None:
    """An attempt by its token."""
    row = db.execute(_SELECT_ONE, {"token": token}).fetchone()
    return _attempt(row) if row else None


def of_job(db: sqlite3.Connection, job: int, *, limit: int) -> tuple[Attempt, ...]:
    """A job's tries, the latest first."""
    return tuple(map(_attempt, db.execute(_SELECT_OF_JOB, {"job": job, "limit": limit})))


def _all_of(attempt: Attempt) -> Row:
    needs = attempt.resources
    return (
        attempt.token,
        attempt.job,
        attempt.n,
        attempt.node,
        attempt.node_epoch,
        int(attempt.state),
        text.of_numbers(attempt.gpus),
        needs.gpus,
        needs.gpu_milli,
        needs.cpu_milli,
        needs.memory_bytes,
        needs.disk_bytes,
        attempt.price_uh,
        attempt.placed_ms,
        attempt.started_ms,
        attempt.ended_ms,
        attempt.exit_code,
        attempt.reason,
        attempt.yields_to,
        text.of_plain(attempt.why),
    )


def _attempt(row: sqlite3.Row) -> Attempt:
    return Attempt(
        token=row["token"],
        job=row["job"],
        n=row["n"],
        node=row["node"],
        node_epoch=row["node_epoch"],
        state=AttemptState(row["state"]),
        resources=Resources(
            gpus=row["gpu_count"],
            gpu_milli=row["gpu_milli"],
            cpu_milli=row["cpu_milli"],
            memory_bytes=row["memory_bytes"],
            disk_bytes=row["disk_bytes"],
        ),
        gpus=tuple(text.plain(row["gpus"])),
        price_uh=row["price_uh"],
        placed_ms=row["placed_ms"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        exit_code=row["exit_code"],
        reason=row["reason"],
        yields_to=row["yields_to"],
        why=text.plain(row["why"]),
    )
