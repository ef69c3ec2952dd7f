"""A market in memory for the tests of its rules: the real Control, a placer of a few lines, and no node at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scheduler.book import Book, Row
from scheduler.capacity import Room, room_on
from scheduler.clock import Now
from scheduler.control import Control, ControlSettings
from scheduler.lifecycle import Standing
from scheduler.market.listing import ReportSummary
from scheduler.placement.place import Decision
from scheduler.records import Artifact, Attempt, Capacity, Event, Job, JobSpec, MarketNode, Remark, Resources, Result
from scheduler.wire import Held, LocalState, SyncAnswer, SyncRequest
from tests.scheduler.clocks import FakeClock

MIB = 1 << 20
CAPACITY = Capacity(gpu_milli=(1000, 1000), cpu_milli=4000, memory_bytes=4096 * MIB, disk_bytes=8192 * MIB)


class FirstFit:
    """The first node by id that has room; what the real placer promises, without its ranking."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.asked: list[str] = []  #: names of the specs it was asked for, in order

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """The lowest id that fits, one that is not avoided first."""
        self.asked.append(spec.name)
        fitting = [
            (node.id in avoid, node.id) for node in self.book.nodes.values() if self._gpus(node, spec) is not None
        ]
        if not fitting:
            return Decision(node=None, reason=f"none of {len(self.book.nodes)} nodes has room")
        node = self.book.nodes[min(fitting)[1]]
        return Decision(node=node.id, gpus=self._gpus(node, spec) or (), price_uh=node.price_uh, why={"rule": "first"})

    def suitable(self, spec: JobSpec, now: Now) -> tuple[int, ...]:
        """Those that fit when they are empty."""
        return tuple(node.id for node in self.book.nodes.values() if self._gpus(node, spec, empty=True) is not None)

    def _gpus(self, node: MarketNode, spec: JobSpec, *, empty: bool = False) -> tuple[int, ...] | None:
        works = node.standing in (Standing.READY, Standing.DEGRADED)
        if not works or not node.online or node.draining or (spec.region or node.region) != node.region:
            return None
        has = node.capacity
        all_of_it = Room(list(has.gpu_milli), has.cpu_milli, has.memory_bytes, has.disk_bytes)
        wanted, left = spec.resources, all_of_it if empty else room_on(self.book, node)
        room = (left.cpu_milli, left.memory_bytes, left.disk_bytes)
        if any(a < b for a, b in zip(room, (wanted.cpu_milli, wanted.memory_bytes, wanted.disk_bytes), strict=True)):
            return None
        count, each = (1, wanted.gpu_milli) if wanted.gpu_milli else (wanted.gpus, 1000)
        free = [gpu for gpu, milli in enumerate(left.gpu_milli) if milli >= each]
        return tuple(free[:count]) if len(free) >= count else None


def summary(**changes: Any) -> ReportSummary:
    """A report of a healthy node."""
    fields: dict[str, Any] = {
        "report_id": "r1",
        "machine": "m1",
        "boot_id": "boot-1",
        "device_kind": "cpu",
        "model": "a CPU",
        "vram_bytes": 0,
        "capacity": CAPACITY,
        "verdict": "qualified",
        "measured_ms": 0,
    }
    return ReportSummary(**{**fields, **changes})


def warning(text: str) -> Remark:
    """A finding that degrades."""
    return Remark(code="W", severity="warning", text=text, remedy="")


@dataclass
class Seen:
    """What was committed: the rows as the store would hold them."""

    jobs: dict[int, Job]
    attempts: dict[int, Attempt]
    results: list[Result]
    events: list[Event]


