"""Places what waits: in order, each once per change of the market that could help it."""

from __future__ import annotations

from scheduler.book import Book
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.events import Kind
from scheduler.lifecycle import JobState, Standing
from scheduler.placement.place import Decision, Placer
from scheduler.records import Attempt, Capacity, Job, MarketNode, Resources
from scheduler.shape import avoided


def dispatch(desk: Desk, placer: Placer, now: Now, limit: int) -> int:
    """Place queued jobs, at most `limit` tries. Returns how many were placed."""
    line, book = desk.line, desk.book
    line.open(now)
    placed = 0
    for _ in range(limit):
        waiting = line.next()
        if waiting is None:
            break
        job = book.jobs[waiting]
        decision = placer.place(job.spec, avoided(job), now)
        reason = decision.reason or "no node fits"
        node = None if decision.node is None else book.nodes.get(decision.node)
        if decision.node is not None:
            reason = _objection(desk, node, job.spec.resources, decision.gpus)
        if node is not None and not reason:
            _reserve(desk, job, node, decision, now)
            placed += 1
        else:
            for told in line.refuse(job.id, reason, now, desk.settings.retry_ms):
                _explain(desk, told, reason)
    else:
        line.cut_short()
    for told, reason in line.unsaid():
        _explain(desk, told, reason)
    return placed


def free_capacity(book: Book, node: MarketNode) -> Capacity:
    """What the live attempts leave of a node; below 0 where a newer report found less than they hold."""
    gpus = list(node.capacity.gpu_milli)
    cpu, memory, disk = node.capacity.cpu_milli, node.capacity.memory_bytes, node.capacity.disk_bytes
    for attempt in (book.attempts[token] for token in book.tokens_of_node.get(node.id, ())):
        taken = attempt.resources
        for gpu in attempt.gpus:
            if gpu < len(gpus):
                gpus[gpu] -= taken.gpu_milli or 1000
        cpu, memory, disk = cpu - taken.cpu_milli, memory - taken.memory_bytes, disk - taken.disk_bytes
    return Capacity(gpu_milli=tuple(gpus), cpu_milli=cpu, memory_bytes=memory, disk_bytes=disk)


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
    desk.say(
        Kind.ATTEMPT_PLACED,
        now,
        "server",
        job=job.id,
        token=attempt.token,
        node=node.id,
        price_uh=attempt.price_uh,
        gpus=list(attempt.gpus),
    )


def _objection(desk: Desk, node: MarketNode | None, wanted: Resources, gpus: tuple[int, ...]) -> str:
    """Why a chosen node cannot take the job after all; "" = it can. The index and the book must agree: both look."""
    if node is None:
        return "the node that was chosen does not exist"
    if node.standing not in (Standing.READY, Standing.DEGRADED) or not node.online or node.draining:
        return f"node {node.id} takes no work"
    free = free_capacity(desk.book, node)
    each = wanted.gpu_milli or 1000
    fits = (
        free.cpu_milli >= wanted.cpu_milli
        and free.memory_bytes >= wanted.memory_bytes
        and free.disk_bytes >= wanted.disk_bytes
        and len(set(gpus)) == len(gpus) == (wanted.gpus or (1 if wanted.gpu_milli else 0))
        and all(0 <= gpu < len(free.gpu_milli) and free.gpu_milli[gpu] >= each for gpu in gpus)
    )
    return "" if fits else f"node {node.id} has too little left"


def _explain(desk: Desk, job: int, reason: str) -> None:
    waiting = desk.book.jobs[job]
    if waiting.reason != reason:
        desk.book.change(waiting, reason=reason)
