"""How an attempt ends, and what that means for its job and its node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scheduler import lifecycle
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.events import Kind
from scheduler.lifecycle import LOST_JOBS_QUARANTINE, AttemptState, Ending, JobState, Next, Standing, is_ended
from scheduler.records import Artifact, Attempt, Job, Result

#: ends by which a node failed a job
_LOSSES = frozenset({AttemptState.LOST, AttemptState.SUPPLIER_FAULT})
#: ends that are not the program's and do not use up the job's own retries; a job that gives way is not in trouble
_REPLACED = _LOSSES | {AttemptState.PREPARE_FAILED}
#: stands in Job.crash_exit for "could not be prepared", which has no exit code
NOT_PREPARED = -1

#: reasons of an attempt that stops for its node's or another job's sake and not for its own job's
RETIRING = "its node is being retired"
MAKING_ROOM = "its place is needed for a job that is not preemptible"
#: the job itself goes on elsewhere
MOVING = frozenset({RETIRING, MAKING_ROOM})

_ENDED_KINDS = {
    JobState.DONE: Kind.JOB_DONE,
    JobState.FAILED: Kind.JOB_FAILED,
    JobState.CANCELLED: Kind.JOB_CANCELLED,
    JobState.EXPIRED: Kind.JOB_EXPIRED,
}


def end_attempt(
    desk: Desk,
    attempt: Attempt,
    state: AttemptState,
    now: Now,
    actor: str,
    *,
    reason: str = "",
    exit_code: int | None = None,
    artifacts: Sequence[Artifact] = (),
    frozen_ms: int = 0,
    blame: bool = True,
) -> Job:
    """End a live attempt, once; its job goes on to what follows, which is returned.

    Args:
        blame: whether a loss is the node's; it is not while its agent may never have heard of the attempt.
    """
    job = desk.book.jobs[attempt.job]
    attempt = desk.book.change(attempt, state=state, ended_ms=now.unix_ms, exit_code=exit_code, reason=reason)
    ids: dict[str, Any] = {"job": job.id, "token": attempt.token, "node": attempt.node}
    told: dict[str, Any] = {
        "state": state.name.lower(),
        "exit_code": exit_code,
        "reason": reason,
        "frozen_ms": frozen_ms,
    }
    desk.say(Kind.ATTEMPT_ENDED, now, actor, **ids, **told)
    history = _history(job, attempt)
    following = _following(desk, job, attempt, history, now)
    if following.uses_retry:
        history["retries_used"] = job.retries_used + 1
    if is_ended(following.state) and exit_code is not None:
        result = Result(
            job=job.id, token=attempt.token, exit_code=exit_code, artifacts=tuple(artifacts), at_ms=now.unix_ms
        )
        desk.book.add(result)
        history["exit_code"] = exit_code
    job = move_job(desk, job, following, now, actor, **history)
    if state in _LOSSES and blame:
        _blame(desk, attempt, now)
    return job


def lose(desk: Desk, attempt: Attempt, now: Now, reason: str, *, told: bool = False) -> Job:
    """End an attempt that nothing will be heard of any more.

    Args:
        told: its agent was told of it for certain, though it never said so.
    """
    blame = told or attempt.state is not AttemptState.RESERVED
    return end_attempt(desk, attempt, AttemptState.LOST, now, "server", reason=reason, blame=blame)


def stop_attempt(
    desk: Desk, attempt: Attempt, now: Now, actor: str, reason: str, *, yields_to: int | None = None
) -> Job:
    """Ask a live attempt to end; it ends when its agent says so, or at once where none has heard of it.

    Args:
        yields_to: the job that waits for its room.
    """
    if attempt.state is AttemptState.STOPPING:
        return desk.book.jobs[attempt.job]
    if _is_untold(desk, attempt):
        state = AttemptState.PREEMPTED if reason in MOVING else AttemptState.CANCELLED
        return end_attempt(desk, attempt, state, now, actor, reason=reason)
    desk.book.change(attempt, state=AttemptState.STOPPING, reason=reason, yields_to=yields_to)
    desk.say(Kind.ATTEMPT_STOPPING, now, actor, job=attempt.job, token=attempt.token, node=attempt.node, reason=reason)
    return desk.book.jobs[attempt.job]


def _is_untold(desk: Desk, attempt: Attempt) -> bool:
    """Whether no agent can have heard of the attempt: placed since the server started, and never named to anybody."""
    presence = desk.presence(attempt.node)
    return (
        attempt.state is AttemptState.RESERVED
        and attempt.token >= desk.first_token
        and attempt.token not in presence.missing
        and attempt.token not in presence.held
    )


def move_job(desk: Desk, job: Job, following: Next, now: Now, actor: str, **values: Any) -> Job:
    """Put a job where `following` says, with the event that belongs to it."""
    if is_ended(following.state):
        values["ended_ms"] = now.unix_ms
        kind, data = _ENDED_KINDS[following.state], {"exit_code": values.get("exit_code", job.exit_code)}
    elif following.state is JobState.BACKOFF:
        values["next_at_ms"] = now.unix_ms + following.delay_ms
        kind, data = Kind.JOB_BACKOFF, {"delay_ms": following.delay_ms}
    else:
        kind, data = Kind.JOB_QUEUED, {}
    desk.say(kind, now, actor, job=job.id, reason=following.reason, **data)
    return desk.book.change(job, state=following.state, reason=following.reason, **values)


def _history(job: Job, attempt: Attempt) -> dict[str, Any]:
    """What the job remembers of its attempts, this one included."""
    history: dict[str, Any] = {}
    if attempt.state in _REPLACED:
        history["replacements"] = job.replacements + 1
    if attempt.state in _LOSSES:
        history["lost_nodes"] = _with(job.lost_nodes, attempt.node)
    if attempt.state in (AttemptState.APP_FAILED, AttemptState.PREPARE_FAILED):
        code = attempt.exit_code if attempt.state is AttemptState.APP_FAILED else NOT_PREPARED
        history["crash_exit"] = code
        history["crash_nodes"] = _with(job.crash_nodes if job.crash_exit == code else (), attempt.node)
    return history


def _with(nodes: tuple[int, ...], node: int) -> tuple[int, ...]:
    return nodes if node in nodes else (*nodes, node)


def _following(desk: Desk, job: Job, attempt: Attempt, history: dict[str, Any], now: Now) -> Next:
    if job.cancelled:
        return Next(state=JobState.CANCELLED, reason=job.reason or "cancelled")
    if attempt.state is AttemptState.CANCELLED:  # by nobody but the clock
        return expired()
    following = lifecycle.after(
        Ending(
            state=attempt.state,
            exit_code=attempt.exit_code,
            retries_used=job.retries_used,
            retries_allowed=job.spec.retries,
            replacements=history.get("replacements", job.replacements),
            recovers=attempt.exit_code in job.spec.recover_on_exit_codes,
            same_crash_nodes=len(history.get("crash_nodes", ())),
            again_there=job.crash_exit == NOT_PREPARED and attempt.node in job.crash_nodes,
            reason=attempt.reason,
        ),
        random=desk.random,
    )
    deadline_ms = job.spec.deadline_ms
    if not is_ended(following.state) and deadline_ms is not None and deadline_ms <= now.unix_ms:
        return expired()
    return following


def expired() -> Next:
    """What becomes of a job whose deadline has passed."""
    return Next(state=JobState.EXPIRED, reason="its deadline passed")


def _blame(desk: Desk, attempt: Attempt, now: Now) -> None:
    """Remember which job a node lost; one that loses several is taken out and measured."""
    node = desk.book.nodes[attempt.node]
    lost = _with(node.lost_jobs, attempt.job)
    if lost == node.lost_jobs:
        return
    if len(lost) < LOST_JOBS_QUARANTINE or node.standing not in (Standing.READY, Standing.DEGRADED):
        desk.book.change(node, lost_jobs=lost)
        return
    why = f"it lost {len(lost)} different jobs since it was last measured"
    desk.book.change(node, lost_jobs=lost, standing=Standing.QUARANTINED, why=why, due_ms=now.unix_ms)
    desk.say(Kind.NODE_QUARANTINED, now, "server", node=node.id, jobs=list(lost))
