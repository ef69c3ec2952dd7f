"""The line of jobs that wait: who is next, who would only fail again, and when somebody's time comes.

Accounts take turns: next is a job of the account that holds least of the market for its weight (shares.py), and of its
jobs the one of the highest priority, then the oldest. Jobs that ask for the same (a shape) fit or fail together, so one
refusal is remembered for all of them: nothing is tried again before something that could help has changed. HTCondor
calls the same idea autoclusters.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from scheduler.book import Row
from scheduler.clock import Now
from scheduler.lifecycle import JobState, is_ended, is_live
from scheduler.records import Attempt, Job, MarketNode
from scheduler.shape import avoided, shape_of, terms_of
from scheduler.shares import Shares

#: jobs of a shape whose stated reason follows the newest refusal; the others keep the one they have
REASONS_AT_ONCE = 64
#: turns that mean nothing any more and are kept nevertheless
STALE_TURNS = 1000

_Place = tuple[int, int]  # (-priority, id): the order of an account's jobs


@dataclass(slots=True)
class _Refusal:
    reason: str
    until_ms: int  #: of Now.mono_ms


@dataclass(slots=True, eq=False)
class _Kind:
    """Jobs of one shape."""

    shape: Hashable
    groups: dict[int, _Group] = field(default_factory=dict)  #: by account
    refusal: _Refusal | None = None
    said_ms: int | None = None  #: of Now.mono_ms; when jobs of it were last given the newest reason


@dataclass(slots=True, eq=False)
class _Group:
    """Jobs of one shape and one account."""

    account: int
    kind: _Kind
    members: list[_Place] = field(default_factory=list)  #: heap; those that left are skipped
    capped: str = ""  #: why its account's limits stop it; "" = they do not
    said: str = ""  #: what its jobs were last told of that

    @property
    def reason(self) -> str:
        """Why none of it is to be tried; "" = one is."""
        return self.capped or (self.kind.refusal.reason if self.kind.refusal is not None else "")


@dataclass(slots=True, eq=False)
class _Queue:
    """What one account waits for."""

    ready: list[_Place] = field(default_factory=list)  #: heap: at least the first of each group that may be tried
    capped: set[_Group] = field(default_factory=set)
    stamp: int = 0  #: of its turn; an older one means nothing
    has_turn: bool = False


class Line:
    """Follows the book: holds the QUEUED jobs in order, and the times at which others want to be looked at."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._shares_version = shares.version
        self._group_of: dict[int, _Group] = {}  #: of every queued job that is not set aside
        self._kinds: dict[Hashable, _Kind] = {}
        self._queues: dict[int, _Queue] = {}  #: by account
        self._turns: list[tuple[float, int, int, int]] = []  #: heap: (share, first job, account, stamp)
        self._moved: dict[int, None] = {}  #: accounts whose place among the turns is to be found anew
        self._refused: dict[_Kind, None] = {}  #: oldest first
        self._aside: set[int] = set()
        self._uncap: set[int] = set()  #: accounts that hold less or may hold more than they did
        self._unsaid: list[int] = []  #: jobs that came into a refused shape
        self._helped = False
        self._cut_short = False
        self._backoffs: list[tuple[int, int]] = []  #: heap of (unix ms, job)
        self._deadlines: list[tuple[int, int]] = []

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher; what accounts hold follows first, the order goes by it."""
        account = self.shares.changed(before, after)
        row = after if after is not None else before
        if isinstance(row, Job):
            self._job_changed(before if isinstance(before, Job) else None, after if isinstance(after, Job) else None)
        elif isinstance(row, MarketNode):
            same = isinstance(before, MarketNode) and isinstance(after, MarketNode)
            self._helped = self._helped or not same or terms_of(before) != terms_of(after)
        elif account is not None:
            if not (isinstance(after, Attempt) and is_live(after.state)):
                self._helped = True
                self._uncap.add(account)
            self._moved[account] = None

    def open(self, now: Now) -> None:
        """Begin a pass: shapes that were refused come back if something has changed or their time is over."""
        if self._helped and not self._cut_short:  # else those that were not come to go first
            again = list(self._refused)
            self._helped = False
        else:
            again = []
            for kind in self._refused:
                if kind.refusal is not None and kind.refusal.until_ms > now.mono_ms:
                    break
                again.append(kind)
        for kind in again:
            del self._refused[kind]
            kind.refusal = None
            for group in kind.groups.values():
                self._offer_first(group)
        for account in self._uncap:
            self._lift_caps(account)
        self._uncap.clear()
        if self._shares_version != self.shares.version:
            self._shares_version = self.shares.version
            for account, queue in self._queues.items():
                if queue.has_turn:
                    self._moved[account] = None
        self._cut_short = False

    def next(self) -> int | None:
        """The first job in the line that was not refused; it stays there until the book says otherwise."""
        for account in self._moved:
            self._take_turn(account)
        self._moved.clear()
        while self._turns:
            share, first, account, stamp = self._turns[0]
            queue = self._queues[account]
            if stamp != queue.stamp:
                heapq.heappop(self._turns)
                continue
            job = self._first_ready(queue)
            if job == first:
                return job
            heapq.heappop(self._turns)
            queue.has_turn = job is not None
            if job is not None:  # among equal shares the older job goes first
                heapq.heappush(self._turns, (share, job, account, stamp))
        return None

    def refuse(self, job: int, reason: str, now: Now, retry_ms: int) -> list[int]:
        """No node fits `job`, nor any of its shape, as things are. Returns the jobs whose reason should say so now."""
        kind = self._group_of[job].kind
        kind.refusal = _Refusal(reason, now.mono_ms + retry_ms)
        self._refused[kind] = None
        if kind.said_ms is not None and now.mono_ms - kind.said_ms < retry_ms:
            return []  # counts in a reason change with every placement; nobody reads that fast
        kind.said_ms = now.mono_ms
        front = (id_ for group in kind.groups.values() for id_ in self._front(group))
        return list(dict.fromkeys((job, *islice(front, REASONS_AT_ONCE))))

    def cap(self, job: int, reason: str) -> list[int]:
        """Its account's limits stop `job`, and all like it, until the account holds less. Returns whom to tell."""
        group = self._group_of[job]
        group.capped = reason
        self._queues[group.account].capped.add(group)
        if group.said == reason:
            return []
        group.said = reason
        return list(dict.fromkeys((job, *self._front(group))))

    def set_aside(self, job: int) -> None:
        """Leave a queued job out until it is taken back; it is one to whom room was promised."""
        self._leave(job)
        self._aside.add(job)

    def take_back(self, job: Job) -> None:
        """Let a job that was set aside wait with the others; one that was placed meanwhile does not wait."""
        if job.id in self._aside:
            self._aside.discard(job.id)
            self._join(job)

    def unsaid(self) -> Iterator[tuple[int, str]]:
        """Jobs that joined a shape that is refused, with the reason; each once."""
        while self._unsaid:
            job = self._unsaid.pop()
            group = self._group_of.get(job)
            if group is not None and (reason := group.reason):
                yield job, reason

    def cut_short(self) -> None:
        """The pass ends before the line does."""
        self._cut_short = True

    def helped(self) -> None:
        """Something has changed that could help those who were refused, and that the book does not tell."""
        self._helped = True

    def rested(self, now: Now) -> Iterator[int]:
        """Jobs whose backoff may be over; each once."""
        return _passed(self._backoffs, now)

    def late(self, now: Now) -> Iterator[int]:
        """Jobs whose deadline has passed; each once, see `remind`."""
        return _passed(self._deadlines, now)

    def remind(self, job: int, at_unix_ms: int) -> None:
        """Name the job in `late` again."""
        heapq.heappush(self._deadlines, (at_unix_ms, job))

    def _job_changed(self, before: Job | None, after: Job | None) -> None:
        if before is not None and before.state is JobState.QUEUED:
            same = after is not None and after.state is JobState.QUEUED and avoided(after) == avoided(before)
            if same:
                return  # only its reason changed: its document never does
            if before.id in self._aside:
                self._aside.discard(before.id)
            else:
                self._leave(before.id)
        if after is None or is_ended(after.state):
            return
        if after.state is JobState.QUEUED:
            self._join(after)
        elif after.state is JobState.BACKOFF:
            heapq.heappush(self._backoffs, (after.next_at_ms, after.id))
        if after.spec.deadline_ms is not None and (before is None or is_ended(before.state)):
            heapq.heappush(self._deadlines, (after.spec.deadline_ms, after.id))

    def _join(self, job: Job) -> None:
        shape = shape_of(job)
        kind = self._kinds.get(shape)
        if kind is None:
            kind = self._kinds[shape] = _Kind(shape)
        group = kind.groups.get(job.owner)
        if group is None:
            group = kind.groups[job.owner] = _Group(job.owner, kind)
        self._group_of[job.id] = group
        place = (-job.spec.priority, job.id)
        heapq.heappush(group.members, place)
        if group.reason:
            self._unsaid.append(job.id)
        else:
            self._make_ready(job.owner, place)

    def _leave(self, job: int) -> None:
        self._offer_first(self._group_of.pop(job))

    def _offer_first(self, group: _Group) -> None:
        """Let the first of a group be tried if any may; a group without jobs is forgotten."""
        members = group.members
        while members and self._group_of.get(members[0][1]) is not group:
            heapq.heappop(members)
        if members:
            if not group.reason:
                self._make_ready(group.account, members[0])
            return
        kind = group.kind
        if kind.groups.get(group.account) is group:
            del kind.groups[group.account]
            self._queues[group.account].capped.discard(group)
            if not kind.groups:
                self._refused.pop(kind, None)
                del self._kinds[kind.shape]

    def _make_ready(self, account: int, place: _Place) -> None:
        queue = self._queues.get(account)
        if queue is None:
            queue = self._queues[account] = _Queue()
        heapq.heappush(queue.ready, place)
        self._moved[account] = None

    def _take_turn(self, account: int) -> None:
        """Put an account where its share belongs, if it waits for anything."""
        queue = self._queues.get(account)
        if queue is None:
            return
        first = self._first_ready(queue)
        queue.stamp += 1
        queue.has_turn = first is not None
        if first is None:
            return
        heapq.heappush(self._turns, (self.shares.share(account), first, account, queue.stamp))
        if len(self._turns) > 2 * len(self._queues) + STALE_TURNS:
            self._turns = [turn for turn in self._turns if turn[3] == self._queues[turn[2]].stamp]
            heapq.heapify(self._turns)

    def _first_ready(self, queue: _Queue) -> int | None:
        ready = queue.ready
        while ready:
            group = self._group_of.get(ready[0][1])
            if group is not None and not group.capped and group.kind.refusal is None:  # `reason`, asked all the time
                return ready[0][1]
            heapq.heappop(ready)
        return None

    def _lift_caps(self, account: int) -> None:
        queue = self._queues.get(account)
        for group in list(queue.capped) if queue is not None else ():
            group.capped = ""
            self._offer_first(group)
        if queue is not None:
            queue.capped.clear()

    def _front(self, group: _Group) -> list[int]:
        return [id_ for _, id_ in group.members[:REASONS_AT_ONCE] if self._group_of.get(id_) is group]


def _passed(heap: list[tuple[int, int]], now: Now) -> Iterator[int]:
    """Each leaves the heap when the next is asked for; the caller may push what comes later than `now`."""
    while heap and heap[0][0] <= now.unix_ms:
        yield heap[0][1]
        heapq.heappop(heap)
