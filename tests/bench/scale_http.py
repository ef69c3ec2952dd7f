"""The parts of the scale benchmark that go through HTTP, to a server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import uvloop

from tests.bench.market import folder
from tests.bench.market_query import QUESTIONS
from tests.bench.scale_place import percentile
from tests.bench.scale_table import Found, Options, synced_writes
from tests.bench.scale_wire import Agent, Counts, Json, Line, Renter
from tests.chaos.fleet import ROOT

SMALL = {"cpus": 4, "memory": "16 MB", "disk": "16 MB"}
JOB: Json = {"name": "life", "command": ["true"], "image": "x", "resources": SMALL}
LIVES_NODES, RENTERS, UNENDED = 100, 8, 1500
QUERY_JOBS_PER_S = 1000
WARM_S = 3.0
EVERY_S = 10.0
REACH_LIVES_PER_S = 500
REACH_QUERY_S = {10_000: 0.005, 100_000: 0.015}
REACH_CORE, REACH_AGENT_BYTES = 0.25, 20_000
REACH_READS_S, REACH_PLACEMENTS_S = 3.0, 5.0


@dataclass
class Served:
    """A server in a process of its own."""

    data: Path
    nodes: int
    jobs_per_s: int = 0
    process: subprocess.Popen[bytes] | None = None
    told: Json = field(default_factory=dict)

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "tests.bench.scale_server", str(self.data), str(self.nodes)]
        command += [str(self.jobs_per_s)] if self.jobs_per_s else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self.process.stdout is not None
        self.told = json.loads(self.process.stdout.readline())

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.communicate()
            self.process = None

    @property
    def usage(self) -> psutil.Process:
        """What the system tells of it."""
        assert self.process is not None
        return psutil.Process(self.process.pid)

    def line(self) -> Line:
        """A connection."""
        host, _, port = self.told["url"].removeprefix("http://").partition(":")
        return Line(host, int(port))

    def renter(self) -> Renter:
        """A renter with a connection of its own."""
        return Renter(self.line(), self.told["tokens"]["renter"])

    def agents(self, count: int, counts: Counts, *, lasting: bool = False) -> list[Agent]:
        """Of the first `count` nodes."""
        boot = self.told["boot"]
        return [Agent(node, self.line(), counts, lasting=lasting, server_boot=boot) for node in range(1, count + 1)]


@contextmanager
def served(nodes: int, *, jobs_per_s: int = 0) -> Iterator[Served]:
    """A server with so many nodes, that leaves nothing behind."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with folder() as data:
        found = Served(data, nodes, jobs_per_s)
        try:
            found.start()
            yield found
        finally:
            found.stop(signal.SIGKILL)


