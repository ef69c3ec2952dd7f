"""What the server counts of itself, for Prometheus; a registry of its own, and no label that names a tenant."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from scheduler.book import Book
from scheduler.lifecycle import AttemptState, JobState, Standing, is_ended, is_live
from server.alarms import KINDS

REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many of each the book holds."""

    jobs: dict[JobState, int]
    attempts: dict[AttemptState, int]
    nodes: dict[tuple[Standing, bool], int]


def count(book: Book) -> Counts:
    """Count the rows; called where the book may be read."""
    return Counts(
        jobs=Tally(job.state for job in book.jobs.values()),
        attempts=Tally(attempt.state for attempt in book.attempts.values()),
        nodes=Tally((node.standing, node.online) for node in book.nodes.values()),
    )


class Metrics:
    """The registry and everything in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        registry = self.registry
        self.requests_s = Histogram(
            "gridmark_request_seconds",
            "Time from a request to the start of its answer, held-back syncs included",
            ["method", "route", "status"],
            buckets=REQUEST_S,
            registry=registry,
        )
        self.commit_s = Histogram(
            "gridmark_commit_seconds", "Time that one commit took", buckets=COMMIT_S, registry=registry
        )
        self.syncs = Counter("gridmark_syncs", "Syncs answered to agents", registry=registry)
        self.log_bytes = Counter("gridmark_log_bytes", "Bytes of jobs' output taken in", registry=registry)
        self.refused = Counter("gridmark_refused", "Requests answered with a problem", ["problem"], registry=registry)
        self.follows = Gauge("gridmark_follows", "Log streams open now", registry=registry)
        self.waiting_syncs = Gauge("gridmark_waiting_syncs", "Syncs held back now", registry=registry)
        self.finder_up = Gauge("gridmark_finder_up", "Whether offers are found in a process apart", registry=registry)
        self.finder_ended = Counter(
            "gridmark_finder_ended", "Times that process ended and had to be started anew", registry=registry
        )
        self._jobs = Gauge("gridmark_jobs", "Jobs that have not ended", ["state"], registry=registry)
        self._queue = Gauge("gridmark_queue_length", "Jobs waiting to be placed", registry=registry)
        self._attempts = Gauge("gridmark_attempts", "Attempts that hold resources", ["state"], registry=registry)
        self._alarms = Gauge("gridmark_alarm", "Whether an alarm is on", ["kind"], registry=registry)
        self._log_file = Gauge("gridmark_log_file_bytes", "Length of the write-ahead log", registry=registry)
        self._nodes = Gauge("gridmark_nodes", "Nodes by standing", ["standing", "online"], registry=registry)

    def page(self, counts: Counts, *, alarms: Collection[str] = (), log_file_bytes: int = 0) -> bytes:
        """The text that Prometheus reads."""
        for kind in KINDS:
            self._alarms.labels(kind).set(kind in alarms)
        self._log_file.set(log_file_bytes)
        for job_state in JobState:
            if not is_ended(job_state):
                self._jobs.labels(job_state.name.lower()).set(counts.jobs.get(job_state, 0))
        self._queue.set(counts.jobs.get(JobState.QUEUED, 0))
        for attempt_state in AttemptState:
            if is_live(attempt_state):
                self._attempts.labels(attempt_state.name.lower()).set(counts.attempts.get(attempt_state, 0))
        for standing in Standing:
            for online in (True, False):
                number = counts.nodes.get((standing, online), 0)
                self._nodes.labels(standing.name.lower(), str(online).lower()).set(number)
        return generate_latest(self.registry)
