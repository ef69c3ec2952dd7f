"""The table `attempt`: `token` is its key, and live ones are what nodes are filled with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from scheduler.lifecycle import AttemptState
from scheduler.records import Attempt, Resources
from scheduler.store import many, text
from scheduler.store.many import Row
from scheduler.store.statement import selection
from scheduler.told import Told

_COLUMNS = (
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
)
_MOVING = ("state", "node_epoch", "started_ms", "ended_ms", "exit_code", "reason", "yields_to")
_GUARDS = ("token", "state", "node_epoch")
_SELECT = selection("attempt", _COLUMNS)
_SELECT_LIVE = f"{_SELECT} where state < 10 order by token"
_SELECT_ONE = f"{_SELECT} where token = :token"
_SELECT_OF_JOB = f"{_SELECT} where job = :job order by n desc limit :limit"
_SELECT_HELD = """
select node, max(placed_ms), sum(cpu_milli), sum(memory_bytes), sum(disk_bytes)
from attempt where state < 10 group by node order by node
"""
_SELECT_ON_GPUS = """
select node, token, gpu_count, gpu_milli, gpus from attempt
where state < 10 and (gpu_count > 0 or gpu_milli > 0 or gpus <> '[]') order by token
"""


class Held(NamedTuple):
    """What live attempts hold of a node beside GPUs, together."""

    node: int
    placed_ms: int  #: of the newest
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


class OnGpus(NamedTuple):
    """What one of them holds of a node's GPUs."""

    node: int
    token: int
    whole: int  #: GPUs asked for; 0 with a share of one
    milli: int  #: of one GPU
    gpus: tuple[int, ...]


def insert(db: sqlite3.Connection, attempts: Iterable[Attempt]) -> None:
    """Jobs placed."""
    many.insert(db, "attempt", _COLUMNS, [*map(_all_of, attempts)])


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
    many.swap(db, "attempt", _MOVING, _GUARDS, rows)


def live(db: sqlite3.Connection) -> Iterator[Attempt]:
    """Every attempt that holds resources."""
    return map(_attempt, db.execute(_SELECT_LIVE))


def held(db: sqlite3.Connection) -> Iterator[Held]:
    """What is held of each node, summed up by SQLite, which needs no Python for it."""
    return map(Held._make, db.execute(_SELECT_HELD))


def on_gpus(db: sqlite3.Connection) -> Iterator[OnGpus]:
    """Every live attempt that asked for GPUs or was given some."""
    for node, token, whole, milli, gpus in db.execute(_SELECT_ON_GPUS):
        yield OnGpus(node, token, whole, milli, text.listed(gpus))


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
    (
        token,
        job,
        n,
        node,
        node_epoch,
        state,
        gpus,
        gpu_count,
        gpu_milli,
        cpu_milli,
        memory_bytes,
        disk_bytes,
        price_uh,
        placed_ms,
        started_ms,
        ended_ms,
        exit_code,
        reason,
        yields_to,
        why,
    ) = row
    return Attempt(
        token=token,
        job=job,
        n=n,
        node=node,
        node_epoch=node_epoch,
        state=AttemptState(state),
        resources=_resources(gpu_count, gpu_milli, cpu_milli, memory_bytes, disk_bytes),
        gpus=text.listed(gpus),
        price_uh=price_uh,
        placed_ms=placed_ms,
        started_ms=started_ms,
        ended_ms=ended_ms,
        exit_code=exit_code,
        reason=reason,
        yields_to=yields_to,
        why=Told(why),  # the schema sees to it that it is JSON
    )


@lru_cache(maxsize=4096)
def _resources(gpus: int, gpu_milli: int, cpu_milli: int, memory_bytes: int, disk_bytes: int) -> Resources:
    """One for all who hold as much; nobody changes a record."""
    return Resources(
        gpus=gpus, gpu_milli=gpu_milli, cpu_milli=cpu_milli, memory_bytes=memory_bytes, disk_bytes=disk_bytes
    )
