"""The writer killed at every SQL statement, one death after the other on one database that grows under load.

A child opens the store, serves a seeded mix of commands and says, after each round, what it has answered. It dies as
its nth statement begins; n goes from 1 to the last one that a whole life has. Then the database is opened again and
everything that any life ever answered has to be there.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.book import Book, Row
from scheduler.control import Control, Refused
from scheduler.lifecycle import is_live
from scheduler.placement.index import Index
from scheduler.placement.place import IndexPlacer
from scheduler.records import Attempt, Capacity, JobSpec, Resources
from scheduler.store.check import check
from scheduler.store.reader import Reader
from scheduler.store.store import Store, open_store
from scheduler.store.writer import Writer
from scheduler.wire import Held, SyncRequest
from tests.scheduler.clocks import FakeClock
from tests.scheduler.market_floor import MIB, summary
from tests.scheduler.store.test_crash import CRASHED, Tracing, die_at, in_child

NAME = "gridmark.db"
NODES, ROUNDS, COMMANDS = 5, 16, 10
STRIDE = 8
FULL = Capacity(gpu_milli=(1000,) * 4, cpu_milli=64_000, memory_bytes=65_536 * MIB, disk_bytes=131_072 * MIB)
BOOT = "boot"
Command = Callable[[Control, Any], Any]


@dataclass
class Answered:
    """What all lives together have said is so."""

    jobs: dict[int, str] = field(default_factory=dict)  #: id -> key
    tokens: dict[int, tuple[int, int]] = field(default_factory=dict)  #: -> job and node
    ended: set[int] = field(default_factory=set)  #: tokens whose end was taken in

    def take(self, path: Path) -> list[str]:
        """Read what a life wrote, a last line cut short left out. Returns what contradicts what was said before."""
        faults = []
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            told = json.loads(line)
            for token, job, node in told["placed"]:
                if self.tokens.setdefault(token, (job, node)) != (job, node):
                    faults.append(f"token {token} was given twice: {self.tokens[token]} and {(job, node)}")
            for key, job in told["submitted"]:
                if self.jobs.setdefault(job, key) != key:
                    faults.append(f"job {job} was answered for the keys {self.jobs[job]} and {key}")
            self.ended.update(told["ended"])
        return faults

    def missing(self, path: Path) -> list[str]:
        """What of it the database does not hold."""
        reader = Reader(path)
        with closing(reader):
            faults = [f"job {job} was answered and is not there" for job in self.jobs if reader.job(job) is None]
            for token, (job, node) in self.tokens.items():
                row = reader.attempt(token)
                if row is None or (row.job, row.node) != (job, node):
                    faults.append(f"token {token} was placed on node {node} for job {job}, and the database has {row}")
                elif token in self.ended and is_live(row.state):
                    faults.append(f"token {token} has ended and is {row.state.name} in the database")
        return faults


class Life:
    """One process: opened, and driven round by round."""

    def __init__(self, store: Store, seed: int) -> None:
        self._draw = random.Random(seed)
        self._clock = FakeClock()
        self.placed: list[tuple[int, int, int]] = []
        loaded = store.load()
        index = Index()
        self.book = Book(watchers=(index,))
        self.book.load(loaded.rows, loaded.counters)
        control = Control(self.book, IndexPlacer(index), random=self._draw.random)
        self.book.watch(self)
        self.placed.clear()  # of lives before
        self.writer: Writer[Control] = Writer(control, store, self._clock, on_commit=lambda _: None)

    def changed(self, before: Row | None, after: Row | None) -> None:
        """As the book's watcher."""
        if before is None and isinstance(after, Attempt):
            self.placed.append((after.token, after.job, after.node))

    def furnish(self) -> None:
        """Accounts and nodes, where a life before has not got so far."""
        if not self.book.accounts:
            self.writer.do(lambda c, now: c.create_account("ann", "renter", "a" * 64, now))
            self.writer.do(lambda c, now: c.create_account("sam", "supplier", "b" * 64, now))
            self.writer.step()
        for number in range(len(self.book.nodes) + 1, NODES + 1):
            self.writer.do(_enrol(number))
        self.writer.step()
        for node in self.book.nodes.values():
            if not node.epoch:
                self.writer.do(_furnish(node.id))
        self.writer.step()

    def round(self, number: int) -> dict[str, Any]:
        """Some commands, one commit; what was answered."""
        asked: list[tuple[str, Any, Future[Any]]] = []
        for n in range(self._draw.randrange(1, COMMANDS)):
            what, about, command = self._command(f"{number}-{n}")
            asked.append((what, about, self.writer.do(command)))
        self._clock.forward(self._draw.choice((10, 250, 1_000)))
        self.writer.step()
        if self.writer.problem is not None:
            raise AssertionError(self.writer.problem)
        told: dict[str, Any] = {"submitted": [], "ended": [], "placed": self.placed[:]}
        self.placed.clear()
        for what, about, future in asked:
            try:
                answer = future.result()
            except Refused:
                continue
            if what == "submit":
                told["submitted"].append((about, answer.id))
            elif what == "end":
                told["ended"].append(about)
        return told

    def _command(self, name: str) -> tuple[str, Any, Command]:
        live = [*self.book.attempts.values()]
        kind = self._draw.choices(("submit", "end", "sync", "cancel"), (5, 4 if live else 0, 2, 1 if live else 0))[0]
        if kind == "submit":
            key = f"{name}-{self._draw.randrange(10**9)}"
            spec = JobSpec(name="j", command=("x",), resources=Resources(gpus=self._draw.choice((0, 1, 2))), retries=1)
            return kind, key, lambda control, now: control.submit(1, spec, key, now)
        if kind == "cancel":
            job = self._draw.choice(live).job
            return kind, job, lambda control, now: control.cancel(job, "account 1", now)
        chosen = self._draw.choice(live) if kind == "end" else None
        node = chosen.node if chosen else self._draw.randrange(1, NODES + 1)
        code = self._draw.choice((0, 0, 0, 1))
        held = tuple(
            Held(token=one.token, state="exited", exit_code=code)
            if one is chosen
            else Held(token=one.token, state="running")
            for one in live
            if one.node == node
        )
        request = SyncRequest(boot_id=BOOT, held=held)
        return kind, chosen and chosen.token, lambda control, now: control.sync(node, 1, request, now)


