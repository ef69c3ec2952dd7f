"""Places what waits: in order, each once per change of the market that could help it."""

from __future__ import annotations

from scheduler.capacity import WHOLE_MILLI, room_on
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.events import Kind
from scheduler.lifecycle import JobState, Standing
from scheduler.placement.place import Decision, Placer
from scheduler.preemption import Preemption
from scheduler.records import Attempt, Job, MarketNode, Resources
from scheduler.shape import avoided
from scheduler.told import Told

PLACED = Kind.ATTEMPT_PLACED.value


def dispatch(desk: Desk, placer: Placer, preemption: Preemption, now: Now, limit: int) -> int:
    """Place queued jobs, at most `limit` tries. Returns how many were placed."""
    line, book = desk.line, desk.book
    line.open(now)
    first = preemption.due(now)
    placed = 0
    for _ in range(limit):
        promised = first.pop(0).id if first else None
        waiting = line.next() if promised is None else promised
        if waiting is None:
            break
        job = book.jobs[waiting]
        if reason := line.shares.objection(job.owner, job.spec.resources):
            for told in line.cap(job.id, reason):
                _explain(desk, told, reason)
            continue
        reason = _place(desk, placer, job, preemption.kept, now)
        if not reason:
            placed += 1
        elif promised is None and (hope := preemption.make_room(job, now)):
            _explain(desk, job.id, hope)
            first += preemption.due(now)  # who had not begun is gone already
        else:
            for told in line.refuse(job.id, reason, now, desk.settings.retry_ms):
                _explain(desk, told, reason)
    else:
        line.cut_short()
    for told, reason in line.unsaid():
        _explain(desk, told, reason)
    return placed


def _place(desk: Desk, placer: Placer, job: Job, kept: frozenset[int], now: Now) -> str:
    """Reserve the best node for a job. Returns why there is none; "" = there is one."""
    decision = placer.place(job.spec, avoided(job) | kept if kept else avoided(job), now)
    if decision.node is None:
        return decision.reason or "no node fits"
    if decision.node in kept:
        return f"node {decision.node} makes room for another job"
    node = desk.book.nodes.get(decision.node)
    if node is None:
        return "the node that was chosen does not exist"
    if objection := _objection(desk, node, job.spec.resources, decision.gpus):
        return objection
    _reserve(desk, job, node, decision, now)
    return ""


def _reserve(desk: Desk, job: Job, node: MarketNode, decision: Decision, now: Now) -> None:
    attempt = Attempt(
        token=desk.book.number("token"),
        job=job.id,
        n=job.attempts + 1,
        node=node.id,
        node_epoch=node.epoch,
        resources=job.spec.resources,
        gpus=decision.gpus,
        price_uh=decision.price_uh,
        placed_ms=now.unix_ms,
        why=decision.why,
    )
    desk.book.change(job, state=JobState.ACTIVE, token=attempt.token, attempts=attempt.n, reason="")
    desk.book.add(attempt)
    gpus = ",".join(map(str, attempt.gpus))
    data = Told(f'{{"price_uh":{attempt.price_uh},"gpus":[{gpus}]}}')
    desk.write_down(PLACED, now, "server", data, job=job.id, token=attempt.token, node=node.id)


def _objection(desk: Desk, node: MarketNode, wanted: Resources, gpus: tuple[int, ...]) -> str:
    """Why a chosen node cannot take the job after all; "" = it can. The index and the book must agree: both look."""
    if node.standing not in (Standing.READY, Standing.DEGRADED) or not node.online or node.draining:
        return f"node {node.id} takes no work"
    room = room_on(desk.book, node)
    each = wanted.gpu_milli or WHOLE_MILLI
    fits = (
        room.fits_beside_gpus(wanted)
        and len(set(gpus)) == len(gpus) == (wanted.gpus or (1 if wanted.gpu_milli else 0))
        and all(0 <= gpu < len(room.gpu_milli) and room.gpu_milli[gpu] >= each for gpu in gpus)
    )
    return "" if fits else f"node {node.id} has too little left"


def _explain(desk: Desk, job: int, reason: str) -> None:
    waiting = desk.book.jobs[job]
    if waiting.reason != reason:
        desk.book.change(waiting, reason=reason)
