"""A whole server in this process: the real store, rules and index behind the real application, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qualify import codec as reports
from qualify.records import Report
from scheduler import wire
from scheduler.desk import ProvingSettings
from scheduler.node.identity import Key
from scheduler.records import Role
from server.app import create_app
from server.runtime import Runtime, Sources
from server.settings import FINDER_NODES, Limits, Settings
from tests import builders
from tests.scheduler.clocks import FakeClock

WAIT_S = 20.0  #: a test that waits longer has found a fault
Json = dict[str, Any]


class Served:
    """The server, its clock, and a token of each role."""

    def __init__(
        self,
        data: Path,
        limits: Limits | None = None,
        proving: ProvingSettings | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        finder_nodes: int = FINDER_NODES,
    ) -> None:
        self.clock = FakeClock()
        self.seconds = [0.0]  #: of the buckets' clock
        self._random = iter(range(1, 1 << 30))
        sources = Sources(
            clock=self.clock,
            monotonic_s=lambda: self.seconds[0],
            monotonic_ns=monotonic_ns,
            random=lambda: 0.5,
            random_bytes=lambda n: hashlib.shake_256(str(next(self._random)).encode()).digest(n),
        )
        self.settings = Settings(
            data=data,
            limits=limits or Limits(),
            proving=proving or ProvingSettings(on=False),
            finder_nodes=finder_nodes,
        )
        self.runtime = Runtime.open(self.settings, sources)
        self.tokens: Mapping[Role, str] = self.runtime.bootstrap()
        self.app = create_app(self.settings, self.runtime)
        self.loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        begun = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(begun),))
        self._thread.start()
        begun.wait(WAIT_S)
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://test", timeout=WAIT_S
        )

    async def _live(self, begun: threading.Event) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.runtime.attach(self.loop)
        begun.set()
        await self._stop.wait()
        self.runtime.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self.runtime.stop_waiting)
        self.run(self._client.aclose())
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.runtime.close()

    def run(self, coroutine: Any) -> Any:
        """The answer of a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_S)

    def start(self, coroutine: Any) -> Any:
        """A coroutine under way in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def ask(self, method: str, target: str, role: Role | None = None, **more: Any) -> httpx.Response:
        """One request; `role` says whose token it carries, `token` another one."""
        return self.run(self.asking(method, target, role, **more))  # type: ignore[no-any-return]

    async def asking(
        self, method: str, target: str, role: Role | None = None, *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        """The same, to be awaited."""
        headers = dict(more.pop("headers", {}))
        if role is not None or token is not None:
            headers["Authorization"] = f"Bearer {token or self.tokens[role]}"  # type: ignore[index]
        return await self._client.request(method, target, headers=headers, **more)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """A request as it is."""
        return await self._client.send(request)

    def account(self, name: str, role: Role) -> str:
        """A further account's token."""
        made = self.ask("POST", "/v1/accounts", "operator", json={"name": name, "role": role})
        token: str = made.json()["token"]
        return token

    def submit(self, token: str | None = None, **document: Any) -> Json:
        """A job of the renter's."""
        whole = {"command": ["true"], **document}
        answer = self.ask("POST", "/v1/jobs", "renter", token=token, json=whole)
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()
        return found

    def follow(self, job: int, token: str | None = None, query: str = "") -> Follower:
        """Follow a job's output as a client that stays connected."""
        return Follower(self, f"/v1/jobs/{job}/logs", f"follow=1{query}", token or self.tokens["renter"])


class Follower:
    """A request whose answer is read while it is being sent."""

    def __init__(self, served: Served, path: str, query: str, token: str) -> None:
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._left = asyncio.Event()
        self.status: queue.Queue[int] = queue.Queue()
        self._rest = b""
        self._served = served
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "headers": [(b"authorization", f"Bearer {token}".encode())],
            "client": ("127.0.0.1", 1), "server": ("test", 80), "state": {},
        }  # fmt: skip
        self.done = served.start(served.app(scope, self._receive, self._send))

    async def _receive(self) -> Json:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status.put(message["status"])
            return
        *lines, self._rest = (self._rest + message.get("body", b"")).split(b"\n")
        for line in lines:
            self._lines.put(line)

    def line(self) -> Json:
        """The next line."""
        found: Json = json.loads(self._lines.get(timeout=WAIT_S))
        return found

    def leave(self) -> None:
        """Hang up."""
        self._served.loop.call_soon_threadsafe(self._left.set)
        self.done.result(WAIT_S)

    def rest(self) -> list[Json]:
        """All lines to the end of the answer."""
        self.done.result(WAIT_S)
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(json.loads(self._lines.get_nowait()))
        return found


