"""A market in this process, its database on the disk as the server has it: made-up nodes, jobs of one GPU, agents.

The agents are one loop: what the writer placed they report as ended in the next round, through the rules' own `sync`.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scheduler.book import Book, Row, Watcher
from scheduler.clock import Now
from scheduler.collector import collect_rarely
from scheduler.control import Control
from scheduler.lifecycle import Standing
from scheduler.placement.index import Index
from scheduler.placement.place import IndexPlacer
from scheduler.records import Attempt, JobSpec, MarketNode, Resources, Work
from scheduler.store.store import open_store
from scheduler.store.writer import Writer
from scheduler.wire import Held, SyncRequest
from tests.bench.market_query import GB, NOW_MS, nodes

AT_ONCE = 500
BOOT = "boot"
#: of the jobs, in turn: what renters ask for, by every policy there is
SHAPES: tuple[JobSpec, ...] = (
    JobSpec(name="cheap", command=("true",), image="x", resources=Resources(gpus=1), policy="cheapest"),
    JobSpec(
        name="bound",
        command=("true",),
        image="x",
        resources=Resources(gpus=1, cpu_milli=8_000, memory_bytes=64 * GB),
        where="p05(matmul.bf16) >= 500 TFLOP/s and network.rtt < 5 ms",
        work=Work(metric="matmul.bf16", amount=1e18),
    ),
    JobSpec(
        name="quick",
        command=("true",),
        image="x",
        resources=Resources(gpus=1, cpu_milli=4_000, memory_bytes=16 * GB),
        work=Work(metric="memory.triad", amount=1e15),
        policy="fastest",
    ),
    JobSpec(
        name="packed",
        command=("true",),
        image="x",
        resources=Resources(gpus=1, cpu_milli=2_000, memory_bytes=8 * GB),
        where="vram >= 40 GB",
        policy="pack",
    ),
)


class HeldClock:
    """Stands still unless it is pushed: nodes that nobody speaks for stay, and no lease lapses while a disk is slow."""

    def __init__(self) -> None:
        self._now = Now(mono_ms=1_000_000, unix_ms=NOW_MS)

    def now(self) -> Now:
        """The same moment."""
        return self._now


class RunningClock(HeldClock):
    """Once started runs as the machine's does, from a calendar on which the nodes' reports are fresh."""

    def __init__(self) -> None:
        super().__init__()
        self._begun_ms: int | None = None

    def start(self) -> None:
        """From now on; before, no lease ends however long the nodes take to be made up."""
        self._begun_ms = self._machine_ms()

    def now(self) -> Now:
        """This moment."""
        passed_ms = 0 if self._begun_ms is None else self._machine_ms() - self._begun_ms
        return Now(mono_ms=1_000_000 + passed_ms, unix_ms=NOW_MS + passed_ms)

    @staticmethod
    def _machine_ms() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Sink:
    """A watcher that notes which attempts began, by node; who takes them may do so in another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.placed: dict[int, list[int]] = {}
        self.count = 0

    def changed(self, before: Row | None, after: Row | None) -> None:
        """A row was added, replaced, or its addition undone."""
        if not isinstance(after, Attempt) or before is not None:
            return
        with self._lock:
            self.placed.setdefault(after.node, []).append(after.token)
            self.count += 1

    def take(self, most: int) -> Iterator[tuple[int, list[int]]]:
        """Nodes and what they were given, those first that were given something longest ago."""
        with self._lock:
            taken = [(node, self.placed.pop(node)) for node in [*itertools.islice(self.placed, most)]]
            self.count -= sum(len(tokens) for _, tokens in taken)
        yield from taken


class Gated(Control):
    """The real rules; while the gate is shut nothing is placed and the line grows."""

    shut = False

    def dispatch(self, now: Now, limit: int = AT_ONCE) -> int:
        """Place, unless the gate is shut."""
        return 0 if self.shut else super().dispatch(now, limit)


