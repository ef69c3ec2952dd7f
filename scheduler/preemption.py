"""Room for jobs that cannot wait: which of those that may be preempted give way, and for whom the room is kept.

A job that is not preemptible and fits nowhere takes the place of some that are, whosever they are; one that is itself
preemptible waits. Those go whose stopping loses least: price times the work since they were last saved. They are
stopped as any job is, with their grace to save themselves, and are placed again at no cost of a retry.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from scheduler.book import Row
from scheduler.capacity import room_on
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.lifecycle import AttemptState, JobState, is_live
from scheduler.outcome import MAKING_ROOM, stop_attempt
from scheduler.placement.place import Placer
from scheduler.records import Attempt, Job, Resources
from scheduler.shape import shape_of

#: what attempts that give way may take beyond their grace, to hand in what they leave
HAND_IN_MS = 60_000
#: jobs of a shape for which nobody could give way are not looked at again before this
VAIN_MS = 1_000
MAX_VAIN = 4096

_NONE: frozenset[int] = frozenset()
Cost = tuple[int, int]  # price x lost time, lost time: where nothing is paid the time alone decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Room that is being made."""

    job: int
    node: int
    tokens: frozenset[int]  #: attempts that give way
    until_ms: int  #: of Now.mono_ms; then the job waits as any other again


@dataclass(frozen=True, slots=True)
class _Way:
    """How a node could make room."""

    cost: Cost
    victims: tuple[Attempt, ...]
    node: int

    @property
    def order(self) -> tuple[Cost, int, int]:
        return (self.cost, len(self.victims), self.node)


