"""A real server over a market at a fixed moment: nodes of every standing, jobs of two renters, one of them running."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from qualify import codec
from scheduler.clock import Now
from scheduler.control import Control
from scheduler.lifecycle import Standing
from scheduler.records import (
    Account,
    Artifact,
    Capacity,
    Figure,
    Job,
    JobSpec,
    MarketNode,
    NodeFigure,
    Remark,
    ReportEntry,
    Resources,
    Role,
    Stream,
)
from scheduler.wire import Held, LocalState, SyncRequest
from server import auth
from server.app import create_app
from server.runtime import Runtime, Sources
from server.settings import Settings
from tests import builders

T = TypeVar("T")

NOW_MS = 1_785_600_000_000  # 2026-08-01 16:00 UTC
HOUR_MS = 3_600_000
GIB = 1 << 30
QUOTA_BYTES = 50 << 20
PEOPLE: dict[str, Role] = {"ada": "renter", "bob": "renter", "sue": "supplier", "sid": "supplier", "opa": "operator"}
FINDING = Remark(
    code="ecc_uncorrected", severity="failure", text="GPU 3 counted 12 uncorrected ECC errors since boot.",
    remedy="Reset the GPU; if they come back, have the board replaced.",
)  # fmt: skip


class StillClock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.gone_ms = 0

    def now(self) -> Now:
        return Now(mono_ms=10_000_000 + self.gone_ms, unix_ms=NOW_MS + self.gone_ms)


def figure(value: float, unit: str, *, share: float = 0.01, age_h: float = 3) -> Figure:
    at_ms = NOW_MS - round(age_h * HOUR_MS)
    return Figure(value=value, low=value * (1 - share), high=value * (1 + share), n=40, at_ms=at_ms, unit=unit)


def gpu_node(number: int, name: str, supplier: int, **values: Any) -> MarketNode:
    """Eight GPUs that cost a little more with every number."""
    figures = {
        "matmul.bf16": figure(780e12 - number * 1e12, "FLOP/s"),
        "matmul.fp32": figure(48e12, "FLOP/s"),
        "memory.triad": figure(2.9e12, "B/s", share=0.004),
        "memlatency.dram": figure(98.2e-9, "s"),
        "network.down": figure(1.1e9, "B/s", share=0.03),
    }
    usual: dict[str, Any] = {
        "public_key": f"{number:064x}", "machine": f"machine-{number}", "standing": Standing.READY,
        "online": True, "device_kind": "cuda", "model": "H100 SXM",
        "capacity": Capacity(gpu_milli=(1000,) * 8, cpu_milli=128_000, memory_bytes=1024 * GIB, disk_bytes=4096 * GIB),
        "vram_bytes": 80 * GIB, "region": "eu-north", "price_uh": 16_000_000 + number * 100_000,
        "executors": ("container", "process"), "figures": figures, "health": 0.981,
        "capability": {"training": 104.0, "inference": 98.2}, "report_id": f"report-{number}",
        "reported_ms": NOW_MS - 3 * HOUR_MS, "due_ms": NOW_MS + 21 * HOUR_MS, "enrolled_ms": NOW_MS - 500 * HOUR_MS,
        "boot_id": "boot", "epoch": 1,
    }  # fmt: skip
    return MarketNode(id=number, name=name, supplier=supplier, **{**usual, **values})


def cpu_node(number: int, name: str, supplier: int, **values: Any) -> MarketNode:
    """Sixteen cores."""
    figures = {"matmul.bf16": figure(3.11e12, "FLOP/s"), "memory.triad": figure(140.2e9, "B/s")}
    capacity = Capacity(cpu_milli=16_000, memory_bytes=60 * GIB, disk_bytes=200 * GIB)
    usual: dict[str, Any] = {
        "device_kind": "cpu", "model": "AMD EPYC 9354P", "vram_bytes": 0, "price_uh": 400_000, "capacity": capacity,
        "executors": ("process",), "figures": figures, "region": "home",
    }  # fmt: skip
    return gpu_node(number, name, supplier, **{**usual, **values})


@dataclass
class Market:
    """The server's inside, to bring it about that something happens."""

    runtime: Runtime
    clock: StillClock
    address: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def do(self, command: Callable[[Control, Now], T]) -> T:
        return self.runtime.writer.do(command).result(timeout=20)

    def people(self) -> None:
        for name, role in PEOPLE.items():
            token = auth.new_token(os.urandom)
            digest = auth.digest(token)
            account = self.do(lambda c, now, n=name, r=role, d=digest: c.create_account(n, r, d, now))  # type: ignore[misc]
            self.runtime.directory.put(account)
            self.tokens[name], self.accounts[name] = token, account

    def add(self, *rows: Any) -> None:
        """Rows as they are."""

        def command(control: Control, now: Now) -> None:
            del now
            for row in rows:
                if isinstance(row, MarketNode):
                    assert control.book.number("node") == row.id
                control.book.add(row)

        self.do(command)

    def submit(self, owner: str, **spec: Any) -> Job:
        usual: dict[str, Any] = {"name": "train", "command": ("python", "train.py", "--epochs", "3")}
        found = JobSpec(**{**usual, **spec})
        key = os.urandom(8).hex()
        return self.do(lambda control, now: control.submit(self.accounts[owner].id, found, key, now))

    def job(self, number: int) -> Job:
        found = self.runtime.reader.job(number)
        assert found is not None
        return found

    def tell(self, job: int, state: LocalState, **more: Any) -> None:
        """What the agent of the job's attempt says of it."""
        one = self.runtime.reader.attempts(job)[0]

        def command(control: Control, now: Now) -> None:
            held = [Held(token=t, state="running") for t in control.book.tokens_of_node[one.node] if t != one.token]
            held.append(Held(token=one.token, state=state, **more))
            control.sync(one.node, 1, SyncRequest(boot_id="boot", held=tuple(held)), now)

        self.do(command)

    def write(self, job: int, stream: Stream, text: bytes) -> None:
        """What the job prints."""
        one = self.runtime.reader.attempts(job)[0]
        logs = self.runtime.files.logs
        logs.append(one.token, stream, logs.size(one.token, stream), text, quota_bytes=QUOTA_BYTES)
        self.runtime._loop.call_soon_threadsafe(self.runtime.jobs.ring, [job])  # type: ignore[union-attr]

    def artifact(self, path: str, content: bytes) -> Artifact:
        """A file that an agent uploaded."""
        with self.runtime.files.blob_writer(limit_bytes=1 << 20) as writer:
            writer.write(content)
        return Artifact(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))

    def client(self, who: str | None = None, *, fresh: bool = False) -> httpx.Client:
        """A browser without its page: a stranger's without any cookie, or somebody's who is logged in.

        Each is made once, because it takes longer than a page; `fresh` is for those that end a session.
        """
        name = f"{who}-{len(self.clients)}" if fresh else str(who)
        known = self.clients.get(name)
        if known is None:
            known = self.clients[name] = httpx.Client(base_url=self.address, timeout=20, verify=False)  # noqa: S501 - HTTP
            if who is not None:
                self.log_in(known, who)
        if who is None:
            known.cookies.clear()
        return known

    def log_in(self, client: httpx.Client, who: str) -> None:
        """By the form."""
        answer = client.post("/login", data={"token": self.tokens[who], "csrf": mark_in(client.get("/login").text)})
        assert answer.status_code == 303, answer.text


