"""The table `job`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from scheduler.lifecycle import JobState, is_ended
from scheduler.records import Job, JobSpec
from scheduler.store import many, text
from scheduler.store.many import Row
from scheduler.store.statement import selection

_COLUMNS = (
    "id",
    "owner",
    "idempotency_key",
    "name",
    "priority",
    "spec",
    "created_ms",
    # from here on as _progress has them
    "state",
    "token",
    "attempts",
    "retries_used",
    "replacements",
    "next_at_ms",
    "reason",
    "ended_ms",
    "exit_code",
    "checkpoint_sha256",
    "checkpoint_ms",
    "crash_exit",
    "crash_nodes",
    "lost_nodes",
    "cancelled",
)
_MOVING = _COLUMNS[_COLUMNS.index("state") :]
_GUARDS = ("id", "state", "token", "attempts")
#: all that changes of a job that is placed, which of all its changes comes by the thousand
_PLACED = ("state", "token", "attempts", "reason")
_besides = attrgetter(*(name for name in _MOVING if name not in _PLACED))
_FORGET_SECRETS = "delete from secret where job = ?"
_SELECT = selection("job", _COLUMNS)
_SELECT_LIVE = f"{_SELECT} where state < 10 order by id"
_SELECT_ONE = f"{_SELECT} where id = :id"
_SELECT_BY_KEY = f"{_SELECT} where owner = :owner and idempotency_key = :key"
_NUMBERED_BELOW = """
id < :before and (:states is null or state in (select value from json_each(:states))) order by id desc limit :limit
"""
_SELECT_PAGE = f"{_SELECT} where {_NUMBERED_BELOW}"
_SELECT_PAGE_OF_OWNER = f"{_SELECT} where owner = :owner and {_NUMBERED_BELOW}"


def insert(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """Jobs submitted."""
    many.insert(db, "job", _COLUMNS, [*map(_all_of, jobs)])


def update(db: sqlite3.Connection, moved: Sequence[tuple[Job, Job]]) -> None:
    """Jobs changed, each from the first to the second; a specification never does.

    Raises:
        StaleWriteError: state, token or number of attempts of one are not those of its first.
    """
    placed: list[Row] = []
    others: list[Row] = []
    for was, after in moved:
        guards = (after.id, int(was.state), was.token, was.attempts)
        if _besides(was) == _besides(after):
            placed.append((int(after.state), after.token, after.attempts, after.reason, *guards))
        else:
            others.append((*_progress(after), *guards))
    many.swap(db, "job", _PLACED, _GUARDS, placed)
    many.swap(db, "job", _MOVING, _GUARDS, others)


def forget_secrets(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """With their end the secrets of jobs go."""
    db.executemany(_FORGET_SECRETS, [(job.id,) for job in jobs if job.spec.secrets and is_ended(job.state)])


def live(db: sqlite3.Connection) -> Iterator[Job]:
    """Every job that has not ended, oldest first."""
    return map(_job, db.execute(_SELECT_LIVE))


def one(db: sqlite3.Connection, job: int) -> Job | None:
    """A job by its number."""
    row = db.execute(_SELECT_ONE, {"id": job}).fetchone()
    return _job(row) if row else None


def by_key(db: sqlite3.Connection, owner: int, key: str) -> Job | None:
    """The job that an owner submitted under an idempotency key."""
    row = db.execute(_SELECT_BY_KEY, {"owner": owner, "key": key}).fetchone()
    return _job(row) if row else None


def page(
    db: sqlite3.Connection, owner: int | None, *, states: frozenset[JobState] | None, before: int, limit: int
) -> tuple[Job, ...]:
    """Jobs numbered below `before`, newest first; of everybody when `owner` is None."""
    chosen = None if states is None else text.of_plain(sorted(states))
    values = {"states": chosen, "before": before, "limit": limit}
    if owner is None:
        return tuple(map(_job, db.execute(_SELECT_PAGE, values)))
    return tuple(map(_job, db.execute(_SELECT_PAGE_OF_OWNER, {"owner": owner, **values})))


def _all_of(job: Job) -> Row:
    spec = job.spec
    fixed = (job.id, job.owner, job.idempotency_key, spec.name, spec.priority, text.of_record(spec), job.created_ms)
    return (*fixed, *_progress(job))


def _progress(job: Job) -> Row:
    return (
        int(job.state),  # SQLite takes an enumeration for something to be adapted, at some cost
        job.token,
        job.attempts,
        job.retries_used,
        job.replacements,
        job.next_at_ms,
        job.reason,
        job.ended_ms,
        job.exit_code,
        job.checkpoint_sha256,
        job.checkpoint_ms,
        job.crash_exit,
        text.of_numbers(job.crash_nodes),
        text.of_numbers(job.lost_nodes),
        int(job.cancelled),
    )


def _job(row: sqlite3.Row) -> Job:
    (
        id_,
        owner,
        idempotency_key,
        _name,
        _priority,
        spec,
        created_ms,
        state,
        token,
        attempts,
        retries_used,
        replacements,
        next_at_ms,
        reason,
        ended_ms,
        exit_code,
        checkpoint_sha256,
        checkpoint_ms,
        crash_exit,
        crash_nodes,
        lost_nodes,
        cancelled,
    ) = row
    return Job(
        id=id_,
        owner=owner,
        idempotency_key=idempotency_key,
        spec=text.record(JobSpec, spec),
        state=JobState(state),
        token=token,
        attempts=attempts,
        retries_used=retries_used,
        replacements=replacements,
        next_at_ms=next_at_ms,
        reason=reason,
        created_ms=created_ms,
        ended_ms=ended_ms,
        exit_code=exit_code,
        checkpoint_sha256=checkpoint_sha256,
        checkpoint_ms=checkpoint_ms,
        crash_exit=crash_exit,
        crash_nodes=text.listed(crash_nodes),
        lost_nodes=text.listed(lost_nodes),
        cancelled=bool(cancelled),
    )
