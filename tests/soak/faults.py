"""What strikes a market of real processes, one fault at a time, and what ends each."""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.fleet import Fleet, Node, supervisors

Repair = Callable[[], None]
SHORT_S, LONG_S = (0.5, 8.0), (4.0, 40.0)
CLOCK_OFF_S = 3_600
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_TRACE = re.compile(rb"/trace-(\d+)")


@dataclass
class Field:
    """The fleet, who of it is struck just now, and what ends that when."""

    fleet: Fleet
    draw: random.Random
    namespaces: Mapping[str, tuple[str, str, Callable[[bool], None]]]  #: node's name -> its namespace, device, link
    disk: Path | None = None  #: a small file system that the server's data is on
    struck: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    off_s: int = 0  #: of the server's calendar
    killed_jobs: set[int] = field(default_factory=set)
    _repairs: list[tuple[float, int, str, Repair]] = field(default_factory=list)  #: heap
    _number: int = 0

    def strike(self) -> None:
        """Something happens to somebody whom nothing else has happened to."""
        kind = self.draw.choices([*FAULTS], [weight for weight, _ in FAULTS.values()])[0]
        if FAULTS[kind][1](self):
            self.counts[kind] += 1

    def mend(self, *, all_: bool = False) -> None:
        """End what is due to end."""
        while self._repairs and (all_ or self._repairs[0][0] <= time.monotonic()):
            _, _, whom, repair = heapq.heappop(self._repairs)
            repair()
            self.struck.discard(whom)

    def lasts(self, whom: str, span_s: tuple[float, float], repair: Repair) -> None:
        """`whom` is struck from now on, and mended after a time within the span."""
        self._number += 1
        self.struck.add(whom)
        heapq.heappush(self._repairs, (time.monotonic() + self.draw.uniform(*span_s), self._number, whom, repair))

    def node(self, *, linked: bool = False) -> Node | None:
        """One that is well: its agent, or its link."""
        name_of = self.of_link if linked else self.of_agent
        well = [node for node in self.fleet.nodes if name_of(node) not in self.struck]
        return self.draw.choice(well) if well else None

    @staticmethod
    def of_agent(node: Node) -> str:
        """Under which name the node's agent is struck."""
        return node.name

    @staticmethod
    def of_link(node: Node) -> str:
        """Under which name the node's link is struck."""
        return f"link of {node.name}"


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def kill_job(where: Field) -> bool:
    """A program is killed; each job's once, for one that dies everywhere is rightly given up."""
    node = where.node()
    for supervisor in supervisors(node) if node else ():
        with contextlib.suppress(OSError, ValueError):
            child = int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])
            found = _TRACE.search(Path(f"/proc/{child}/cmdline").read_bytes())
            if found and int(found[1]) not in where.killed_jobs:
                where.killed_jobs.add(int(found[1]))
                os.kill(child, signal.SIGKILL)
                return True
    return False


def kill_supervisor(where: Field) -> bool:
    """And its job with it."""
    node = where.node()
    running = supervisors(node) if node else []
    if not running:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(where.draw.choice(running), signal.SIGKILL)
    return True


def kill_agent(where: Field) -> bool:
    """Its jobs go on without it, for as long as their lease lasts."""
    node = where.node()
    if node is None:
        return False
    node.kill()
    where.lasts(node.name, where.draw.choice((SHORT_S, LONG_S)), lambda: where.fleet.start_agent(node))
    return True


def shift_agents_clock(where: Field) -> bool:
    """The agent begins anew by a calendar that is an hour off; later once more, by the right one."""
    node = where.node()
    if node is None or not FAKETIME.exists():
        return False
    offset_s = where.draw.choice((-CLOCK_OFF_S, CLOCK_OFF_S))
    node.kill()
    where.fleet.start_agent(node, calendar(offset_s))

    def right() -> None:
        node.kill()
        where.fleet.start_agent(node)

    where.lasts(node.name, LONG_S, right)
    return True


