"""The store as a model: rows by key, changes guarded as the real statements guard them, and what holds between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scheduler.book import Change, Counters, Row
from scheduler.lifecycle import JobState, is_ended, is_live, may_follow
from scheduler.records import Account, Attempt, Event, Job, MarketNode, NodeFigure, ReportEntry, Result

Key = tuple[object, ...]


def key_of(row: Row) -> Key:
    """Table and primary key."""
    match row:
        case MarketNode(id=key) | Job(id=key) | Account(id=key):
            return (type(row).__name__, key)
        case Attempt(token=key):
            return ("Attempt", key)
        case Result(job=key):
            return ("Result", key)
        case Event(seq=key):
            return ("Event", key)
        case ReportEntry(id=report):
            return ("ReportEntry", report)
        case NodeFigure():
            return ("NodeFigure", row.node, row.metric, row.figure.at_ms)
    raise AssertionError(f"the rules wrote a {type(row).__name__}")


def _is_loaded(row: Row) -> bool:
    """Whether a server that begins has to know of it."""
    match row:
        case MarketNode() | Account():
            return True
        case Job():
            return not is_ended(row.state)
        case Attempt():
            return is_live(row.state)
        case _:
            return False


class ModelStore:
    """What survives the server."""

    def __init__(self, watch: Callable[[Sequence[Change]], None] = lambda changes: None) -> None:
        self.fails_next = False  #: the next commit
        self._watch = watch  #: sees the changes of each commit before they are kept
        self.rows: dict[Key, Row] = {}
        self.live: dict[Key, Row] = {}  #: of them, what a server loads when it begins
        self.counters = Counters()
        self._attempts_of: dict[int, dict[int, Attempt]] = {}  #: job -> token -> its newest state
        self._live_on: dict[int, dict[int, Attempt]] = {}  #: node -> token -> attempt that lives

    def write(self, changes: Sequence[Change], counters: Counters) -> None:
        """All changes or, when one is not as it was read, an AssertionError."""
        self._watch(changes)
        for change in changes:
            key = key_of(change.after)
            if isinstance(change.after, ReportEntry | NodeFigure) and key in self.rows:
                continue  # told twice, kept once
            assert self.rows.get(key) is change.before, f"{key} was not what the rules had read"
            if isinstance(change.before, Attempt):
                self._check_step(change.before, change.after)
            self._put(key, change.after)
        self.counters = counters
        self.check(changes)

    def fails(self) -> bool:
        """Whether this commit is the one to fail."""
        fails, self.fails_next = self.fails_next, False
        return fails

    def attempts_of(self, job: int) -> list[Attempt]:
        """All of a job, ended ones too."""
        return [*self._attempts_of.get(job, {}).values()]

    def _put(self, key: Key, row: Row) -> None:
        self.rows[key] = row
        if _is_loaded(row):
            self.live[key] = row
        else:
            self.live.pop(key, None)
        if isinstance(row, Attempt):
            self._attempts_of.setdefault(row.job, {})[row.token] = row
            here = self._live_on.setdefault(row.node, {})
            here.pop(row.token, None)
            if is_live(row.state):
                here[row.token] = row

    def check(self, changes: Sequence[Change]) -> None:
        """What holds between rows after every commit, for the jobs and nodes that the commit touched."""
        jobs, nodes = set(), set()
        for change in changes:
            row = change.after
            if isinstance(row, Attempt):
                jobs.add(row.job)
                nodes.add(row.node)
            elif isinstance(row, Job):
                jobs.add(row.id)
        for job in jobs:
            self._check_job(job)
        for node in nodes:
            self._check_node(node)

    def _check_step(self, before: Attempt, after: Row) -> None:
        assert isinstance(after, Attempt)
        assert may_follow(before.state, after.state), f"{before.state.name} -> {after.state.name}"
        assert (before.job, before.node, before.resources) == (after.job, after.node, after.resources)

    def _check_job(self, id_: int) -> None:
        job, result = self.rows["Job", id_], self.rows.get(("Result", id_))
        assert isinstance(job, Job)
        attempts = self.attempts_of(id_)
        live = [attempt for attempt in attempts if is_live(attempt.state)]
        assert len(live) == (job.state is JobState.ACTIVE), f"job {id_} is {job.state.name}, live: {live}"
        assert [attempt.token for attempt in live] in ([], [job.token])
        assert sorted(attempt.n for attempt in attempts) == list(range(1, job.attempts + 1))
        if result is not None:
            assert isinstance(result, Result)
            assert is_ended(job.state)
            assert result.token == job.token == max(attempt.token for attempt in attempts)
        assert job.state is not JobState.DONE or result is not None

    def _check_node(self, id_: int) -> None:
        node = self.rows["MarketNode", id_]
        assert isinstance(node, MarketNode)
        live = [*self._live_on.get(id_, {}).values()]
        left = list(node.capacity.gpu_milli)
        for attempt in live:
            for gpu in attempt.gpus:
                left[gpu] -= attempt.resources.gpu_milli or 1000
        assert all(milli >= 0 for milli in left), f"node {id_} gave its GPUs away twice: {live}"
        assert sum(attempt.resources.cpu_milli for attempt in live) <= node.capacity.cpu_milli
        assert sum(attempt.resources.memory_bytes for attempt in live) <= node.capacity.memory_bytes
        assert sum(attempt.resources.disk_bytes for attempt in live) <= node.capacity.disk_bytes
