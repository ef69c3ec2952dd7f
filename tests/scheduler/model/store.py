"""The store as a model: rows by key, changes guarded as the real statements guard them, and what holds between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scheduler.book import Change, Counters, Row
from scheduler.lifecycle import JobState, is_ended, is_live, may_follow
from scheduler.records import Account, Attempt, Event, Job, MarketNode, NodeFigure, ReportEntry, Result


def key_of(row: Row) -> tuple[object, ...]:
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


class ModelStore:
    """What survives the server."""

    def __init__(self) -> None:
        self.rows: dict[tuple[object, ...], Row] = {}
        self.counters = Counters()
        self.commits = 0

    def write(self, changes: Sequence[Change], counters: Counters) -> None:
        """All changes or, when one is not as it was read, an AssertionError."""
        for change in changes:
            key = key_of(change.after)
            if isinstance(change.after, ReportEntry | NodeFigure) and key in self.rows:
                continue  # told twice, kept once
            assert self.rows.get(key) is change.before, f"{key} was not what the rules had read"
            if isinstance(change.before, Attempt):
                self._check_step(change.before, change.after)
            self.rows[key] = change.after
        self.counters = counters
        self.commits += bool(changes)
        self.check(changes)

    def of(self, kind: type) -> Iterable[Row]:
        """All rows of a table."""
        return [row for row in self.rows.values() if isinstance(row, kind)]

    def live_rows(self) -> list[Row]:
        """What a server loads when it begins."""
        return [
            row
            for row in self.rows.values()
            if isinstance(row, MarketNode | Account)
            or (isinstance(row, Job) and not is_ended(row.state))
            or (isinstance(row, Attempt) and is_live(row.state))
        ]

    def check(self, changes: Sequence[Change]) -> None:
        """What holds between rows after every commit, for the jobs and nodes that the commit touched."""
        jobs = {row.job for row in (change.after for change in changes) if isinstance(row, Attempt)}
        jobs |= {row.id for row in (change.after for change in changes) if isinstance(row, Job)}
        for job in jobs:
            self._check_job(job)
        for node in {change.after.node for change in changes if isinstance(change.after, Attempt)}:
            self._check_node(node)

    def attempts_of(self, job: int) -> list[Attempt]:
        """All attempts of a job."""
        return [row for row in self.rows.values() if isinstance(row, Attempt) and row.job == job]

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
        live = [
            row for row in self.rows.values() if isinstance(row, Attempt) and row.node == id_ and is_live(row.state)
        ]
        left = list(node.capacity.gpu_milli)
        for attempt in live:
            for gpu in attempt.gpus:
                left[gpu] -= attempt.resources.gpu_milli or 1000
        assert all(milli >= 0 for milli in left), f"node {id_} gave its GPUs away twice: {live}"
        assert sum(attempt.resources.cpu_milli for attempt in live) <= node.capacity.cpu_milli
        assert sum(attempt.resources.memory_bytes for attempt in live) <= node.capacity.memory_bytes
        assert sum(attempt.resources.disk_bytes for attempt in live) <= node.capacity.disk_bytes
