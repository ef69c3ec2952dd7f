"""A small market of real processes: a server, agents in folders of their own, jobs, and what kills them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qualify import codec
from qualify.records import Report
from scheduler.node import identity
from scheduler.node.agent import agent_folder
from scheduler.node.join import Offer, enrol
from scheduler.node.kernel import boot_id
from scheduler.node.remote import Remote
from server.client import Client, Settings

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "reports/samples/cpu-quick.json"
LOOK_S = 0.05
PATIENCE_S = 60.0
#: without bubblewrap on it, so that jobs can write to the one file by which they are judged
AGENT_PATH = "/nonexistent"
TICK_S = 0.2
NOTHING: Mapping[str, str] = {}
PROGRAM = (
    'i=0; while [ $i -lt {ticks} ]; do echo "$GRIDMARK_FENCING_TOKEN $i" >> {path}; i=$((i+1)); sleep {tick}; done'
)


def until(what: str, holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Look until it holds, and return what it gave; an AssertionError says what never came."""
    end = time.monotonic() + patience_s
    while True:
        if found := holds():
            return found
        assert time.monotonic() < end, f"{what}: not within {patience_s:g} s"
        time.sleep(LOOK_S)


def wait(seconds: float) -> None:
    """A fault that lasts; what is tested is what happens meanwhile."""
    time.sleep(seconds)


def free_port(host: str) -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


@dataclass
class Node:
    """An agent, and the folder it works in."""

    name: str
    data: Path
    id: int = 0
    process: subprocess.Popen[bytes] | None = None
    prefix: tuple[str, ...] = ()  #: a command that puts it into a namespace

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """As a crash does: nothing is said, nothing is tidied up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass
class Fleet:
    """The processes; leaving the block ends them all."""

    folder: Path
    host: str = "127.0.0.1"
    nodes: list[Node] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.port = free_port(self.host)
        self.start_server()
        kept = json.loads((self.folder / "server/client.json").read_text())
        self.tokens: dict[str, str] = kept["tokens"]
        self.client = Client(Settings(server=self.url, token=self.tokens["renter"]))
        self.operator = Client(Settings(server=self.url, token=self.tokens["operator"]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (self.client, self.operator):
            client.close()
        for node in self.nodes:
            if node.process is not None:
                node.signal(signal.SIGCONT)
                node.kill()
            for pid in supervisors(node):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start_server(self, environment: Mapping[str, str] = NOTHING) -> None:
        """Serve, from what the folder holds; `environment` is added to this process's own."""
        argv = [sys.executable, str(ROOT / "gridmark.py"), "serve", "--data", str(self.folder / "server")]
        argv += ["--host", self.host, "--port", str(self.port), "--insecure"]
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **environment})
        until("the server answers", self._answers)

    def _answers(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return (self.folder / "server/client.json").exists()
        return False

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def join(self, name: str, *, prefix: tuple[str, ...] = ()) -> Node:
        """A further node, measured as the sample says, and its agent."""
        node = Node(name, self.folder / name, prefix=prefix)
        node.data.mkdir(exist_ok=True)
        asyncio.run(self._enrol(node))
        self.measure(node)
        self.nodes.append(node)
        self.start_agent(node)
        return node

    async def _enrol(self, node: Node) -> None:
        offer = Offer(name=node.name, price_uh=100_000, process=True)
        now_ms = time.time_ns() // 1_000_000
        kept = await enrol(self.url, self.tokens["supplier"], offer, data=node.data, names=("process",), unix_ms=now_ms)
        node.id = kept.node

    def measure(self, node: Node) -> None:
        """Hand in the sample as the node's newest report; its agent, if there is one, has to register anew."""
        asyncio.run(self._hand_in(node))

    async def _hand_in(self, node: Node) -> None:
        folder = agent_folder(node.data)
        first = identity.first_seq(folder, time.time_ns() // 1_000_000)
        remote = Remote(self.url, node=node.id, key=identity.own_key(folder), first_seq=first, verify=False)
        try:
            await remote.register(boot_id())
            await remote.post_report(gzip.compress(codec.dumps(report(node.name)).encode()))
        finally:
            await remote.close()

    def start_agent(self, node: Node, environment: Mapping[str, str] = NOTHING) -> None:
        """Begin, or begin anew; `environment` is added to this process's own."""
        argv = [*node.prefix, sys.executable, str(ROOT / "gridmark.py"), "agent", "--data", str(node.data)]
        environment = {**os.environ, "PATH": AGENT_PATH, "HOME": str(node.data), **environment}
        with (self.folder / f"{node.name}.log").open("ab") as log:
            node.process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)

    def submit(self, number: int, *, ticks: int, tick_s: float = TICK_S, retries: int = 3) -> int:
        """A job that writes a line per tick; its id. The same number again is the same job."""
        path = self.trace(number)
        command = ["/bin/sh", "-c", PROGRAM.format(ticks=ticks, path=path, tick=tick_s)]
        document = {
            "name": f"storm-{number}",
            "command": command,
            "resources": {"cpus": 0.4, "memory": "64 MB", "disk": "16 MB"},
            "retries": retries,
        }
        return int(self.client.submit(document, f"storm-{number}")["id"])

    def trace(self, number: int) -> Path:
        return self.folder / f"trace-{number}"

    def job(self, job: int) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job}")
        return found


def report(name: str) -> Report:
    """The sample as if it had just been made on a machine of this name."""
    found = codec.loads(SAMPLE.read_bytes())
    return replace(
        found,
        id=f"storm-{name}-{time.time_ns()}",
        node=replace(found.node, id=f"machine-{name}", hostname=name),
        started_unix_s=time.time() - found.lasted_s - 1,
    )


def supervisors(node: Node) -> list[int]:
    """Processes of the node's supervisors."""
    found = []
    for status in agent_folder(node.data).glob("**/status.json"):
        with contextlib.suppress(ValueError, OSError):
            told = json.loads(status.read_text())
            if told["exit_code"] is None and told["state"] not in ("exited", "timeout", "vanished"):
                found.append(int(told["supervisor"]))
    return found


@contextlib.contextmanager
def namespace(name: str, number: int) -> Iterator[tuple[str, Callable[[bool], None]]]:
    """A network namespace joined to this one by one link; yields our address there, and what cuts or mends the link.

    Needs root and iproute2.
    """
    ours, theirs = f"gm{number}a", f"gm{number}b"
    net = f"10.213.{number}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("addr", "add", f"{net}.1/24", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "addr", "add", f"{net}.2/24", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "route", "replace", "default", "via", f"{net}.1")

        def link(up: bool) -> None:
            ip("-n", name, "link", "set", theirs, "up" if up else "down")
            if up:  # it went with the link
                ip("-n", name, "route", "replace", "default", "via", f"{net}.1")

        yield f"{net}.1", link
    finally:
        # the link by itself: a namespace lives as long as any process in it
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def can_have_namespaces() -> bool:
    """Whether this user may make network namespaces here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with namespace(f"gm-trial-{os.getpid()}", 200 + os.getpid() % 50):
            return True
    except subprocess.CalledProcessError:
        return False
