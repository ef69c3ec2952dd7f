"""What `gridmark up` says of its node: whether it takes jobs, and each time that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler.lifecycle import Standing
from scheduler.records import Capacity, MarketNode
from server import cli_serve, own_node
from server.own_node import NodeThread, Ready, Wishes, Words
from server.runtime import Runtime

BUSY = "measured while the machine was busy: others kept 2 CPUs busy: make"
NODE = MarketNode(
    id=1,
    name="here",
    supplier=1,
    public_key="a" * 64,
    machine="m",
    online=True,
    standing=Standing.QUARANTINED,
    why=BUSY,
    model="a CPU",
    capacity=Capacity(cpu_milli=2000, memory_bytes=1 << 30, disk_bytes=1 << 30),
    price_uh=0,
    executors=("process",),
    shares_gpus=True,
    report_id="r1",
    enrolled_ms=0,
)
WORKS = replace(NODE, standing=Standing.READY, why="", report_id="r3")


class Looks:
    """The book's nodes: another row at each look, until there is nothing more to see."""

    def __init__(self, rows: Sequence[MarketNode]) -> None:
        self._rows = iter(rows)

    def __getitem__(self, key: int) -> MarketNode:
        row = next(self._rows, None)
        if row is None:
            raise asyncio.CancelledError
        return row


def told(rows: Sequence[MarketNode], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What is said while the node goes through these."""
    monkeypatch.setattr(own_node, "STANDING_LOOK_S", 0)
    said: list[Any] = []
    runtime = cast("Runtime", SimpleNamespace(book=SimpleNamespace(nodes=Looks(rows)), stopping=False))
    words = Words(say=said.append, ready=said.append, standing=said.append)
    wishes = Wishes(data=tmp_path, port=0, price_uh=0, name="here")
    node = NodeThread(runtime, wishes, {}, words, tokens={"renter": "t"}, report=None)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(node._announce("http://x", 1))
    return said


def test_a_node_is_followed_until_it_takes_jobs_and_from_then_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each report that finds it busy again is told, then that it takes jobs, once; and when it takes none any more."""
    again = replace(NODE, report_id="r2")
    gone = replace(WORKS, standing=Standing.QUARANTINED, why="it lost 3 different jobs")

    said = told([NODE, NODE, again, again, WORKS, replace(WORKS, report_id="r4"), gone, gone], monkeypatch, tmp_path)

    assert said == [Ready(url="http://x", tokens={"renter": "t"}, node=NODE), again, WORKS, gone]


def test_a_busy_machine_is_told_in_two_sentences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why it takes no jobs, and when it is looked at again; later that it takes them."""
    monkeypatch.setattr(cli_serve, "time", SimpleNamespace(time_ns=lambda: 60_000 * 10**6))
    cli_serve._announce(
        Ready(url="http://x", tokens={"renter": "t"}, node=replace(NODE, due_ms=240_000)), "g", as_json=False
    )
    cli_serve._tell_standing(WORKS)

    lines = capsys.readouterr().err.replace("gridmark: ", "").splitlines()
    assert lines[1:3] == [
        f"node 1 takes no jobs: {BUSY}; `gridmark node 1` says more",
        "it is measured again in 3 min, or as soon as `gridmark due --within 1d --run` asks for it",
    ]
    assert lines[-1] == "node 1 takes jobs now"
