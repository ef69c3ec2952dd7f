"""Real agents in namespaces of their own, jobs and faults; what the jobs wrote decides what came of it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.node import remote
from scheduler.node.remote import StaleEpochError
from server import client
from server.client import ProblemError
from tests.chaos import check
from tests.chaos.fleet import Fleet, Node, can_have_namespaces, namespace, wait
from tests.soak.faults import FAULTS, strike
from tests.soak.field import Field

FIRST_NAMESPACE = 100
#: of the server; of a node, which keeps 256 MiB free of whatever jobs want
DISK_MIB, NODE_DISK_MIB = 256, 384
#: lines of an agent that ended by itself
LAST_WORDS = 3
LOOK_S = 0.2
ASK_S = 2.0
TICKS, TICK_S = 50, 0.5
RETRIES = 100
#: jobs that wait or run, for each agent
UNENDED_EACH = 5
ENDED = frozenset({"done", "failed", "cancelled", "expired"})
WORKS = frozenset({"ready", "degraded", "offline", "draining"})
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything a slice has."""

    agents: int = 4
    jobs: int = 40
    faults: int = 40
    pause_s: float = 1.2  #: between two faults, on average


@dataclass
class Storm:
    """One slice, from the first agent to the verdict."""

    size: Size
    fleet: Fleet
    where: Field
    jobs: dict[int, int] = field(default_factory=dict)  #: number -> id
    states: dict[int, str] = field(default_factory=dict)  #: by id
    healed: int = 0
    restarted: int = 0  #: agents that ended by themselves
    _asked_s: float = 0.0

    def blow(self) -> None:
        """Submit, strike and mend, until all has happened; then let everything come to its end."""
        next_fault_s = time.monotonic() + 5.0
        while len(self.jobs) < self.size.jobs or self.struck < self.size.faults:
            self.turn()
            if self.struck < self.size.faults and time.monotonic() >= next_fault_s:
                next_fault_s = time.monotonic() + self.where.draw.uniform(0, 2 * self.size.pause_s)
                strike(self.where)
        self.where.mend(all_=True)
        if self.where.off_s:
            self.fleet.kill_server()
            self.fleet.start_server()
            self.where.off_s = 0
        end_s = time.monotonic() + PATIENCE_S
        while self.unended and time.monotonic() < end_s:
            self.turn()

    @property
    def struck(self) -> int:
        """Faults so far."""
        return self.where.counts.total()

    @property
    def due(self) -> int:
        """Jobs that may be there by now: spread over the faults, so that there is work for each to strike."""
        size = self.size
        passed = self.struck / size.faults if size.faults else 1.0
        return min(size.jobs, int(passed * size.jobs) + UNENDED_EACH * size.agents)

    @property
    def unended(self) -> int:
        """Jobs that may still run, as far as is known."""
        return sum(self.states.get(job) not in ENDED for job in self.jobs.values())

    def turn(self) -> None:
        """What is done all the time, whatever else happens."""
        wait(LOOK_S)
        self.where.mend()
        for node in self.fleet.nodes:
            if node.name not in self.where.struck and node.process is not None and node.process.poll() is not None:
                self.restarted += 1
                words = (self.fleet.folder / f"{node.name}.log").read_text(errors="replace").splitlines()[-LAST_WORDS:]
                told = [f"{node.name} ended by itself ({node.process.poll()})", *words]
                sys.stderr.write("\n  ".join(told) + "\n")
                self.fleet.start_agent(node)
        if "server" in self.where.struck:
            return
        with away_is_no_news():
            if len(self.jobs) < self.due and self.unended < UNENDED_EACH * self.size.agents:
                self._submit()
            if time.monotonic() - self._asked_s >= ASK_S:
                self._asked_s = time.monotonic()
                self._look()

    def _submit(self) -> None:
        number = len(self.jobs)
        self.jobs[number] = self.fleet.submit(number, ticks=TICKS, tick_s=TICK_S, retries=RETRIES)

    def _look(self) -> None:
        for job in self.jobs.values():
            if self.states.get(job) not in ENDED:
                self.states[job] = self.fleet.job(job)["state"]
        for node in self.fleet.nodes:
            state = self.fleet.operator.get(f"/v1/nodes/{node.id}")["state"]
            # a server whose calendar is off rightly refuses a report of today, and a full disk takes none
            struck = {node.name, f"disk of {node.name}"} & self.where.struck
            if state not in WORKS and not struck and not self.where.off_s:
                self._heal(node)

    def _heal(self, node: Node) -> None:
        """A node that lost three jobs takes no work until it is measured anew; here it is given the sample again."""
        node.kill()
        try:
            self.fleet.measure(node)
        finally:
            self.fleet.start_agent(node)
        self.healed += 1

    def judged(self) -> tuple[dict[str, int], list[str]]:
        """Counts, and what went wrong, by the jobs' own files."""
        states = {job: self.fleet.job(job) for job in self.jobs.values()}
        traces = {job: check.read(self.fleet.trace(number)) for number, job in self.jobs.items()}
        done = {job: told["result"]["token"] for job, told in states.items() if told["state"] == "done"}
        found = check.judge(traces, done, ticks=TICKS)
        numbers = {job: number for number, job in self.jobs.items()}
        faults = [
            f"{what}: job {job} (storm-{numbers[job]}): {states[job]['state']} {states[job]['reason']}, {traces[job]}"
            for what in ("lost", "doubled", "stale")
            for job in getattr(found, what)
        ]
        counts = {
            "jobs": len(self.jobs),
            "faults": self.struck,
            "attempts": sum(len(trace.tokens) for trace in traces.values()),
            "nodes measured anew": self.healed,
            "agents that ended by themselves": self.restarted,
            **{name: len(getattr(found, name)) for name in ("lost", "doubled", "stale")},
        }
        return counts | {kind: self.where.counts[kind] for kind in FAULTS}, faults