@asynccontextmanager
async def going(*all_: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """They run while the block does; one that fails fails the block."""
    tasks = [asyncio.create_task(one) for one in all_]
    try:
        yield tasks
        for task in tasks:
            if task.done() and (error := task.exception()) is not None:
                raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def spent_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    return float(sum(process.cpu_times()[:2]))


def lives(options: Options) -> Found:
    """Jobs are submitted, started, told of as running and as ended, each by a request of its own or with others."""
    with served(LIVES_NODES) as server:
        return uvloop.run(_lives(options, server))


async def _lives(options: Options, server: Served) -> Found:
    counts, number, handed = Counts(), iter(range(10**9)), 0

    async def rent() -> None:
        nonlocal handed
        renter = server.renter()
        while True:
            if handed - counts.ended >= UNENDED:
                await asyncio.sleep(0.005)
                continue
            handed += 1
            await renter.submit(f"k{next(number)}", JOB)

    agents = server.agents(LIVES_NODES, counts)
    async with going(*(agent.live(lambda: False) for agent in agents), *(rent() for _ in range(RENTERS))):
        await asyncio.sleep(WARM_S)
        before, cpu_s, begun_s = counts.ended, spent_s(server.usage), time.perf_counter()
        syncs = counts.syncs
        await asyncio.sleep(options.seconds)
        lasted_s = time.perf_counter() - begun_s
        ended, cores = counts.ended - before, (spent_s(server.usage) - cpu_s) / lasted_s
        syncs = counts.syncs - syncs
    rate = ended / lasted_s
    figures = {
        "nodes": LIVES_NODES,
        "jobs": ended,
        "seconds": lasted_s,
        "jobs_per_s": rate,
        "syncs_per_job": syncs / max(1, ended),
        "server_cores": cores,
        "refused": counts.refused,
        "synced_writes_per_s": synced_writes(),
    }
    found = Found(figures)
    found.row(
        f"whole life cycles over HTTP, {LIVES_NODES} agents, {lasted_s:.0f} s",
        f">= {REACH_LIVES_PER_S} /s",
        f"{rate:,.0f} /s (server: {cores:.2f} cores, {syncs / max(1, ended):.1f} syncs a job)",
        reached=rate >= REACH_LIVES_PER_S,
        durable=True,
    )
    return found


def query(options: Options, nodes: int) -> Found:
    """Offers with six filters, the best fifty, on one connection, while a thousand jobs a second come and go."""
    with served(nodes, jobs_per_s=QUERY_JOBS_PER_S) as server:
        seconds, jobs_per_s = uvloop.run(_query(options, server))
    ordered, reach_s = sorted(seconds), REACH_QUERY_S[nodes]
    p50, p99 = percentile(ordered, 0.5), percentile(ordered, 0.99)
    figures = {
        "nodes": nodes,
        "queries": len(ordered),
        "p50_s": p50,
        "p99_s": p99,
        "p999_s": percentile(ordered, 0.999),
        "worst_s": ordered[-1],
        "jobs_per_s_meanwhile": jobs_per_s,
        "synced_writes_per_s": synced_writes(),
    }
    found = Found(figures)
    found.row(
        f"offer query over HTTP, six filters, top 50, {nodes:,} nodes, p99, placing {jobs_per_s:,.0f} jobs/s",
        f"<= {reach_s * 1e3:g} ms",
        f"{p99 * 1e3:.1f} ms (p50 {p50 * 1e3:.1f})",
        reached=p99 <= reach_s,
    )
    return found


async def _query(options: Options, server: Served) -> tuple[list[float], float]:
    renter = server.renter()
    await asyncio.sleep(WARM_S)
    first, begun_s = await _newest(renter), time.perf_counter()
    seconds: list[float] = []
    while time.perf_counter() - begun_s < options.seconds:
        words = {"q": QUESTIONS[len(seconds) % 3], "sort": "price / count", "limit": 50}
        asked_s = time.perf_counter()
        await renter.fetch(f"/v1/offers?{urllib.parse.urlencode(words)}")
        seconds.append(time.perf_counter() - asked_s)
    lasted_s = time.perf_counter() - begun_s
    return seconds, (await _newest(renter) - first) / lasted_s


async def _newest(renter: Renter) -> int:
    return int((await renter.get("/v1/jobs?limit=1"))["items"][0]["id"])


def held(options: Options) -> Found:
    """Agents with nothing to do, each on a connection of its own, that sync every ten seconds."""
    with served(options.agents) as server:
        return uvloop.run(_held(options, server))


async def _held(options: Options, server: Served) -> Found:
    counts, draw = Counts(), random.Random(1)
    before_bytes = server.usage.memory_info().rss

    async def live(agent: Agent) -> None:
        await asyncio.sleep(draw.uniform(0, EVERY_S))
        await agent.live(lambda: False)

    async with going(*(live(agent) for agent in server.agents(options.agents, counts))):
        await asyncio.sleep(EVERY_S + 5)
        cpu_s, syncs, begun_s = spent_s(server.usage), counts.syncs, time.perf_counter()
        await asyncio.sleep(max(EVERY_S, options.seconds))
        lasted_s = time.perf_counter() - begun_s
        core = (spent_s(server.usage) - cpu_s) / lasted_s
        syncs_per_s = (counts.syncs - syncs) / lasted_s
        bytes_each = (server.usage.memory_info().rss - before_bytes) / options.agents
    figures = {
        "agents": options.agents,
        "syncs_per_s": syncs_per_s,
        "server_core": core,
        "bytes_each": bytes_each,
        "cpu_s_per_sync": core / syncs_per_s,
        "away": counts.away,
        "refused": counts.refused,
    }
    found = Found(figures)
    enough = syncs_per_s >= 0.9 * options.agents / EVERY_S and not counts.away
    smaller = options.agents < Options().agents
    fits = enough and core <= REACH_CORE and bytes_each <= REACH_AGENT_BYTES
    found.row(
        f"{options.agents:,} agents syncing every {EVERY_S:g} s ({syncs_per_s:,.0f} /s)",
        f"<= {REACH_CORE:.0%} of a core, <= {REACH_AGENT_BYTES // 1000} kB each",
        f"{core:.0%} of a core, {bytes_each / 1e3:.1f} kB each"
        + ("" if enough else f"; too few syncs came through, {counts.away} failed"),
        reached=None if smaller and fits else fits,
    )
    return found


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
        asker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.scale_asker", cwd=ROOT, stdin=PIPE, stdout=PIPE
        )
        await asyncio.sleep(1.0)  # it is there
        killed_s = time.perf_counter()
        server.stop(signal.SIGKILL)
        await asyncio.to_thread(server.start)
        told = {"url": server.told["url"], "token": server.told["tokens"]["renter"], "job": JOB}
        asking = asyncio.create_task(asker.communicate(json.dumps(told).encode() + b"\n"))
        for agent in agents:
            agent.line.drop()
            agent.line = server.line()
        started = counts.started
        answered: Json = json.loads((await asking)[0])
        reads_s, placed_s = answered["read_s"] - killed_s, answered["placed_s"] - killed_s
        await _until(lambda: counts.started > started, options.most_s)
        begun_s = counts.started_s[started] - killed_s
        await asyncio.sleep(max(options.seconds, 20.0))  # longer than any lease: what is lost is lost by now
        lost = running - {token for agent in agents for token in agent.held}
        assert not any(task.done() for task in tasks)
    kept = int(server.told["live"])
    figures = {
        "agents": options.agents,
        "attempts": len(running),
        "committed_before": full,
        "live_after": kept,
        "opened_s": server.told["opened_s"],
        "reads_s": reads_s,
        "placements_s": placed_s,
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
        f"{reads_s:.1f} s, {placed_s:.1f} s",
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
