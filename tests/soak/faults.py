"""What strikes a market of real processes, one fault at a time: each kind of process, their clocks and their disks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.chaos.fleet import Node, supervisors
from tests.soak import links
from tests.soak.field import LONG_S, SHORT_S, Field

CLOCK_OFF_S = 3_600
SOON_S = (1.0, 2.0)
#: how long a server that is asked to end may take
LEAVE_S = 30.0
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_TRACE = re.compile(rb"/trace-(\d+)")


def strike(where: Field) -> None:
    """Something happens to somebody whom nothing else has happened to."""
    kind = where.draw.choices([*FAULTS], [weight for weight, _ in FAULTS.values()])[0]
    if FAULTS[kind][1](where):
        where.counts[kind] += 1


def programs(node: Node) -> Iterator[tuple[int, int]]:
    """Jobs' first processes on a node: their number as it stands in the trace's name, and the process."""
    for supervisor in supervisors(node):
        with contextlib.suppress(OSError, ValueError):
            for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
                if found := _TRACE.search(Path(f"/proc/{child}/cmdline").read_bytes()):
                    yield int(found[1]), int(child)


def kill_job(where: Field) -> bool:
    """A program is killed; each job's once, for one that dies everywhere is rightly given up."""
    node = where.node(busy=True)
    for number, pid in programs(node) if node else ():
        if number not in where.killed_jobs:
            where.killed_jobs.add(number)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return True
    return False


def stop_job(where: Field) -> bool:
    """A program stands still, whether its lease lets it run or not."""
    node = where.node(busy=True)
    running = [(number, pid) for number, pid in programs(node) if f"job {number}" not in where.struck] if node else []
    if node is None or not running:
        return False
    number, pid = where.draw.choice(running)
    os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        if (number, pid) in programs(node):  # the number may be another process's by now
            os.kill(pid, signal.SIGCONT)

    where.lasts(f"job {number}", where.draw.choice((SHORT_S, LONG_S)), go_on)
    return True


def kill_supervisor(where: Field) -> bool:
    """And its job with it."""
    node = where.node(busy=True)
    running = supervisors(node) if node else []
    if not running:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(where.draw.choice(running), signal.SIGKILL)
    return True


def stop_supervisor(where: Field) -> bool:
    """It stands still, and its agent with all else goes on: one of the two has to hold the job to its lease."""
    node = where.node(busy=True)
    running = supervisors(node) if node else []
    if node is None or not running:
        return False
    pid = where.draw.choice(running)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        if pid in supervisors(node):  # the number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    where.lasts(node.name, LONG_S, go_on)
    return True


def kill_agent(where: Field) -> bool:
    """Its jobs go on without it, for as long as their lease lasts."""
    node = where.node()
    if node is None:
        return False
    node.kill()
    where.lasts(node.name, where.draw.choice((SHORT_S, LONG_S)), lambda: where.fleet.start_agent(node))
    return True


def kill_node(where: Field) -> bool:
    """Its agent and every supervisor at once, as when its memory runs out."""
    node = where.node()
    if node is None:
        return False
    node.kill()
    for pid in supervisors(node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
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


def kill_server(where: Field) -> bool:
    """Gone for a while, at times longer than any lease."""
    return _server_away(where, where.draw.choice((SHORT_S, SHORT_S, LONG_S)), off_s=0)


def shift_servers_clock(where: Field) -> bool:
    """It is killed and comes back by a calendar that is an hour off, until it begins anew for another reason."""
    return FAKETIME.exists() and _server_away(where, SHORT_S, off_s=where.draw.choice((-CLOCK_OFF_S, CLOCK_OFF_S)))


def _server_away(where: Field, span_s: tuple[float, float], *, off_s: int) -> bool:
    if "server" in where.struck:
        return False
    where.fleet.kill_server()

    def again() -> None:
        if "disk" in where.struck:  # without room it cannot begin: whoever watches over it tries again
            where.lasts("server", SOON_S, again)
            return
        where.fleet.start_server(calendar(off_s) if off_s else {})
        where.off_s = off_s

    where.lasts("server", span_s, again)
    return True


def restart_server(where: Field) -> bool:
    """It is asked to end, as for a new version, and begins anew at once."""
    server = where.fleet.server
    if {"server", "disk"} & where.struck or server is None:
        return False
    server.terminate()
    server.wait(LEAVE_S)
    where.fleet.start_server()
    where.off_s = 0
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
    """Of the server: nothing more can be written down."""
    return "server" not in where.struck and where.disk is not None and _fill(where, where.disk, "disk")


def fill_nodes_disk(where: Field) -> bool:
    """What is placed there cannot be prepared, what runs there cannot say so in a file."""
    node = where.node()
    if node is None or node.name not in where.disks:
        return False
    return _fill(where, where.disks[node.name], f"disk of {node.name}")


def _fill(where: Field, disk: Path, whose: str) -> bool:
    if whose in where.struck:
        return False
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    where.lasts(whose, (1.0, 12.0), filler.unlink)
    return True


#: how often each, against the others
FAULTS: Mapping[str, tuple[int, Callable[[Field], bool]]] = {
    "job killed": (8, kill_job),
    "job stopped": (5, stop_job),
    "supervisor killed": (12, kill_supervisor),
    "supervisor stopped": (6, stop_supervisor),
    "agent killed": (12, kill_agent),
    "agent stopped": (11, stop_agent),
    "agent's calendar shifted": (6, shift_agents_clock),
    "node killed": (6, kill_node),
    "node's disk full": (4, fill_nodes_disk),
    "link cut": (12, links.cut),
    "link slowed": (6, links.slow),
    "packets lost": (6, links.lose_packets),
    "answers lost": (6, links.deafen),
    "requests lost": (6, links.mute),
    "server killed": (5, kill_server),
    "server stopped": (5, stop_server),
    "server restarted": (3, restart_server),
    "server's calendar shifted": (3, shift_servers_clock),
    "disk full": (4, fill_disk),
}