class Floor:
    """Drives a Control as the writer does: a command, dispatch, commit."""

    def __init__(self, *, nodes: int = 1, settings: ControlSettings | None = None) -> None:
        self.clock = FakeClock()
        self.book = Book()
        self.placer = FirstFit(self.book)
        self.random = 0.5
        self.settings = settings or ControlSettings()
        self.control = Control(self.book, self.placer, random=lambda: self.random, settings=self.settings)
        self.seen = Seen({}, {}, [], [])
        self.renter = self.control.create_account("ann", "renter", "a" * 64, self.now).id
        self.supplier = self.control.create_account("sam", "supplier", "b" * 64, self.now).id
        self.nodes = [self.add_node() for _ in range(nodes)]

    @property
    def now(self) -> Now:
        return self.clock.now()

    def commit(self) -> None:
        """What the writer does after a command."""
        self.control.dispatch(self.now)
        for change in self.book.pending:
            match change.after:
                case Job():
                    self.seen.jobs[change.after.id] = change.after
                case Attempt():
                    self.seen.attempts[change.after.token] = change.after
                case Result():
                    self.seen.results.append(change.after)
                case Event():
                    self.seen.events.append(change.after)
        self.book.committed()

    def restart(self) -> None:
        """The server begins anew, from what was committed."""
        old = self.book
        rows: list[Row] = [*old.nodes.values(), *old.accounts.values(), *old.jobs.values(), *old.attempts.values()]
        self.book = Book()
        self.book.load(rows, old.counters)
        self.placer = FirstFit(self.book)
        self.control = Control(self.book, self.placer, random=lambda: self.random, settings=self.settings)

    def add_node(self, **terms: Any) -> int:
        """A node that is measured, registered and online."""
        node = self.enrol(**terms)
        self.control.accept_report(node, summary(report_id=f"r-{node}"), self.now)
        self.control.register(node, 0, "boot-1", self.now)
        self.sync(node)
        return node

    def enrol(self, **terms: Any) -> int:
        """A node that only its key is known of."""
        number = len(self.book.nodes) + 1
        fields: dict[str, Any] = {
            "name": f"n{number}",
            "public_key": f"{number:064x}",
            "price_uh": 1000,
            "region": "eu",
            "executors": ("process",),
            "shares_gpus": True,
        }
        return self.control.enrol(self.supplier, **{**fields, **terms}, now=self.now).id

    def sync(self, node: int, *held: Held, epoch: int | None = None, **changes: Any) -> SyncAnswer:
        """One call of the node's agent."""
        row = self.book.nodes[node]
        request = SyncRequest(**{"boot_id": row.boot_id, "held": held, **changes})
        answer = self.control.sync(node, row.epoch if epoch is None else epoch, request, self.now)
        self.commit()
        return answer

    def submit(self, name: str = "j", *, key: str | None = None, **fields: Any) -> Job:
        """A job of one CPU."""
        spec = JobSpec(**{"name": name, "command": ("true",), "resources": Resources(), **fields})
        number = self.book.counters.job
        job = self.control.submit(self.renter, spec, key or f"k{number}", self.now)
        self.commit()
        return self.seen.jobs[job.id]

    def running(self, node: int | None = None, **fields: Any) -> Job:
        """A job that its node says is running."""
        job = self.submit(**fields)
        self.says(job, "running")
        return self.job(job)

    def says(self, job: Job, state: LocalState, exit_code: int | None = None, **more: Any) -> SyncAnswer:
        """The node that has the job's attempt tells of it, and of all else it has as running."""
        attempt = self.attempt(job)
        others = self.book.tokens_of_node.get(attempt.node, set()) - {attempt.token}
        held = [Held(token=token, state="running") for token in sorted(others)]
        return self.sync(attempt.node, Held(token=attempt.token, state=state, exit_code=exit_code, **more), *held)

    def job(self, job: Job) -> Job:
        """The job as committed last."""
        return self.seen.jobs[job.id]

    def attempt(self, job: Job) -> Attempt:
        """The job's newest attempt as committed last."""
        token = self.seen.jobs[job.id].token
        assert token is not None
        return self.seen.attempts[token]

    def node(self, node: int) -> MarketNode:
        """The node as it is."""
        return self.book.nodes[node]

    def tick(self, forward_ms: int = 0, *, step_ms: int = 1000) -> None:
        """Let time pass as a server sees it: a tick every second at least."""
        while forward_ms > 0:
            step = min(step_ms, forward_ms)
            self.clock.forward(step)
            forward_ms -= step
            self.control.tick(self.now)
            self.commit()
        self.control.tick(self.now)
        self.commit()

    def kinds(self, job: Job | None = None) -> list[str]:
        """Kinds of the events so far, in order; of one job only."""
        return [event.kind for event in self.seen.events if job is None or event.job == job.id]


def artifact(path: str = "out.txt") -> Artifact:
    """A file of one byte."""
    return Artifact(path=path, sha256="c" * 64, size_bytes=1)
