"""A server in a time of its own, as its agents' transport sees it: it can stand still, die, or be cut off.

The rules, the book, the placing and the words on the wire are the real ones. What is simulated: the store (the model's,
which checks every commit), HTTP, TCP's patience, and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from scheduler import codec, wire
from scheduler.clock import Now
from scheduler.control import Control, Refused
from scheduler.wire import SyncAnswer, SyncRequest
from tests.scheduler.clocks import START_UNIX_MS
from tests.scheduler.model.server import ModelServer, create_accounts, enrol, report
from tests.scheduler.model.store import ModelStore
from tests.soak.virtual import LEAST_S

TICK_S = 0.25
ROUND_TRIP_S = 0.02
#: after which what was lost is sent again, and each time after twice as long (RFC 6298; RFC 1122 for a connection's
#: first packet); Linux's own figures
AGAIN_S, CONNECT_AGAIN_S = 0.2, 1.0
T = TypeVar("T")


@dataclass
class Link:
    """Between one agent and the server."""

    up: bool = True  #: whether requests get through
    down: bool = True  #: whether answers do
    connected: bool = False  #: by a connection that both ends believe in


@dataclass
class Market:
    """The server's machine: a life of the server, or none."""

    nodes: int
    draw: random.Random
    store: ModelStore = field(default_factory=ModelStore)
    links: dict[int, Link] = field(default_factory=dict)
    boot: int = 0
    life: ModelServer | None = None
    _under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.running = asyncio.Event()  #: cleared while the process stands still
        self.running.set()
        self.links = {node: Link() for node in range(1, self.nodes + 1)}
        self._news = {node: asyncio.Event() for node in self.links}
        self._clock_ms = self.draw.randrange(10**6)
        self.begin()
        for command in create_accounts():
            self.do(command)
        for node in self.links:
            self.do(enrol(node))
            self.do(report(node, f"r{node}"))

    def now(self) -> Now:
        """The server's clocks."""
        passed_ms = round(asyncio.get_running_loop().time() * 1000)
        return Now(self._clock_ms + passed_ms, START_UNIX_MS + passed_ms)

    def begin(self) -> None:
        """A life of the server, from what was committed."""
        self.boot += 1
        self.life = ModelServer(self.store, self.draw, real_placer=True)
        self._serve(self._tick(self.life))

    def die(self) -> None:
        """All connections end, and everything that was under way."""
        self.life = None
        for link in self.links.values():
            link.connected = False
        for task in self._under_way:
            task.cancel()

    def do(self, command: Callable[[Control, Now], T]) -> T:
        """Carry a command out; whom it concerns is answered.

        Raises:
            Refused: the rules do not allow it.
        """
        assert self.life is not None
        made = self.life.do(command, self.now())
        assert made is not None, "no commit fails here"
        self._wake(self.life)
        return made

    def transport(self, node: int) -> httpx.AsyncBaseTransport:
        """Of the node's agent."""
        return _Wire(self, node)

    async def call(self, node: int, request: httpx.Request) -> httpx.Response:
        """What the request comes to, however late."""
        link = self.links[node]
        await _sent(lambda: link.up, AGAIN_S if link.connected else CONNECT_AGAIN_S)
        if self.life is None:
            raise httpx.ConnectError("refused", request=request)
        link.connected = True
        body = await request.aread()
        answered = self._serve(self._answer(self.life, node, request, body))
        try:
            response = await asyncio.shield(answered)  # it is served even if nobody waits for it any more
        except asyncio.CancelledError:
            if answered.cancelled():
                raise httpx.ReadError("reset", request=request) from None
            raise
        await asyncio.sleep(ROUND_TRIP_S)
        await _sent(lambda: link.down, AGAIN_S)
        return response

    def _serve(self, what: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(what)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _tick(self, life: ModelServer) -> None:
        while self.life is life:
            await self.running.wait()
            life.tick(self.now())
            self._wake(life)
            life.check()
            await asyncio.sleep(TICK_S)

    def _wake(self, life: ModelServer) -> None:
        for node in life.control.touched().nodes:
            self._news[node].set()

    async def _answer(self, life: ModelServer, node: int, request: httpx.Request, body: bytes) -> httpx.Response:
        await self.running.wait()
        epoch = life.control.book.nodes[node].epoch
        if request.url.path == "/v1/agent/hello":
            return _good({"server_boot": self.boot, "epoch": epoch})
        if int(request.headers[wire.HEADER_BOOT]) != self.boot:
            return _problem("server-restarted", server_boot=self.boot)
        told = int(request.headers[wire.HEADER_EPOCH])
        try:
            if request.url.path == "/v1/agent/register":
                boot_id = str(json.loads(body)["boot_id"])
                row = self.do(lambda c, now: c.register(node, told, boot_id, now))
                return _good({"server_boot": self.boot, "epoch": row.epoch})
            return _good(codec.encode(await self._sync(node, told, codec.loads(SyncRequest, body))))
        except Refused as refused:
            return _problem("stale-epoch" if refused.kind == "stale_epoch" else refused.kind)

    async def _sync(self, node: int, epoch: int, request: SyncRequest) -> SyncAnswer:
        news = self._news[node]
        news.clear()
        answer = self.do(lambda c, now: c.sync(node, epoch, request, now))
        loop = asyncio.get_running_loop()
        until_s = loop.time() + answer.next_sync_ms / 1000
        # what is left of a time may be less than the loop's clock can tell
        while request.wait and not self._has_news(node, answer) and (left_s := until_s - loop.time()) > LEAST_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), left_s)
            await self.running.wait()
            news.clear()
            answer = self.do(lambda c, now: c.answer(node, epoch, now))
        return answer

    def _has_news(self, node: int, answer: SyncAnswer) -> bool:
        assert self.life is not None
        return self.life.control.has_news(node, answer)


@dataclass
class _Wire(httpx.AsyncBaseTransport):
    """One agent's, with the patience that httpx asks of a transport."""

    market: Market
    node: int

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        link, waits = self.market.links[self.node], request.extensions["timeout"]
        patience_s = waits["read"] if link.connected else waits["connect"] + waits["read"]
        if not link.connected:
            await self._connect(request, waits["connect"])
        try:
            async with asyncio.timeout(patience_s):
                response = await self.market.call(self.node, request)
        except (TimeoutError, httpx.ReadError):
            link.connected = False
            raise httpx.ReadTimeout("late", request=request) from None
        response.request = request
        return response

    async def _connect(self, request: httpx.Request, seconds: float) -> None:
        link = self.market.links[self.node]
        try:
            async with asyncio.timeout(seconds):
                await _sent(lambda: link.up and link.down, CONNECT_AGAIN_S)
        except TimeoutError:
            raise httpx.ConnectTimeout("nobody answers", request=request) from None


async def _sent(gets_through: Callable[[], bool], again_s: float) -> None:
    """Until it got through: what is lost is sent again, ever later."""
    for doubled in itertools.count():
        await asyncio.sleep(ROUND_TRIP_S / 2)
        if gets_through():
            return
        await asyncio.sleep(again_s * 2**doubled)


def _good(document: object) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(document))


def _problem(slug: str, **more: object) -> httpx.Response:
    return httpx.Response(409, content=json.dumps({"type": f"/problems/{slug}", "title": slug, **more}))