class Preemption:
    """Follows the book; nothing of it is undone with that. A promise whose attempts do not stop after all is void.

    After a restart promises are read off the attempts that still give way; these get their whole time anew.
    """

    def __init__(self, desk: Desk, placer: Placer) -> None:
        self._desk, self._placer = desk, placer
        self._yielding: dict[int, set[int]] = {}  #: node -> tokens of attempts that may be made to give way
        self._promises: dict[int, Promise] = {}  #: by job
        self._vain: dict[Hashable, int] = {}  #: shape -> until when (Now.mono_ms) a search is in vain
        desk.book.watch(self)
        self._is_new = True

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher."""
        if isinstance(before, Attempt):
            self._forget(before)
        if isinstance(after, Attempt) and is_live(after.state) and after.state is not AttemptState.STOPPING:
            job = self._desk.book.jobs.get(after.job)
            if job is not None and job.spec.preemptible:
                self._yielding.setdefault(after.node, set()).add(after.token)

    @property
    def kept(self) -> frozenset[int]:
        """Nodes on which room is being made: nobody else is placed there meanwhile."""
        return frozenset(one.node for one in self._promises.values()) if self._promises else _NONE

    def due(self, now: Now) -> list[Job]:
        """Jobs whose room is made, to be tried before others; those whose room will not be wait in the line again."""
        if self._is_new:
            self._is_new = False
            self._resume(now)
        ready = []
        for promise in list(self._promises.values()):
            left = [a for token in promise.tokens if (a := self._desk.book.attempts.get(token)) is not None]
            stopping = all(attempt.state is AttemptState.STOPPING for attempt in left)
            if left and stopping and now.mono_ms < promise.until_ms:
                continue
            del self._promises[promise.job]
            self._desk.line.helped()  # the node is open to everybody again
            job = self._desk.book.jobs.get(promise.job)
            if job is not None and job.state is JobState.QUEUED:
                self._desk.line.take_back(job)
                if not left:
                    ready.append(job)
        return ready

    def make_room(self, job: Job, now: Now) -> str:
        """Have others give way to a job that fits nowhere. Returns what it waits for; "" = nobody can help it."""
        if job.spec.preemptible or not self._yielding:
            return ""
        shape = shape_of(job)
        if self._vain.get(shape, now.mono_ms) > now.mono_ms:
            return ""
        way = self._cheapest(job.spec.resources, self._placer.suitable(job.spec, now), now)
        if way is None:
            if len(self._vain) >= MAX_VAIN:
                self._vain.clear()
            self._vain[shape] = now.mono_ms + VAIN_MS
            return ""
        self._promise(job, way.victims, now)
        for attempt in way.victims:
            stop_attempt(self._desk, attempt, now, "server", MAKING_ROOM, yields_to=job.id)
        count = len(way.victims)
        who = "a preemptible job gives" if count == 1 else f"{count} preemptible jobs give"
        return f"node {way.node} makes room: {who} way"

    def _promise(self, job: Job, victims: Sequence[Attempt], now: Now) -> None:
        grace_s = max(self._desk.book.jobs[attempt.job].spec.stop_grace_s for attempt in victims)
        self._promises[job.id] = Promise(
            job=job.id,
            node=victims[-1].node,
            tokens=frozenset(attempt.token for attempt in victims),
            until_ms=now.mono_ms + grace_s * 1000 + HAND_IN_MS,
        )
        self._desk.line.set_aside(job.id)

    def _resume(self, now: Now) -> None:
        """Keep what an earlier server promised."""
        of_job: dict[int, list[Attempt]] = {}
        for token in sorted(self._desk.book.attempts):
            attempt = self._desk.book.attempts[token]
            if attempt.yields_to is not None:
                of_job.setdefault(attempt.yields_to, []).append(attempt)
        for number, victims in of_job.items():
            job = self._desk.book.jobs.get(number)
            if job is not None and job.state is JobState.QUEUED:
                there = victims[-1].node  # those elsewhere did not go in time, and were not waited for
                self._promise(job, [attempt for attempt in victims if attempt.node == there], now)

    def _cheapest(self, wanted: Resources, nodes: Iterable[int], now: Now) -> _Way | None:
        """The way that loses least; nodes are looked at in the order of the least they could lose."""
        kept = self.kept
        bounds = [
            (min(self._cost(token, now) for token in tokens), node)
            for node in nodes
            if (tokens := self._yielding.get(node)) and node not in kept
        ]
        best: _Way | None = None
        for bound, node in sorted(bounds):
            if best is not None and bound > best.cost:
                break
            way = self._way(node, wanted, now)
            if way is not None and (best is None or way.order < best.order):
                best = way
        return best

    def _way(self, node: int, wanted: Resources, now: Now) -> _Way | None:
        """Take the cheapest until the job fits, then leave out who is not needed, the dearest first."""
        book = self._desk.book
        by_cost = sorted(self._yielding[node], key=lambda token: (self._cost(token, now), -token))
        room = room_on(book, book.nodes[node])
        chosen: list[Attempt] = []
        for token in by_cost:
            if room.fits(wanted):
                break
            chosen.append(book.attempts[token])
            room.give_back(chosen[-1])
        if not room.fits(wanted):
            return None
        for attempt in reversed(chosen[:]):
            room.take(attempt)
            if room.fits(wanted):
                chosen.remove(attempt)
            else:
                room.give_back(attempt)
        costs = [self._cost(attempt.token, now) for attempt in chosen]
        total = (sum(money for money, _ in costs), sum(time for _, time in costs))
        return _Way(total, tuple(chosen), node) if chosen else None

    def _cost(self, token: int, now: Now) -> Cost:
        attempt = self._desk.book.attempts[token]
        if attempt.started_ms is None:
            return (0, 0)
        since_ms = max(attempt.started_ms, self._desk.book.jobs[attempt.job].checkpoint_ms or 0)
        lost_ms = max(0, now.unix_ms - since_ms)
        return (attempt.price_uh * lost_ms, lost_ms)

    def _forget(self, attempt: Attempt) -> None:
        tokens = self._yielding.get(attempt.node)
        if tokens is not None:
            tokens.discard(attempt.token)
            if not tokens:
                del self._yielding[attempt.node]
