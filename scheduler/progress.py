"""What agents tell of their attempts, and what the server wants of them: one call, state in, wishes out.

A live attempt that an agent does not list may still reach it: the answer that said `start` can be under way. So `start`
is repeated for a while, then withheld until any such answer has lapsed with its lease, and only then is the attempt
given up.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from scheduler import lease
from scheduler.clock import Now
from scheduler.desk import MINUTE_MS, Desk, Missing, Presence
from scheduler.events import Kind
from scheduler.lifecycle import AttemptState, Standing, may_follow
from scheduler.outcome import MOVING, end_attempt, lose
from scheduler.proofs import due
from scheduler.records import Attempt, MarketNode
from scheduler.wire import Assignment, Held, SyncAnswer, SyncRequest, Wish

_SHOWN_AS = {
    "preparing": AttemptState.PREPARING,
    "prepared": AttemptState.PREPARING,
    "starting": AttemptState.STARTING,
    "running": AttemptState.RUNNING,
    "frozen": AttemptState.FROZEN,
}
_EVENT_OF = {
    AttemptState.PREPARING: Kind.ATTEMPT_PREPARING,
    AttemptState.STARTING: Kind.ATTEMPT_STARTING,
    AttemptState.RUNNING: Kind.ATTEMPT_RUNNING,
    AttemptState.FROZEN: Kind.ATTEMPT_FROZEN,
}
#: after this no answer that said `start` can still be obeyed: the lease it carries has lapsed
LAPSED_MS = lease.SERVER_LEASE_MS + lease.EXPIRY_MARGIN_MS


def sync(desk: Desk, node: MarketNode, request: SyncRequest, now: Now) -> SyncAnswer:
    """Take in what the agent of `node` tells, renew its lease, and answer."""
    presence = desk.presence(node.id)
    presence.heard_ms = now.mono_ms
    presence.renew(now, desk.poll_ms(node.id))
    presence.held = {held.token: held for held in request.held}
    _arrive(desk, node, presence, request, now)
    for held in request.held:
        attempt = desk.book.attempts.get(held.token)
        if attempt is not None and attempt.node == node.id:
            presence.missing.pop(held.token, None)
            _advance(desk, attempt, held, now)
    for attempt in desk.live_attempts(node.id):
        if attempt.token not in presence.held:
            _look_for(desk, attempt, presence, now)
    return _answered(desk, node.id, presence, now)


def answer(desk: Desk, node: int, now: Now) -> SyncAnswer:
    """What the server wants of a node now; renews nothing."""
    return _answered(desk, node, desk.presence(node), now)


def _answered(desk: Desk, node: int, presence: Presence, now: Now) -> SyncAnswer:
    live = desk.live_attempts(node)
    wishes = [_wish(desk, attempt, presence, now) for attempt in live]
    named = {attempt.token for attempt in live}
    wishes += [Wish(token=token, desired="forget") for token in sorted(presence.held) if token not in named]
    next_ms = desk.poll_ms(node)
    if wishes:
        return SyncAnswer(wishes=tuple(wishes), lease_ms=lease.AGENT_LEASE_MS, next_sync_ms=next_ms)
    row = desk.node(node)
    qualify = _should_measure(desk, row, presence, now)
    prove = not qualify and due.should_ask(desk, row, presence, now)
    return replace(_of_idle(next_ms), qualify=qualify, prove=prove) if qualify or prove else _of_idle(next_ms)


@lru_cache(maxsize=64)
def _of_idle(next_ms: int) -> SyncAnswer:
    """What nearly all nodes of a large market are answered, again and again."""
    return SyncAnswer(wishes=(), lease_ms=lease.AGENT_LEASE_MS, next_sync_ms=next_ms)


def has_news(desk: Desk, node: int, said: SyncAnswer) -> bool:
    """Whether `said` asks anything of the agent beyond going on: then it is not to be held back."""
    held = desk.presence(node).held
    return said.qualify or said.prove or any(_is_news(wish, held.get(wish.token)) for wish in said.wishes)


def _is_news(wish: Wish, held: Held | None) -> bool:
    if wish.desired == "stop":  # of what it does not hold it can only say so again
        return held is not None and held.state != "stopping"
    return wish.desired != "run"


def _arrive(desk: Desk, node: MarketNode, presence: Presence, request: SyncRequest, now: Now) -> None:
    """The node can be reached, and is perhaps being measured."""
    presence.qualifying = request.qualifying
    presence.took_up = presence.took_up or request.qualifying
    if not node.online:
        node = desk.book.change(node, online=True)
        desk.say(Kind.NODE_ONLINE, now, f"node {node.id}", node=node.id)
    first, again = (Standing.NEW, Standing.QUALIFYING)
    after = {(first, True): again, (again, False): first}.get((node.standing, request.qualifying))
    if after is not None:
        desk.book.change(node, standing=after)
        desk.say(
            Kind.NODE_STANDING,
            now,
            f"node {node.id}",
            node=node.id,
            before=node.standing.name.lower(),
            after=after.name.lower(),
        )


def _advance(desk: Desk, attempt: Attempt, held: Held, now: Now) -> None:
    """Move an attempt to where its agent says it is; what cannot follow is an older message and is left."""
    actor = f"node {attempt.node}"
    state = _end_of(desk, attempt, held)
    if state is not None:
        end_attempt(
            desk,
            attempt,
            state,
            now,
            actor,
            reason=held.reason or attempt.reason,
            exit_code=held.exit_code,
            artifacts=held.artifacts,
            frozen_ms=held.frozen_ms,
        )
        return
    shown = _SHOWN_AS.get(held.state)
    if shown is None or not may_follow(attempt.state, shown):
        return
    started_ms = attempt.started_ms
    if shown is AttemptState.RUNNING and started_ms is None:
        started_ms = now.unix_ms
    desk.book.change(attempt, state=shown, started_ms=started_ms)
    desk.say(_EVENT_OF[shown], now, actor, job=attempt.job, token=attempt.token, node=attempt.node)


def _end_of(desk: Desk, attempt: Attempt, held: Held) -> AttemptState | None:
    """The state in which the attempt ended, if it did."""
    if held.state == "vanished":
        return AttemptState.LOST
    if held.state not in ("exited", "timeout", "prepare_failed"):
        return None
    if desk.book.jobs[attempt.job].cancelled:
        return AttemptState.CANCELLED
    if attempt.state is AttemptState.STOPPING:
        return AttemptState.PREEMPTED if attempt.reason in MOVING else AttemptState.CANCELLED
    if held.state == "timeout":
        return AttemptState.TIMEOUT
    if held.state == "prepare_failed":
        return AttemptState.PREPARE_FAILED
    return AttemptState.SUCCEEDED if held.exit_code == 0 else AttemptState.APP_FAILED


def _look_for(desk: Desk, attempt: Attempt, presence: Presence, now: Now) -> None:
    """Judge a live attempt that its agent does not list."""
    if attempt.node_epoch < desk.book.nodes[attempt.node].epoch:
        lose(desk, attempt, now, "its agent began anew without it")
        return
    missing = presence.missing.get(attempt.token)
    if missing is not None:
        if now.mono_ms - missing.told_ms >= LAPSED_MS:
            lose(desk, attempt, now, "its agent does not hold it", told=True)
    elif attempt.state is not AttemptState.RESERVED:
        presence.missing[attempt.token] = Missing(now.mono_ms, now.mono_ms)


def _wish(desk: Desk, attempt: Attempt, presence: Presence, now: Now) -> Wish:
    """What an agent should do about a live attempt of its node."""
    token = attempt.token
    if attempt.state is AttemptState.STOPPING:
        return Wish(token=token, desired="stop", reason=attempt.reason)
    held = presence.held.get(token)
    if held is not None:
        return Wish(token=token, desired="start" if held.state == "prepared" else "run")
    if attempt.state is not AttemptState.RESERVED:
        return Wish(token=token, desired="run")
    missing = presence.missing.setdefault(token, Missing(now.mono_ms, now.mono_ms))
    if now.mono_ms - missing.since_ms >= desk.settings.start_ms:
        return Wish(token=token, desired="run")
    missing.told_ms = now.mono_ms
    job = desk.book.jobs[attempt.job]
    assignment = Assignment(
        job=job.id, n=attempt.n, spec=job.spec, gpus=attempt.gpus, checkpoint_sha256=job.checkpoint_sha256
    )
    return Wish(token=token, desired="start", assignment=assignment)


def _should_measure(desk: Desk, node: MarketNode, presence: Presence, now: Now) -> bool:
    """Whether to ask an idle node for a measurement; the flag is remembered, so that it is not asked at every call."""
    if node.due_ms is None or node.due_ms > now.unix_ms or presence.qualifying or node.proof.challenge is not None:
        return False
    again_ms = desk.settings.ask_again_ms if presence.took_up else MINUTE_MS
    if presence.asked_ms is not None and now.mono_ms - presence.asked_ms < again_ms:
        return False
    presence.asked_ms, presence.took_up = now.mono_ms, False
    return True