def mark_in(page: str) -> str:
    """The mark of the page's first form."""
    return page.split('name="csrf" value="')[1].split('"')[0]


def fill(market: Market) -> None:
    """Eight nodes, five jobs."""
    market.people()
    sue, sid = market.accounts["sue"].id, market.accounts["sid"].id
    market.add(
        gpu_node(1, "fjord-01", sue),
        gpu_node(2, "fjord-02", sue),
        gpu_node(
            3, "fjord-03", sue, standing=Standing.QUARANTINED, why="not qualified: ECC errors on GPU 3", health=0.71
        ),
        gpu_node(4, "fjord-04", sue, online=False, why="no word for 4 min"),
        gpu_node(5, "fjord-05", sue, standing=Standing.DEGRADED, why="slow memory", due_ms=NOW_MS - HOUR_MS),
        cpu_node(6, "here", sid),
        gpu_node(7, "fjord-07", sue, draining=True),
        gpu_node(8, "new-one", sid, standing=Standing.NEW, figures={}, capability={}, health=None, reported_ms=None),
    )
    entry = ReportEntry(id="report-3", node=3, at_ms=NOW_MS - 3 * HOUR_MS, verdict="not_qualified", profile="quick")
    slow = builders.faulty()
    market.runtime.files.put_report("report-5", codec.dumps(replace(slow, id="report-5")).encode())
    market.add(
        replace(entry, remarks=(FINDING,)),
        replace(entry, id="report-1", node=1, verdict="qualified"),
        replace(entry, id="report-5", node=5, verdict="qualified"),
    )
    for day in range(10):
        course = figure(2.9e12 * (1 - day * 0.004), "B/s", share=0.004, age_h=24 * (9 - day) + 3)
        market.add(NodeFigure(node=1, metric="memory.triad", figure=course))
    market.submit("ada", resources=Resources(gpus=2))
    market.tell(1, "running")
    market.submit("ada", name="too-large", resources=Resources(gpus=16))
    market.submit("bob", name="secret-plan", resources=Resources(cpu_milli=500), region="home")
    market.tell(3, "running")
    market.submit("ada", name="done", resources=Resources(cpu_milli=500), region="home")
    files = (market.artifact("out/model.bin", b"weights"),)
    market.tell(4, "running")
    one = market.runtime.reader.attempts(4)[0]
    market.runtime.files.logs.append(one.token, "out", 0, b"all done\n", quota_bytes=QUOTA_BYTES)
    market.tell(4, "exited", exit_code=0, artifacts=files)


@contextlib.contextmanager
def served(folder: Path, fill: Callable[[Market], None] = fill) -> Iterator[Market]:
    """The server on a port of loopback, in a thread, until the block ends."""
    clock = StillClock()
    chance = random.Random(5)
    settings = Settings(data=folder)
    runtime = Runtime.open(settings, Sources(clock=clock, random=chance.random))
    market = Market(runtime, clock)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, runtime), port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    try:
        fill(market)
        thread.start()
        while not server.started and thread.is_alive():
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        market.address = f"http://127.0.0.1:{port}"
        yield market
    finally:
        for client in market.clients.values():
            client.close()
        server.should_exit = server.force_exit = True
        thread.join(20)
        runtime.close()
