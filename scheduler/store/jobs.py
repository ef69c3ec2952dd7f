"""The table `job`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from scheduler.lifecycle import JobState, is_ended
from scheduler.records import Job, JobSpec
from scheduler.store import text
from scheduler.store.statement import Values, update_one

_INSERT = """
insert into job (
    id, owner, idempotency_key, name, priority, spec, state, token, attempts, retries_used, replacements, next_at_ms,
    reason, created_ms, ended_ms, exit_code, checkpoint_sha256, crash_exit, crash_nodes, lost_nodes, cancelled
) values (
    :id, :owner, :idempotency_key, :name, :priority, :spec, :state, :token, :attempts, :retries_used, :replacements,
    :next_at_ms, :reason, :created_ms, :ended_ms, :exit_code, :checkpoint_sha256, :crash_exit, :crash_nodes,
    :lost_nodes, :cancelled
)
"""
_UPDATE = """
update job set
    state = :state, token = :token, attempts = :attempts, retries_used = :retries_used, replacements = :replacements,
    next_at_ms = :next_at_ms, reason = :reason, ended_ms = :ended_ms, exit_code = :exit_code,
    checkpoint_sha256 = :checkpoint_sha256, crash_exit = :crash_exit, crash_nodes = :crash_nodes,
    lost_nodes = :lost_nodes, cancelled = :cancelled
where id = :id and state = :was_state and token is :was_token and attempts = :was_attempts
"""
_FORGET_SECRETS = "delete from secret where job = :job"
_SELECT_LIVE = "select * from job where state < 10 order by id"
_SELECT_ONE = "select * from job where id = :id"
_SELECT_BY_KEY = "select * from job where owner = :owner and idempotency_key = :key"
_SELECT_PAGE = """
select * from job
where id < :before and (:states is null or state in (select value from json_each(:states)))
order by id desc limit :limit
"""
_SELECT_PAGE_OF_OWNER = """
select * from job
where owner = :owner and id < :before and (:states is null or state in (select value from json_each(:states)))
order by id desc limit :limit
"""


def insert(db: sqlite3.Connection, job: Job) -> None:
    """A job submitted."""
    fixed = {
        "id": job.id,
        "owner": job.owner,
        "idempotency_key": job.idempotency_key,
        "name": job.spec.name,
        "priority": job.spec.priority,
        "spec": text.of_record(job.spec),
        "created_ms": job.created_ms,
    }
    db.execute(_INSERT, {**fixed, **_progress(job)})


def update(db: sqlite3.Connection, before: Job, after: Job) -> None:
    """A job changed; its specification never does. With its end its secrets go.

    Raises:
        StaleWriteError: state, token or number of attempts are not those of `before`.
    """
    was = {"was_state": before.state, "was_token": before.token, "was_attempts": before.attempts}
    update_one(db, _UPDATE, {"id": after.id, **_progress(after), **was}, f"job {after.id}")
    if is_ended(after.state) and not is_ended(before.state) and after.spec.secrets:
        db.execute(_FORGET_SECRETS, {"job": after.id})


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


def _progress(job: Job) -> Values:
    return {
        "state": job.state,
        "token": job.token,
        "attempts": job.attempts,
        "retries_used": job.retries_used,
        "replacements": job.replacements,
        "next_at_ms": job.next_at_ms,
        "reason": job.reason,
        "ended_ms": job.ended_ms,
        "exit_code": job.exit_code,
        "checkpoint_sha256": job.checkpoint_sha256,
        "crash_exit": job.crash_exit,
        "crash_nodes": text.of_plain(job.crash_nodes),
        "lost_nodes": text.of_plain(job.lost_nodes),
        "cancelled": job.cancelled,
    }


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        idempotency_key=row["idempotency_key"],
        spec=text.record(JobSpec, row["spec"]),
        state=JobState(row["state"]),
        token=row["token"],
        attempts=row["attempts"],
        retries_used=row["retries_used"],
        replacements=row["replacements"],
        next_at_ms=row["next_at_ms"],
        reason=row["reason"],
        created_ms=row["created_ms"],
        ended_ms=row["ended_ms"],
        exit_code=row["exit_code"],
        checkpoint_sha256=row["checkpoint_sha256"],
        crash_exit=row["crash_exit"],
        crash_nodes=tuple(text.plain(row["crash_nodes"])),
        lost_nodes=tuple(text.plain(row["lost_nodes"])),
        cancelled=bool(row["cancelled"]),
    )
