"""What people may ask for: accounts, jobs, and the terms and the taking out of nodes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from scheduler.clock import Now
from scheduler.desk import Desk, Refused
from scheduler.events import Kind
from scheduler.lifecycle import JobState, Next, Standing
from scheduler.outcome import RETIRING, expired, move_job, stop_attempt
from scheduler.records import Account, Job, JobSpec, MarketNode, Role


def create_account(desk: Desk, name: str, role: Role, token_sha256: str, now: Now, actor: str) -> Account:
    """A new account."""
    for other in desk.book.accounts.values():
        if other.token_sha256 == token_sha256:
            raise Refused("conflict", "another account has this token")
        if other.name == name and other.revoked_ms is None:
            raise Refused("conflict", f"there is an account {name!r} already; revoke it first, or choose another name")
    account = Account(
        id=desk.book.number("account"), name=name, role=role, token_sha256=token_sha256, created_ms=now.unix_ms
    )
    desk.book.add(account)
    desk.say(Kind.ACCOUNT_CREATED, now, actor, account=account.id, name=name, role=role)
    return account


def revoke_account(desk: Desk, account: int, now: Now, actor: str) -> Account:
    """Its token opens nothing any more; its jobs and nodes stay."""
    found = desk.book.accounts.get(account)
    if found is None:
        raise Refused("not_found", f"there is no account {account}")
    if found.revoked_ms is not None:
        return found
    desk.say(Kind.ACCOUNT_REVOKED, now, actor, account=account)
    return desk.book.change(found, revoked_ms=now.unix_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an account may take; named as in its row."""

    weight_milli: int
    jobs_max: int | None
    gpu_milli_max: int | None
    cpu_milli_max: int | None


def set_terms(desk: Desk, account: int, terms: Terms, now: Now, actor: str) -> Account:
    """Give an account other limits and another weight; what it holds already it keeps."""
    found = desk.book.accounts.get(account)
    if found is None:
        raise Refused("not_found", f"there is no account {account}")
    values = asdict(terms)
    changes = {name: value for name, value in values.items() if getattr(found, name) != value}
    if not changes:
        return found
    desk.say(Kind.ACCOUNT_TERMS, now, actor, account=account, **changes)
    return desk.book.change(found, **changes)


def submit(desk: Desk, owner: int, spec: JobSpec, key: str, now: Now) -> Job:
    """A new job at its place in the line."""
    account = desk.book.accounts.get(owner)
    if account is None or account.revoked_ms is not None:
        raise Refused("forbidden", f"account {owner} does not exist any more")
    if spec.deadline_ms is not None and spec.deadline_ms <= now.unix_ms:
        raise Refused("invalid", "the deadline has passed already")
    shares = desk.line.shares
    if refusal := shares.too_large(owner, spec.resources):
        raise Refused("forbidden", refusal)
    if (most := shares.quota_of(owner).jobs) is not None and (unended := shares.unended(owner)) >= most:
        raise Refused("too_many", f"{unended} jobs of the account have not ended, and it may have {most}")
    job = Job(id=desk.book.number("job"), owner=owner, idempotency_key=key, spec=spec, created_ms=now.unix_ms)
    desk.book.add(job)
    desk.say(Kind.JOB_QUEUED, now, f"account {owner}", job=job.id, reason="submitted")
    return job


def cancel(desk: Desk, job: int, actor: str, now: Now) -> Job:
    """End a job: at once while nothing of it runs, else as soon as its node says that it has ended."""
    found = _job(desk, job)
    if found.cancelled:
        return found
    reason = f"cancelled by {actor}"
    if found.state is not JobState.ACTIVE:
        following = Next(state=JobState.CANCELLED, reason=reason)
        return move_job(desk, found, following, now, actor, cancelled=True)
    found = desk.book.change(found, cancelled=True, reason=reason)
    desk.say(Kind.JOB_CANCELLING, now, actor, job=job)
    return stop_attempt(desk, desk.attempt_of(found), now, actor, reason)


def pass_deadline(desk: Desk, job: int, now: Now) -> bool:
    """End a job whose deadline has passed. Returns whether it still has to end."""
    found = desk.book.jobs.get(job)
    if found is None or found.spec.deadline_ms is None or found.spec.deadline_ms > now.unix_ms:
        return False
    if found.state is not JobState.ACTIVE:
        move_job(desk, found, expired(), now, "server")
        return False
    stop_attempt(desk, desk.attempt_of(found), now, "server", "the job's deadline passed")
    return job in desk.book.jobs


def save_checkpoint(desk: Desk, token: int, sha256: str, now: Now, node: int | None) -> Job:
    """Content that the job's next attempt begins from."""
    attempt = desk.book.attempts.get(token)
    if attempt is None or (node is not None and attempt.node != node):
        raise Refused("conflict", f"token {token} is not that of a running attempt: its checkpoint is not kept")
    job = desk.book.jobs[attempt.job]
    desk.say(
        Kind.JOB_CHECKPOINT, now, f"node {attempt.node}", job=job.id, token=token, node=attempt.node, sha256=sha256
    )
    return desk.book.change(job, checkpoint_sha256=sha256, checkpoint_ms=now.unix_ms)


def drain(desk: Desk, node: int, now: Now, actor: str, *, on: bool) -> MarketNode:
    """Give a node no new work, or some again; what runs there runs on."""
    found = _served(desk, node)
    if found.draining == on:
        return found
    desk.say(Kind.NODE_DRAINING if on else Kind.NODE_UNDRAINED, now, actor, node=node)
    return desk.book.change(found, draining=on)


def retire(desk: Desk, node: int, now: Now, actor: str, *, force: bool) -> MarketNode:
    """Take a node out for good.

    Args:
        force: even while it has attempts; they are stopped, and their jobs placed anew when they have ended.
    """
    found = desk.node(node)
    if found.standing is Standing.RETIRED:
        return found
    live = desk.live_attempts(node)
    if live and not force:
        raise Refused("conflict", f"node {node} runs {len(live)} attempts: drain it and wait, or use force")
    found = desk.book.change(found, standing=Standing.RETIRED, why=f"retired by {actor}", due_ms=None)
    desk.say(Kind.NODE_RETIRED, now, actor, node=node, forced=bool(live))
    for attempt in live:
        stop_attempt(desk, attempt, now, actor, RETIRING)
    return desk.book.nodes[node]


def ask_qualify(desk: Desk, node: int, now: Now, actor: str) -> MarketNode:
    """Have a node measured as soon as it is idle."""
    found = _served(desk, node)
    desk.presence(node).asked_ms = None
    desk.woken.add(node)
    desk.say(Kind.NODE_DUE, now, actor, node=node)
    return desk.book.change(found, due_ms=now.unix_ms)


def _served(desk: Desk, node: int) -> MarketNode:
    found = desk.node(node)
    if found.standing is Standing.RETIRED:
        raise Refused("conflict", f"node {node} is retired; enrol it again first")
    return found


def _job(desk: Desk, job: int) -> Job:
    found = desk.book.jobs.get(job)
    if found is not None:
        return found
    if 0 < job < desk.book.counters.job:
        raise Refused("conflict", f"job {job} has ended already")
    raise Refused("not_found", f"there is no job {job}")