@dataclass
class Agent:
    """A node's agent as far as its requests go: it signs, and says what a test has it say."""

    served: Served
    key: Key = field(default_factory=lambda: Key(Ed25519PrivateKey.generate()))
    node: int = 0
    epoch: int = 0
    seq: int = 0
    boot_id: str = "boot-1"
    machine: str = "machine-1"

    def headers(self, method: str, target: str, body: bytes = b"", **changed: Any) -> dict[str, str]:
        """Those of a signed request; `changed` fields of the envelope are signed and sent as they are given."""
        self.seq += 1
        envelope = replace(
            wire.Envelope(
                method=method,
                target=target,
                server_boot=self.served.runtime.server_boot,
                node=self.node,
                epoch=self.epoch,
                seq=self.seq,
                body_sha256=wire.digest(body),
            ),
            **changed,
        )
        return {
            wire.HEADER_NODE: str(envelope.node),
            wire.HEADER_EPOCH: str(envelope.epoch),
            wire.HEADER_BOOT: str(envelope.server_boot),
            wire.HEADER_SEQ: str(envelope.seq),
            wire.HEADER_SIGNATURE: self.key.sign(envelope),
        }

    def call(self, method: str, target: str, body: bytes = b"", *, type_: str = "", **changed: Any) -> httpx.Response:
        """A signed request."""
        return self.served.run(self.calling(method, target, body, type_=type_, **changed))  # type: ignore[no-any-return]

    async def calling(
        self, method: str, target: str, body: bytes = b"", *, type_: str = "", **changed: Any
    ) -> httpx.Response:
        """The same, to be awaited."""
        headers = self.headers(method, target, body, **changed) | ({"Content-Type": type_} if type_ else {})
        return await self.served.asking(method, target, content=body, headers=headers)

    def post(self, target: str, document: Any, **changed: Any) -> httpx.Response:
        """A signed document."""
        return self.call("POST", target, json.dumps(document).encode(), type_="application/json", **changed)

    def enrol(self, token: str | None = None, **terms: Any) -> httpx.Response:
        """Make this a node of the supplier's."""
        document = {
            "name": "node", "public_key": self.key.public, "price": 1, "executors": ["process"], **terms
        }  # fmt: skip
        body = json.dumps(document).encode()
        headers = self.headers("POST", "/v1/nodes", body, node=0, epoch=0) | {"Content-Type": "application/json"}
        answer = self.served.ask("POST", "/v1/nodes", "supplier", token=token, content=body, headers=headers)
        if answer.status_code == 201:
            self.node, self.epoch = answer.json()["id"], answer.json()["epoch"]
        return answer

    def register(self) -> None:
        """Begin."""
        answer = self.post("/v1/agent/register", {"boot_id": self.boot_id})
        assert answer.status_code == 200, answer.text
        self.epoch = answer.json()["epoch"]

    def sync(self, *held: Json, wait: bool = False, **more: Any) -> Json:
        """Tell and ask."""
        answer = self.post("/v1/agent/sync", self.told(*held, wait=wait, **more))
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def told(self, *held: Json, wait: bool = False, **more: Any) -> Json:
        """The document of a sync."""
        return {"boot_id": self.boot_id, "held": list(held), "wait": wait, **more}

    def report(self, **changes: Any) -> Report:
        """A healthy report of this machine, whose run has just ended."""
        healthy = slim()
        ended_s = self.served.clock.now().unix_ms / 1000
        fields: Json = {"id": f"report-{self.node}-{self.seq}", "started_unix_s": ended_s - healthy.lasted_s}
        return replace(healthy, node=replace(healthy.node, id=self.machine), **(fields | changes))

    def hand_in(self, report: Report | None = None, **changed: Any) -> httpx.Response:
        """Hand in a report."""
        body = gzip.compress(reports.dumps(report or self.report()).encode())
        target = f"/v1/nodes/{self.node}/reports"
        headers = self.headers("POST", target, body, **changed)
        headers |= {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        return self.served.ask("POST", target, content=body, headers=headers)

    def assigned(self) -> Json:
        """The one attempt that the server wants run here."""
        (wish,) = self.sync()["wishes"]
        found: Json = wish
        return found

    def print(self, token: int, data: bytes, offset: int = 0, stream: str = "out") -> httpx.Response:
        """Add to a log."""
        return self.call("POST", f"/v1/agent/attempts/{token}/logs/{stream}?offset={offset}", data)

    def leave(self, token: int, data: bytes, what: str = "artifacts", sha256: str | None = None) -> httpx.Response:
        """Upload a file of an attempt."""
        return self.call("PUT", f"/v1/agent/attempts/{token}/{what}/{sha256 or wire.digest(data)}", data)


@functools.cache
def slim() -> Report:
    """A healthy report without its samples, which are most of its bulk."""
    healthy = builders.healthy()
    measurements = tuple(replace(one, samples=()) for one in healthy.measurements)
    return replace(healthy, measurements=measurements, telemetry=())


def ready_agent(served: Served, **terms: Any) -> Agent:
    """An agent whose node is enrolled, registered, online and measured."""
    agent = Agent(served)
    assert agent.enrol(**terms).status_code == 201
    agent.register()
    agent.sync()
    answer = agent.hand_in()
    assert answer.status_code == 201, answer.text
    return agent


@contextlib.contextmanager
def serving(data: Path, limits: Limits | None = None) -> Iterator[Served]:
    """A server for the length of a block."""
    with Served(data, limits) as served:
        yield served
