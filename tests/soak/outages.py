"""Outages of 1 to 60 s in a time of their own: no job begins again, none stands still longer than it and 5 s.

Real: the agent with its calls, pauses and leases, each attempt's supervisor's rules, the server's rules, book and
placing. Simulated: processes, HTTP and TCP, the store, and time, so that a thousand outages take minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.node import attempt, identity, kernel, machine, remote, waiting
from scheduler.node.agent import Agent, Config, agent_folder
from scheduler.node.execution import Machine
from scheduler.records import Job, JobSpec, Resources
from tests.scheduler.clocks import START_UNIX_MS
from tests.soak import virtual
from tests.soak.held import InLoopHold
from tests.soak.market import Market

NODES, JOBS = 5, 8
OUTAGES = 20
LONGEST_S = 60.0
#: so much longer than its outage a job may be frozen
BEYOND_S = 5.0
#: so soon after it all jobs run again: a call that was sent a moment too early is given up, and then there is a pause
AGAIN_S = remote.CONNECT_S + waiting.LONGEST_HOLDING_S + 1.0
#: between two outages, so that each is seen for itself
REST_S = (AGAIN_S, 40.0)
SETTLED_S = 20.0


def search(first: int, outages: int = OUTAGES) -> tuple[dict[str, int], list[str]]:
    """So many outages, one after the other; what was done, and what was found wrong."""
    with patience(), tempfile.TemporaryDirectory(dir=_memory(), prefix="gm-") as name:
        story = Story(Path(name), random.Random(first))
        try:
            virtual.run(lambda loop: story.run(loop, outages))
        finally:
            for one in InLoopHold.all.values():
                one.close()
    return dict(story.counts), [f"seed {first}: {one}" for one in story.found]


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Processes and clocks are replaced by those of the loop."""

    def now_ns() -> int:
        return 10**15 + round(asyncio.get_running_loop().time() * 1e9)

    with (
        mock.patch.object(kernel, "now_ns", now_ns),
        mock.patch.object(attempt, "Supervised", InLoopHold),
        mock.patch.object(InLoopHold, "all", {}),
        mock.patch.object(machine, "probe", lambda _, *, tag, data: Machine(tag=tag, data=data)),
    ):
        yield


def _submit(spec: JobSpec, control: Control, now: Now) -> Job:
    return control.submit(1, spec, spec.name, now)


class Story:
    """One market, its agents, and what befalls the server."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._folder, self._draw = folder, draw
        self.counts: Counter[str] = Counter()
        self.found: list[str] = []

    async def run(self, loop: virtual.VirtualLoop, outages: int) -> None:
        """All of it."""
        self._loop = loop
        self._market = Market(NODES, random.Random(self._draw.random()))
        stop = asyncio.Event()
        agents = [asyncio.create_task(self._agent(node).run(stop)) for node in range(1, NODES + 1)]
        await asyncio.sleep(SETTLED_S)
        for number in range(JOBS):
            spec = JobSpec(name=f"j{number}", command=("x",), resources=Resources(cpu_milli=1000, memory_bytes=1 << 20))
            self._market.do(functools.partial(_submit, spec))
        await asyncio.sleep(SETTLED_S)
        self._tokens = sorted(InLoopHold.all)
        assert len(self._tokens) == JOBS, f"only {self._tokens} run"
        for _ in range(outages):
            await self._outage()
            if self.found:
                break
        stop.set()
        await asyncio.wait(agents)
        for agent in agents:
            agent.result()

    def _agent(self, node: int) -> Agent:
        data = self._folder / str(node)
        identity.own_key(agent_folder(data))
        enrolled = identity.Enrolment(server="http://market", node=node, name=f"n{node}", executors=("process",))
        identity.keep_enrolment(agent_folder(data), enrolled)
        return Agent(
            Config(
                data=data,
                environment={},
                random=random.Random(self._draw.random()).random,
                unix_ms=lambda: START_UNIX_MS,
                say=lambda _: None,
                transport=self._market.transport(node),
                boot_id="boot",
            )
        )

    async def _outage(self) -> None:
        kind = self._draw.choice([*KINDS])
        lasts_s = round(self._draw.uniform(1.0, LONGEST_S), 3)
        before = self._frozen()
        mend = KINDS[kind](self._market)
        await asyncio.sleep(lasts_s)
        mend()
        ran_again_s = await self._until_all_run()
        await asyncio.sleep(self._draw.uniform(*REST_S))
        frozen_s = max(now - then for now, then in zip(self._frozen(), before, strict=True))
        self.counts["outages"] += 1
        self.counts[kind] += 1
        self.counts["s of outage"] += round(lasts_s)
        self._most("most ms until all ran again", ran_again_s)
        self._judge(f"{kind} for {lasts_s:g} s", lasts_s, frozen_s, ran_again_s)

    def _judge(self, what: str, lasts_s: float, frozen_s: float, ran_again_s: float) -> None:
        if frozen_s > lasts_s + BEYOND_S:
            self.found.append(f"{what}: a job was frozen for {frozen_s:.3f} s")
        if ran_again_s > AGAIN_S:
            self.found.append(f"{what}: {ran_again_s:.3f} s after it not all jobs run")
        for job in range(1, JOBS + 1):
            attempts = self._market.store.attempts_of(job)
            if len(attempts) != 1:
                self.found.append(f"{what}: job {job} began again: {attempts}")

    async def _until_all_run(self) -> float:
        """Seconds until every job runs; more than AGAIN_S when they do not."""
        begun_s = self._loop.time()
        # no event tells of it, and to look again costs no time
        while not all(one.runs for one in InLoopHold.all.values()) and self._loop.time() <= begun_s + 2 * AGAIN_S:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return self._loop.time() - begun_s

    def _frozen(self) -> list[float]:
        return [InLoopHold.all[token].frozen_s for token in self._tokens]

    def _most(self, name: str, seconds: float) -> None:
        self.counts[name] = max(self.counts[name], round(seconds * 1000))


def stopped(market: Market) -> Callable[[], None]:
    """The server's process stands still; what arrives meanwhile it answers late."""
    market.running.clear()
    return market.running.set


def killed(market: Market) -> Callable[[], None]:
    """There is no server, until another begins from what was committed."""
    market.die()
    return market.begin


def cut_off(market: Market) -> Callable[[], None]:
    """Nothing comes through to any node."""
    return _links(market, up=False, down=False)


def deaf(market: Market) -> Callable[[], None]:
    """No request reaches the server."""
    return _links(market, up=False, down=True)


def mute(market: Market) -> Callable[[], None]:
    """No answer of the server reaches anybody."""
    return _links(market, up=True, down=False)


def _links(market: Market, *, up: bool, down: bool) -> Callable[[], None]:
    def make(up: bool, down: bool) -> None:
        for link in market.links.values():
            link.up, link.down = up, down

    make(up, down)
    return lambda: make(True, True)


KINDS = {
    "server stopped": stopped,
    "server killed": killed,
    "server cut off": cut_off,
    "requests lost": deaf,
    "answers lost": mute,
}
