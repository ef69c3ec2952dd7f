"""An attacker's way to the server: a node of its own, listed with whatever it says, and requests signed or not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from qualify.proof.verdict import Verdict
from qualify.proof.verify import verify_bytes
from qualify.records import Gpu, Report
from qualify.reference import Reference, load
from qualify.reference_gpu import Part
from scheduler.desk import ProvingSettings
from server.proving import Proofs
from tests.builders import exactly
from tests.redteam.bout import Bout, Reply
from tests.redteam.hardware import ARITHMETIC, MEMORIES, SCALE, Card
from tests.server.served import Agent, Served, slim

JSON = {"Content-Type": "application/json"}
#: judged within so many seconds, or something hangs
JUDGED_S = 10.0


class Contest:
    """A server whose clock attackers move; every attacker gets a node."""

    def __init__(self, served: Served, nanoseconds: list[int]) -> None:
        self.served, self._nanoseconds = served, nanoseconds
        self._left_ns = 0
        self._count = 0

    def bout(self) -> Bout:
        """An attacker with a node that was never listed."""
        self._count += 1
        self.served.seconds[0] += 60.0  # who asked how often before is not held against the next
        return Bout(Http(self, self._count), self.bout)

    def spend(self, seconds: float) -> None:
        """Let time pass: to the nanosecond for proofs, in whole milliseconds for all else."""
        self._nanoseconds[0] += round(seconds * 1e9)
        self._left_ns += round(seconds * 1e9)
        whole_ms, self._left_ns = divmod(self._left_ns, 1_000_000)
        self.served.clock.forward(whole_ms)


class Http:
    """One node's line to the server."""

    def __init__(self, contest: Contest, number: int) -> None:
        self.contest, self.served = contest, contest.served
        self.agent = Agent(contest.served, machine=f"machine-{number}", boot_id=f"boot-{number}")
        self.name = f"attacker-{number}"
        enrolled = self.agent.enrol(name=self.name)
        assert enrolled.status_code == 201, enrolled.text
        self.agent.register()

    def claim(self, card: Card, devices: int) -> None:
        self.agent.sync()
        answer = self.agent.hand_in(report(self.agent, card, devices))
        assert answer.status_code == 201, answer.text

    def call(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        if method == "GET":
            return reply(self.served.ask(method, target, "supplier"))
        return reply(self.signed(self.agent, method, target, body, headers))

    def signed(
        self,
        agent: Agent,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        **changed: Any,
    ) -> httpx.Response:
        """A request under an agent's signature; `changed` parts of the envelope are signed as they are given."""
        whole = agent.headers(method, target, body, **changed) | JSON | dict(headers or {})
        return self.served.ask(method, target, content=body, headers=whole)

    def at_once(self, method: str, target: str, times: int) -> list[Reply]:
        """The same request several times, each signed, all under way before the first is answered."""
        begun = [
            self.served.start(self.agent.calling(method, target, b"{}", type_="application/json")) for _ in range(times)
        ]
        return [reply(one.result(JUDGED_S)) for one in begun]

    def spend(self, seconds: float) -> None:
        self.contest.spend(seconds)

    def outcome(self, challenge: str) -> Mapping[str, Any]:
        until = time.monotonic() + JUDGED_S
        while True:
            answer = self.served.ask("GET", f"/v1/challenges/{challenge}", "supplier")
            assert answer.status_code == 200, answer.text
            found: Mapping[str, Any] = answer.json()
            if found["state"] != "answered":
                return found
            assert time.monotonic() < until, "nobody judges it"
            time.sleep(0.001)

    def listed(self) -> Mapping[str, Any]:
        """The node as its supplier sees it."""
        found: Mapping[str, Any] = self.served.ask("GET", f"/v1/nodes/{self.agent.node}", "supplier").json()
        return found

    def offer(self, where: str = "") -> Mapping[str, Any] | None:
        """Its offer, as a renter sees it who asks for this."""
        answer = self.served.ask("GET", "/v1/offers", "renter", params={"q": where, "limit": 200})
        assert answer.status_code == 200, answer.text
        return next((one for one in answer.json()["items"] if one["node"] == self.agent.node), None)

    def proved(self) -> Mapping[str, float]:
        figures = self.listed()["figures"]
        return {key: figure["value"] for key, figure in figures.items() if key.startswith("proved.")}


def reply(answer: httpx.Response) -> Reply:
    """An answer, whatever it holds."""
    try:
        document = answer.json() if answer.content else {}
    except json.JSONDecodeError:
        document = answer.text
    return Reply(answer.status_code, document)


def report(agent: Agent, card: Card, devices: int) -> Report:
    """What a node says of itself whose NVML says what it is told."""
    healthy = slim()
    gpus = tuple(
        Gpu(index=index, name=card.name, uuid=f"GPU-{agent.machine}-{index}", memory_bytes=card.memory_bytes)
        for index in range(devices)
    )
    figures = {
        "matmul.int8": ("OP/s", card.int8_ops_per_s),
        "matmul.bf16": ("FLOP/s", card.bf16_flops),
        "memory.read": ("B/s", card.memory_bytes_per_s),
    }
    claimed = tuple(exactly(key, unit, value) for key, (unit, value) in figures.items() if value)
    node = replace(healthy.node, id=agent.machine, device_kind="cuda", gpus=gpus, gpu_reason=None)
    return replace(agent.report(measurements=claimed), node=node)


@cache
def small_reference() -> Reference:
    """The table of what parts can do, in small as the cards are."""
    table = load()
    return replace(table, gpus=tuple(small(part) for part in table.gpus))


def small(part: Part) -> Part:
    """A row of it."""
    return replace(
        part,
        clock_hz=part.clock_hz * ARITHMETIC,
        tensor_hz=part.tensor_hz * ARITHMETIC,
        memory_bytes=int(part.memory_bytes * MEMORIES),
    )


@contextmanager
def contest(data: Path, judge: Callable[[bytes], Verdict] = verify_bytes) -> Iterator[Contest]:
    """A server for the length of a block, whose judge is in this process: a process for each would take minutes."""
    nanoseconds = [0]
    proving = ProvingSettings(on=True, scale=SCALE, cpu_scale=SCALE)
    with (
        mock.patch("scheduler.market.listing.installed_reference", small_reference),
        Served(data, proving=proving, monotonic_ns=lambda: nanoseconds[0]) as served,
    ):
        served.runtime.proofs.close()
        served.runtime.proofs = Proofs(judges=1, judge=judge)
        yield Contest(served, nanoseconds)