@contextlib.contextmanager
def away_is_no_news() -> Iterator[None]:
    """A server that cannot be reached, or says that it cannot write, is what a storm is about; a refusal is not."""
    try:
        yield
    except (client.UnreachableError, remote.UnreachableError, StaleEpochError):
        pass
    except ProblemError as error:
        if error.status < 500:
            raise


def search(first: int, size: Size) -> tuple[dict[str, int], list[str]]:
    """One storm; what was done, and what went wrong."""
    with (
        tempfile.TemporaryDirectory(prefix="gm-soak-", ignore_cleanup_errors=True) as name,
        landscape(Path(name), first, size) as storm,
    ):
        storm.blow()
        counts, faults = storm.judged()
        if faults:
            kept = Path(tempfile.mkdtemp(prefix=f"gm-soak-{first}-"))
            shutil.copytree(name, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("filler"))
            faults.append(f"everything that was written is kept in {kept}")
        return counts, [f"seed {first}: {fault}" for fault in faults]


@contextlib.contextmanager
def landscape(folder: Path, seed: int, size: Size) -> Iterator[Storm]:
    """A server on a small file system, and agents on such ones too, behind links of their own."""
    with contextlib.ExitStack() as opened:
        places, disks, host = {}, {}, ""
        for number in range(size.agents):
            name = f"gm-soak-{os.getpid()}-{number}"
            here, link = opened.enter_context(namespace(name, FIRST_NAMESPACE + number))
            places[f"node{number}"] = (name, f"gm{FIRST_NAMESPACE + number}b", link)
            disks[f"node{number}"] = opened.enter_context(small_disk(folder / f"node{number}", NODE_DISK_MIB))
            host = host or here
        disk = opened.enter_context(small_disk(folder / "server", DISK_MIB))
        fleet = opened.enter_context(Fleet(folder, host=host))
        for name, (inside, _, _) in places.items():
            fleet.join(name, prefix=(shutil.which("ip") or "ip", "netns", "exec", inside))
        yield Storm(size, fleet, Field(fleet, random.Random(seed), places, disk, disks))


@contextlib.contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system in memory, which can be filled without harm to anybody else."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def why_not() -> str | None:
    """What is missing here for real agents behind links of their own, in a sentence."""
    return None if can_have_namespaces() else "they need root and iproute2, for links that can be cut"
