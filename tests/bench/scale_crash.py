"""The part of the scale benchmark in which the server is killed, and who asks is timed until it is answered again."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvloop

from tests.bench.scale_http import JOB, RENTERS, Served, going, served
from tests.bench.scale_place import percentile
from tests.bench.scale_table import Found, Options, synced_writes
from tests.bench.scale_wire import Counts, Json
from tests.chaos.fleet import ROOT

REACH_READS_S, REACH_PLACEMENTS_S = 3.0, 5.0
#: reads are timed for so long after the first: the agents come back meanwhile
COMING_BACK_S = 10.0


def crash(options: Options) -> Found:
    """The server is killed while every agent runs jobs, and started again."""
    with served(options.agents) as server:
        return uvloop.run(_crash(options, server))


async def _crash(options: Options, server: Served) -> Found:
    counts = Counts()
    agents = server.agents(options.agents, counts, lasting=True)
    async with going(*(agent.live(lambda: False) for agent in agents)) as tasks:
        full = await _filled(options, server, counts)
        running = {token for agent in agents for token in agent.held}
        asker = Asker(server.told["url"], server.told["tokens"]["renter"])
        await asyncio.sleep(1.0)  # it is there
        started, killed_s = counts.started, time.perf_counter()
        server.stop(signal.SIGKILL)
        server.launch()
        asker.begin()
        await asyncio.to_thread(server.listen)
        await _until(lambda: counts.started > started, options.most_s)
        begun_s = counts.started_s[started] - killed_s
        await asyncio.sleep(max(options.seconds, 20.0))  # longer than any lease: what is lost is lost by now
        lost = running - {token for agent in agents for token in agent.held}
        assert not any(task.done() for task in tasks)
        answered = await asyncio.to_thread(asker.found)
    reads_s, placed_s = answered["read_s"] - killed_s, answered["placed_s"] - killed_s
    waits_s = sorted(answered["waits_s"])
    kept = int(server.told["live"])
    figures = {
        "agents": options.agents,
        "attempts": len(running),
        "committed_before": full,
        "live_after": kept,
        "opened_s": server.told["opened_s"],
        "listened_s": server.told["ready_s"] - killed_s,
        "reads_s": reads_s,
        "placements_s": placed_s,
        "reads_after_p50_s": percentile(waits_s, 0.5),
        "reads_after_p99_s": percentile(waits_s, 0.99),
        "reads_after_worst_s": waits_s[-1],
        "started_s": begun_s,
        "restarted": len(counts.restarted),
        "lost": len(lost),
        "synced_writes_per_s": synced_writes(),
    }
    found = Found(figures)
    whole = options.agents >= Options().agents and options.attempts >= Options().attempts
    good = not (counts.restarted or lost) and kept >= full
    fast = reads_s <= REACH_READS_S and placed_s <= REACH_PLACEMENTS_S
    found.row(
        f"server kill -9, {options.agents:,} agents, {len(running):,} live attempts: reads, placements",
        f"<= {REACH_READS_S:g} s, <= {REACH_PLACEMENTS_S:g} s",
        f"{reads_s:.1f} s, {placed_s:.1f} s (reads in the {COMING_BACK_S:g} s after: p50 "
        f"{percentile(waits_s, 0.5):.2f} s, worst {waits_s[-1]:.2f} s)",
        reached=None if not whole and fast else fast,
        durable=True,
    )
    found.row(
        "of it: attempts lost, started twice, committed placements missing",
        "0, 0, 0",
        f"{len(lost)}, {len(counts.restarted)}, {max(0, full - kept)}",
        reached=good,
    )
    return found


@dataclass
class Asker:
    """Who asks a server that is away until it answers, in a process of its own: the agents' loop has its hands full."""

    url: str
    token: str

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "tests.bench.scale_asker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def begin(self) -> None:
        """Have it ask from now on."""
        assert self._process.stdin is not None
        told = {"url": self.url, "token": self.token, "job": JOB, "lasting_s": COMING_BACK_S}
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        self._process.stdin.flush()

    def found(self) -> Json:
        """When it was answered what."""
        found: Json = json.loads(self._process.communicate()[0])
        return found


async def _filled(options: Options, server: Served, counts: Counts) -> int:
    """Submit until so many attempts run; returns how many the server says are placed."""
    number = iter(range(options.attempts))

    async def rent() -> None:
        renter = server.renter()
        for n in number:
            await renter.submit(f"k{n}", JOB)

    await asyncio.gather(*(rent() for _ in range(RENTERS)))
    await _until(lambda: counts.started >= options.attempts, options.most_s)
    return counts.started


async def _until(holds: Callable[[], bool], most_s: float) -> None:
    end_s = time.perf_counter() + most_s
    while not holds():
        if time.perf_counter() > end_s:
            raise RuntimeError(f"agents were not started what was placed within {most_s:g} s")
        await asyncio.sleep(0.01)