@dataclass
class Hall:
    """The market and the hands that drive it, one round at a time."""

    book: Book
    writer: Writer[Control]
    sink: Sink
    renter: int
    control: Gated | None = None  #: None = of a server, which places as it does
    submitted: int = 0
    written_s: float = 0.0  #: in commits
    rounds: int = 0
    asked: list[Future[Any]] = field(default_factory=list)

    def ask(self, command: Callable[[Control, Now], object]) -> None:
        """Have a command run by one of the next rounds; that it was refused ends the measurement."""
        self.asked.append(self.writer.do(command))

    @contextmanager
    def nothing_placed(self) -> Iterator[None]:
        """Inside, the line grows."""
        assert self.control is not None
        self.control.shut = True
        yield
        self.control.shut = False

    def step(self) -> None:
        """One round of the writer: what waits, placing, one commit."""
        self.rounds += 1
        self.writer.step()
        if self.writer.problem is not None:
            raise RuntimeError(self.writer.problem)
        done = [one for one in self.asked if one.done()]
        for one in done:
            one.result()
        self.asked = [one for one in self.asked if not one.done()] if len(done) < len(self.asked) else []

    def submit(self, count: int, shapes: Sequence[JobSpec] = SHAPES) -> None:
        """Have so many jobs submitted by the rounds that follow."""
        for _ in range(count):
            self.submitted += 1
            spec, key = shapes[self.submitted % len(shapes)], str(self.submitted)
            self.ask(self._submitting(spec, key))

    def _submitting(self, spec: JobSpec, key: str) -> Callable[[Control, Now], object]:
        return lambda control, now: control.submit(self.renter, spec, key, now)

    def end(self, most: int) -> int:
        """Have so many nodes at most tell that what they were given has ended well; how many jobs that were."""
        told = 0
        for node, tokens in self.sink.take(most):
            told += len(tokens)
            held = tuple(Held(token=token, state="exited", exit_code=0) for token in tokens)
            self.ask(self._syncing(node, SyncRequest(boot_id=BOOT, held=held)))
        return told

    def _syncing(self, node: int, request: SyncRequest) -> Callable[[Control, Now], object]:
        return lambda control, now: control.sync(node, 1, request, now)

    def settle(self) -> None:
        """Rounds until nothing waits; what waits for room is none."""
        while self.book.jobs:
            if not self.end(AT_ONCE):
                self.nudge()
            self.step()

    def nudge(self) -> None:
        """A command that changes something, so that the round places."""
        self.submit(1)


def made(count: int, supplier: int, *, key: Callable[[int], str] = lambda node: f"{node:064x}") -> Iterator[MarketNode]:
    """Nodes that are online, registered and measured; three in a hundred take no work."""
    for row in nodes(count, random.Random(1)):
        yield replace(row, supplier=supplier, public_key=key(row.id), epoch=1, boot_id=BOOT, online=True)


@contextmanager
def hall(
    folder: Path,
    count: int,
    *,
    clock: HeldClock | None = None,
    on_commit: Callable[[Any], None] = lambda _: None,
    more: Sequence[Watcher] = (),
) -> Iterator[Hall]:
    """A market of `count` nodes; without threads: each `step` is one round of the writer.

    Args:
        more: watchers of the book.
    """
    store = open_store(folder / "gridmark.db")
    index, sink = Index(), Sink()
    book = Book(watchers=(index, sink, *more))
    loaded = store.load()
    book.load(loaded.rows, loaded.counters)
    control = Gated(book, IndexPlacer(index), random=random.Random(1).random)

    def written(seconds: float) -> None:
        found.written_s += seconds

    writer: Writer[Control] = Writer(control, store, clock or HeldClock(), on_commit=on_commit, on_written=written)
    found = Hall(book=book, writer=writer, sink=sink, renter=0, control=control)
    try:
        renter = writer.do(lambda c, now: c.create_account("ann", "renter", "a" * 64, now))
        supplier = writer.do(lambda c, now: c.create_account("sam", "supplier", "b" * 64, now))
        found.step()
        found.renter = renter.result().id
        for command in add(list(made(count, supplier.result().id))):
            found.ask(command)
            found.step()
        collect_rarely()  # as the server does
        yield found
    finally:
        writer.close()
        store.close()


def add(rows: list[MarketNode]) -> Iterator[Callable[[Control, Now], None]]:
    """Commands that bring the nodes in, some at a time."""
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]

        def command(control: Control, now: Now, some: list[MarketNode] = some) -> None:
            for row in some:
                control.book.add(row)

        yield command


def takes_work(row: MarketNode) -> bool:
    """Whether jobs are placed on it."""
    return row.online and row.standing in (Standing.READY, Standing.DEGRADED)
