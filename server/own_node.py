"""This machine as a node of the server in the same process: its agent in a thread, with an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scheduler.lifecycle import Standing
from scheduler.node import identity, kernel
from scheduler.node.agent import Agent, AgentError, Config, agent_folder
from scheduler.node.join import JoinError, Offer, enrol, offered
from scheduler.node.remote import Remote, RemoteError
from scheduler.node.trust import trusted
from scheduler.records import MarketNode
from server.runtime import Runtime

#: in the data folder: the server's lines
LOG_FILE = "server.log"
#: how long the node may take from its first call to its first answer
ONLINE_S = 15.0
ONLINE_LOOK_S = 0.02
#: between two looks at whether the node takes jobs
STANDING_LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for."""

    data: Path
    port: int
    price_uh: int  #: micro-dollars per hour of this machine
    name: str
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What whoever started it needs to know."""

    url: str
    tokens: Mapping[str, str]  #: by role
    node: MarketNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How it speaks."""

    say: Callable[[str], None]  #: a sentence for people
    ready: Callable[[Ready], None]  #: the market can be used from now on
    standing: Callable[[MarketNode], None]  #: the node begins or ceases to take jobs, or a report says again that not


def takes_jobs(node: MarketNode) -> bool:
    """Whether a node would get work, were it asked for."""
    return node.standing in (Standing.READY, Standing.DEGRADED)


class NodeThread:
    """This machine as a node of the server in the same process; speaks to it as any other node does."""

    def __init__(
        self,
        runtime: Runtime,
        wishes: Wishes,
        environment: Mapping[str, str],
        words: Words,
        *,
        tokens: Mapping[str, str],
        report: bytes | None,
    ) -> None:
        self.failure = ""  #: why the node could not serve, or go on
        self._runtime = runtime
        self._wishes = wishes
        self._environment = environment
        self._words = words
        self._tokens = tokens
        self._report = report
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self, url: str) -> None:
        """Join and serve, from now on."""
        self._thread = threading.Thread(target=self._run, args=(url,), name="gridmark-node")
        self._thread.start()

    def stop(self) -> None:
        """Leave politely; returns when it has."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, url: str) -> None:
        try:
            asyncio.run(self._serve(url))
        except (AgentError, JoinError, identity.IdentityError, RemoteError, OSError) as error:
            if not self._runtime.stopping:
                self.failure = str(error)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    async def _serve(self, url: str) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._runtime.stopping:
            return
        data = self._wishes.data
        names = await asyncio.to_thread(offered, self._environment, data, process=True)
        offer = Offer(name=self._wishes.name, price_uh=self._wishes.price_uh, process=True)
        kept = await enrol(url, self._tokens["supplier"], offer, data=data, names=names, unix_ms=_unix_ms())
        if self._report is not None:
            await self._hand_in(kept, self._report)
        config = Config(data=data, environment=self._environment, random=random.random, unix_ms=_unix_ms, say=self._say)
        announcing = asyncio.create_task(self._announce(url, kept.node))
        try:
            await Agent(config).run(self._stop)
        finally:
            announcing.cancel()

    async def _hand_in(self, kept: identity.Enrolment, report: bytes) -> None:
        folder = agent_folder(self._wishes.data)
        remote = Remote(
            kept.server,
            node=kept.node,
            key=identity.own_key(folder),
            first_seq=identity.first_seq(folder, _unix_ms()),
            verify=trusted(kept.server, None),
        )
        try:
            await remote.register(kernel.boot_id())
            await remote.post_report(report)
        finally:
            await remote.close()

    async def _announce(self, url: str, node: int) -> None:
        """Say that the market can be used, as soon as it has heard of the agent; then how the node stands."""
        for _ in range(round(ONLINE_S / ONLINE_LOOK_S)):
            if (found := self._runtime.book.nodes[node]).online:
                self._words.ready(Ready(url=url, tokens=self._tokens, node=found))
                await self._follow(found)
            await asyncio.sleep(ONLINE_LOOK_S)
        self._say(f"the node has not come online within {ONLINE_S:.0f} s; {self._wishes.data / LOG_FILE} may say why")

    async def _follow(self, told: MarketNode) -> None:
        """Say whenever the node begins or ceases to take jobs, and what each report in between finds."""
        while True:
            await asyncio.sleep(STANDING_LOOK_S)
            found = self._runtime.book.nodes[told.id]
            again = not takes_jobs(found) and found.report_id != told.report_id
            if again or takes_jobs(found) != takes_jobs(told):
                self._words.standing(found)
                told = found

    def _say(self, sentence: str) -> None:
        if not self._runtime.stopping:  # then the server is gone for a reason
            self._words.say(sentence)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
