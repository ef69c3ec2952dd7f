"""The table `attempt`: `token` is its key, and live ones are what nodes are filled with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from scheduler.lifecycle import AttemptState
from scheduler.records import Attempt, Resources
from scheduler.store import text
from scheduler.store.statement import update_one

_INSERT = """
insert into attempt (
    token, job, n, node, node_epoch, state, gpus, gpu_count, gpu_milli, cpu_milli, memory_bytes, disk_bytes, price_uh,
    placed_ms, started_ms, ended_ms, exit_code, reason, why
) values (
    :token, :job, :n, :node, :node_epoch, :state, :gpus, :gpu_count, :gpu_milli, :cpu_milli, :memory_bytes,
    :disk_bytes, :price_uh, :placed_ms, :started_ms, :ended_ms, :exit_code, :reason, :why
)
"""
_UPDATE = """
update attempt set
    state = :state, node_epoch = :node_epoch, started_ms = :started_ms, ended_ms = :ended_ms, exit_code = :exit_code,
    reason = :reason
where token = :token and state = :was_state and node_epoch = :was_node_epoch
"""
_SELECT_LIVE = "select * from attempt where state < 10 order by token"
_SELECT_ONE = "select * from attempt where token = :token"
_SELECT_OF_JOB = "select * from attempt where job = :job order by n desc limit :limit"


def insert(db: sqlite3.Connection, attempt: Attempt) -> None:
    """A job placed."""
    needs = attempt.resources
    values = {
        "token": attempt.token,
        "job": attempt.job,
        "n": attempt.n,
        "node": attempt.node,
        "node_epoch": attempt.node_epoch,
        "state": attempt.state,
        "gpus": text.of_plain(attempt.gpus),
        "gpu_count": needs.gpus,
        "gpu_milli": needs.gpu_milli,
        "cpu_milli": needs.cpu_milli,
        "memory_bytes": needs.memory_bytes,
        "disk_bytes": needs.disk_bytes,
        "price_uh": attempt.price_uh,
        "placed_ms": attempt.placed_ms,
        "started_ms": attempt.started_ms,
        "ended_ms": attempt.ended_ms,
        "exit_code": attempt.exit_code,
        "reason": attempt.reason,
        "why": text.of_plain(dict(attempt.why)),
    }
    db.execute(_INSERT, values)


def update(db: sqlite3.Connection, before: Attempt, after: Attempt) -> None:
    """An attempt moved on; where it is and what it holds never changes.

    Raises:
        StaleWriteError: its state is not that of `before`.
    """
    values = {
        "token": after.token,
        "state": after.state,
        "node_epoch": after.node_epoch,
        "started_ms": after.started_ms,
        "ended_ms": after.ended_ms,
        "exit_code": after.exit_code,
        "reason": after.reason,
        "was_state": before.state,
        "was_node_epoch": before.node_epoch,
    }
    update_one(db, _UPDATE, values, f"attempt {after.token}")


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
        why=text.plain(row["why"]),
    )