def calendar(offset_s: int) -> dict[str, str]:
    """The environment of a process whose calendar is off; what leases are counted by is the kernel's all the same."""
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{offset_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def stop_agent(where: Field) -> bool:
    """It stands still and knows nothing of it."""
    node = where.node()
    if node is None:
        return False
    node.signal(signal.SIGSTOP)
    where.lasts(node.name, LONG_S, lambda: node.signal(signal.SIGCONT))
    return True


def cut_link(where: Field) -> bool:
    """Nothing comes through."""
    node = where.node(linked=True)
    if node is None:
        return False
    name, _, link = where.namespaces[node.name]
    link(False)

    def mend() -> None:
        link(True)
        with contextlib.suppress(subprocess.CalledProcessError):  # it is there already, or comes with the link
            _run("ip", "-n", name, "route", "add", "default", "via", gateway(where, node))

    where.lasts(where.of_link(node), where.draw.choice((SHORT_S, LONG_S)), mend)
    return True


def gateway(where: Field, node: Node) -> str:
    """Our address on the node's link."""
    number = where.namespaces[node.name][1].removeprefix("gm").removesuffix("b")
    return f"10.213.{number}.1"


def _filtered(where: Field, *rule: str) -> bool:
    node = where.node(linked=True)
    if node is None or shutil.which("iptables") is None:
        return False
    inside = ("ip", "netns", "exec", where.namespaces[node.name][0], "iptables")
    _run(*inside, "-A", *rule, "-j", "DROP")
    where.lasts(where.of_link(node), where.draw.choice((SHORT_S, LONG_S)), lambda: _run(*inside, "-F"))
    return True


def lose_packets(where: Field) -> bool:
    """Four in ten that come in."""
    return _filtered(where, "INPUT", "-m", "statistic", "--mode", "random", "--probability", "0.4")


def deafen(where: Field) -> bool:
    """What the agent says arrives, what it is answered does not."""
    return _filtered(where, "INPUT")


def mute(where: Field) -> bool:
    """The other way round."""
    return _filtered(where, "OUTPUT")


def slow_link(where: Field) -> bool:
    """To the speed of a modem."""
    node = where.node(linked=True)
    if node is None or shutil.which("tc") is None:
        return False
    name, device, _ = where.namespaces[node.name]
    inside = ("ip", "netns", "exec", name, "tc", "qdisc")
    _run(*inside, "add", "dev", device, "root", "tbf", "rate", "24kbit", "burst", "4kb", "latency", "800ms")
    where.lasts(where.of_link(node), LONG_S, lambda: _run(*inside, "del", "dev", device, "root"))
    return True


def kill_server(where: Field) -> bool:
    """Gone for a while, at times longer than any lease; at times it comes back by another calendar."""
    if "server" in where.struck:
        return False
    where.fleet.kill_server()
    off_s = where.draw.choice((0, 0, -CLOCK_OFF_S, CLOCK_OFF_S)) if FAKETIME.exists() else 0

    def again() -> None:
        where.fleet.start_server(calendar(off_s) if off_s else {})
        where.off_s = off_s

    where.lasts("server", where.draw.choice((SHORT_S, SHORT_S, LONG_S)), again)
    return True


def stop_server(where: Field) -> bool:
    """It stands still while its clock goes on."""
    if "server" in where.struck:
        return False
    server = where.fleet.server
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    where.lasts("server", where.draw.choice((SHORT_S, (10.0, 25.0))), lambda: server.send_signal(signal.SIGCONT))
    return True


def fill_disk(where: Field) -> bool:
    """Nothing more can be written down."""
    if where.disk is None or "server" in where.struck or "disk" in where.struck:
        return False
    filler = where.disk / "filler"
    free = os.statvfs(where.disk)
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    where.lasts("disk", (1.0, 12.0), filler.unlink)
    return True


#: how often each, against the others
FAULTS: Mapping[str, tuple[int, Callable[[Field], bool]]] = {
    "job killed": (8, kill_job),
    "supervisor killed": (14, kill_supervisor),
    "agent killed": (14, kill_agent),
    "agent stopped": (12, stop_agent),
    "agent's calendar shifted": (6, shift_agents_clock),
    "link cut": (14, cut_link),
    "packets lost": (6, lose_packets),
    "answers lost": (6, deafen),
    "requests lost": (6, mute),
    "link slowed": (6, slow_link),
    "server killed": (8, kill_server),
    "server stopped": (5, stop_server),
    "disk full": (4, fill_disk),
}