def _enrol(number: int) -> Command:
    return lambda control, now: control.enrol(
        2,
        name=f"n{number}",
        public_key=f"{number:064x}",
        price_uh=number,
        region="eu",
        executors=("process",),
        shares_gpus=True,
        now=now,
    )


def _furnish(node: int) -> Command:
    def command(control: Control, now: Any) -> None:
        report = summary(report_id=f"r{node}", machine=f"m{node}", boot_id=BOOT, capacity=FULL, measured_ms=now.unix_ms)
        control.accept_report(node, report, now)
        control.register(node, 0, BOOT, now)
        control.sync(node, 1, SyncRequest(boot_id=BOOT, held=()), now)

    return command


def live(path: Path, said: Path, *, seed: int, dies_at: int) -> int:
    """One life in a process of its own; CRASHED, or 0 when it came to its end."""

    def work() -> None:
        with said.open("wb", buffering=0) as file, Tracing(die_at(dies_at)):
            store = open_store(path)
            life = Life(store, seed)
            life.furnish()
            life.placed.clear()
            for number in range(ROUNDS):
                file.write(json.dumps(life.round(number)).encode() + b"\n")
            life.writer.close()
            store.close()

    return in_child(work)


def search(first: int, most: int = 10**6) -> tuple[dict[str, int], list[str]]:
    """Lives that each end STRIDE statements later, until one ends by itself; what was done, what was found wrong.

    The slices 0 to STRIDE - 1 together kill at every statement once, the next ones again with other commands.
    """
    counts = {"deaths": 0, "whole lives": 0, "answers": 0}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        path, said = Path(name) / NAME, Path(name) / "said"
        answered = Answered()
        for dies_at in range(1 + first % STRIDE, 1 + STRIDE * most, STRIDE):
            status = live(path, said, seed=first * 100_000 + dies_at, dies_at=dies_at)
            counts["deaths" if status == CRASHED else "whole lives"] += 1
            faults = answered.take(said)
            if status not in (0, CRASHED):
                faults.append(f"the writer failed by itself (status {status})")
            open_store(path).close()
            faults += check(path) + answered.missing(path)
            if faults:
                return counts, [f"seed {first}, statement {dies_at}: {fault}" for fault in faults[:20]]
            if status == 0:
                break
        counts["answers"] = len(answered.jobs) + len(answered.tokens) + len(answered.ended)
    return counts, []
