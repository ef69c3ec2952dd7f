"""The line of jobs that wait: who is next, who would only fail again, and when somebody's time comes.

Jobs that ask for the same (a shape) fit or fail together, so one refusal is remembered for all of them: nothing is
tried again before something that could help has changed. HTCondor calls the same idea autoclusters.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from scheduler.book import Row
from scheduler.clock import Now
from scheduler.lifecycle import JobState, is_ended, is_live
from scheduler.records import Attempt, Job, JobSpec, MarketNode

#: of a spec: no node is better or worse for these
_NOT_OF_THE_SHAPE = frozenset(
    {
        "name",
        "command",
        "deadline_ms",
        "retries",
        "recover_on_exit_codes",
        "env",
        "secrets",
        "inputs",
        "artifacts",
        "checkpoint",
        "priority",
        "stop_grace_s",
        "hold_s",
        "log_quota_bytes",
    }
)
_SHAPE_FIELDS = tuple(f.name for f in dataclasses.fields(JobSpec) if f.name not in _NOT_OF_THE_SHAPE)
#: jobs of a shape whose stated reason follows the newest refusal; the others keep the one they have
REASONS_AT_ONCE = 64

Shape = Hashable
_Place = tuple[int, int]  # (-priority, id): the order of the line


@dataclass(slots=True)
class _Refusal:
    reason: str
    until_ms: int  #: of Now.mono_ms


class Line:
    """Follows the book: holds the QUEUED jobs in order, and the times at which others want to be looked at."""

    def __init__(self) -> None:
        self._shape_of: dict[int, Shape] = {}  #: of every queued job
        self._members: dict[Shape, list[_Place]] = {}  #: heaps; those that left are skipped
        self._ready: list[_Place] = []  #: heap: at least the first of every shape that was not refused
        self._refused: dict[Shape, _Refusal] = {}  #: oldest first
        self._said: dict[Shape, int] = {}  #: when (Now.mono_ms) jobs of a shape were last given the newest reason
        self._unsaid: list[int] = []  #: jobs that came into a refused shape
        self._helped = False
        self._cut_short = False
        self._backoffs: list[tuple[int, int]] = []  #: heap of (unix ms, job)
        self._deadlines: list[tuple[int, int]] = []

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher."""
        row = after if after is not None else before
        if isinstance(row, Job):
            self._job_changed(before if isinstance(before, Job) else None, after if isinstance(after, Job) else None)
        elif isinstance(row, Attempt):
            ended = after is None or (not is_live(row.state) and before is not None)
            self._helped = self._helped or ended
        elif isinstance(row, MarketNode):
            same = isinstance(before, MarketNode) and isinstance(after, MarketNode) and _terms(before) == _terms(after)
            self._helped = self._helped or not same

    def open(self, now: Now) -> None:
        """Begin a pass: shapes that were refused come back if something has changed or their time is over."""
        if self._helped and not self._cut_short:  # else those that were not come to go first
            again = list(self._refused)
            self._helped = False
        else:
            again = []
            for shape, refusal in self._refused.items():
                if refusal.until_ms > now.mono_ms:
                    break
                again.append(shape)
        for shape in again:
            del self._refused[shape]
            self._offer_first(shape)
        self._cut_short = False

    def next(self) -> int | None:
        """The first job in the line that was not refused; it stays there until the book says otherwise."""
        while self._ready:
            _, job = self._ready[0]
            shape = self._shape_of.get(job)
            if shape is not None and shape not in self._refused:
                return job
            heapq.heappop(self._ready)
        return None

    def refuse(self, job: int, reason: str, now: Now, retry_ms: int) -> list[int]:
        """No node fits `job`, nor any of its shape, as things are. Returns the jobs whose reason should say so now."""
        shape = self._shape_of[job]
        self._refused[shape] = _Refusal(reason, now.mono_ms + retry_ms)
        said_ms = self._said.get(shape)
        if said_ms is not None and now.mono_ms - said_ms < retry_ms:
            return []  # counts in a reason change with every placement; nobody reads that fast
        self._said[shape] = now.mono_ms
        front = [id_ for _, id_ in self._members[shape][:REASONS_AT_ONCE] if self._shape_of.get(id_) == shape]
        return list(dict.fromkeys((job, *front)))

    def unsaid(self) -> Iterator[tuple[int, str]]:
        """Jobs that joined a shape that is refused, with the reason; each once."""
        while self._unsaid:
            job = self._unsaid.pop()
            refusal = self._refused.get(self._shape_of.get(job))
            if refusal is not None:
                yield job, refusal.reason

    def cut_short(self) -> None:
        """The pass ends before the line does."""
        self._cut_short = True

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
            if after is not None and after.state is JobState.QUEUED and _shape(after) == self._shape_of[after.id]:
                return  # only its reason changed
            self._leave(before)
        if after is None or is_ended(after.state):
            return
        if after.state is JobState.QUEUED:
            self._join(after)
        elif after.state is JobState.BACKOFF:
            heapq.heappush(self._backoffs, (after.next_at_ms, after.id))
        if after.spec.deadline_ms is not None and (before is None or is_ended(before.state)):
            heapq.heappush(self._deadlines, (after.spec.deadline_ms, after.id))

    def _join(self, job: Job) -> None:
        shape = self._shape_of[job.id] = _shape(job)
        place = (-job.spec.priority, job.id)
        heapq.heappush(self._members.setdefault(shape, []), place)
        if shape in self._refused:
            self._unsaid.append(job.id)
        else:
            heapq.heappush(self._ready, place)

    def _leave(self, job: Job) -> None:
        shape = self._shape_of.pop(job.id)
        if shape not in self._refused:
            self._offer_first(shape)

    def _offer_first(self, shape: Shape) -> None:
        heap = self._members[shape]
        while heap and self._shape_of.get(heap[0][1]) != shape:
            heapq.heappop(heap)
        if heap:
            heapq.heappush(self._ready, heap[0])
        else:
            del self._members[shape]
            self._said.pop(shape, None)


def avoided(job: Job) -> frozenset[int]:
    """Nodes on which the job is placed only when no other will do."""
    return frozenset((*job.lost_nodes, *job.crash_nodes))


def _shape(job: Job) -> Shape:
    return (avoided(job), *(getattr(job.spec, name) for name in _SHAPE_FIELDS))


def _terms(node: MarketNode) -> tuple[object, ...]:
    """What of a node decides who fits."""
    return (
        node.standing,
        node.online,
        node.draining,
        node.capacity,
        node.report_id,
        node.price_uh,
        node.region,
        node.executors,
        node.shares_gpus,
    )


def _passed(heap: list[tuple[int, int]], now: Now) -> Iterator[int]:
    """Each leaves the heap when the next is asked for; the caller may push what comes later than `now`."""
    while heap and heap[0][0] <= now.unix_ms:
        yield heap[0][1]
        heapq.heappop(heap)
