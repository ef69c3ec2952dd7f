"""The parts of the scale benchmark that go through HTTP, to a server in a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
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
PORTS = range(20_000, 30_000)  #: below those that Linux gives to whoever connects
EVERY_S = 10.0
REACH_LIVES_PER_S = 500
REACH_QUERY_S = {10_000: 0.005, 100_000: 0.015}
REACH_CORE, REACH_AGENT_BYTES = 0.25, 20_000


def free_port() -> int:
    """One that nobody listens on, and that no connection is given for its own end while the server is away."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of the ports {PORTS.start} to {PORTS.stop} is free")


@dataclass
class Served:
    """A server in a process of its own."""

    data: Path
    nodes: int
    jobs_per_s: int = 0
    port: int = field(default_factory=free_port)  #: the same after every start
    process: subprocess.Popen[bytes] | None = None
    told: Json = field(default_factory=dict)

    def start(self) -> None:
        """Returns when it answers."""
        self.launch()
        self.listen()

    def launch(self) -> None:
        """Begin to start it."""
        command = [sys.executable, "-m", "tests.bench.scale_server"]
        command += [str(self.data), str(self.port), str(self.nodes), str(self.jobs_per_s)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)

    def listen(self) -> None:
        """Hear what it tells once it answers."""
        assert self.process is not None
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
