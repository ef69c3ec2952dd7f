"""Reasons and demand in words and numbers, from what placement itself says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.lifecycle import Standing
from scheduler.placement.filters import FilterName
from scheduler.records import JobSpec, Resources
from server.web import figures, reasons
from server.web.demand import Market as Snapshot
from server.web.worth import Demand
from tests.server.web.market import HOUR_MS, NOW_MS, cpu_node, gpu_node


def spec(**values: object) -> JobSpec:
    return JobSpec(name="j", command=("true",), **values)  # type: ignore[arg-type]


def test_a_reason_is_told_in_words() -> None:
    """Numbers keep their unit, nodes get their name, what is not known is shown as it is."""
    why = {
        "policy": "finish_cheapest",
        "terms": {"cost_usd": 1.25, "price_usd_per_h": 4.0},
        "candidates": 3,
        "nodes": 8,
        "rejected": {"offline": 1, "of tomorrow": 2},
        "runner_up": {"node": 2, "terms": {"cost_usd": None}},
        "avoided": 1,
        "of_tomorrow": ["a", 1],
    }

    assert reasons.told(why, lambda node: f"n{node}") == [
        ("Policy", "finish cheapest"),
        ("Ranked by", "cost 1.25 $, price 4 $/h"),
        ("Candidates", "3 of 8 nodes"),
        ("Left out", "cannot be reached: 1; of tomorrow: 2"),
        ("Runner up", "n2 (cost – $)"),
        ("Avoided", "1 node where it was lost or crashed before"),
        ("Of tomorrow", "a, 1"),
    ]


def test_every_filter_of_placement_has_its_words() -> None:
    """A new one is not forgotten here."""
    assert set(reasons._IN_THE_WAY) == set(FilterName.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asks", "fits"),
    [
        (spec(resources=Resources(gpus=8)), True),
        (spec(resources=Resources(gpus=9)), False),
        (spec(max_price_uh=1), False),
        (spec(region="eu-north", where="count >= 8"), True),
        (spec(region="mars"), False),
        (spec(where='state = "ready" and online = true'), True),
        (spec(where="matmul.fp8 > 1 PFLOP/s"), False),
        (spec(where="no such language"), False),
        (spec(image="docker.io/library/busybox"), True),
    ],
)
def test_demand_is_what_placement_would_take(asks: JobSpec, fits: bool) -> None:
    """Asked as if the node were well: it is offline, quarantined, draining and was measured a month ago."""
    broken = gpu_node(
        1, "n1", 1, standing=Standing.QUARANTINED, online=False, draining=True, reported_ms=NOW_MS - 720 * HOUR_MS
    )

    assert bool(Snapshot((broken,), (asks,)).demand(broken, NOW_MS)) == fits


def test_a_job_pays_its_largest_share() -> None:
    """Four of sixteen CPUs and an eighth of the memory: a quarter of 0.40 $/h."""
    node = replace(cpu_node(1, "n1", 1), online=False)
    asks = Resources(cpu_milli=4000, memory_bytes=node.capacity.memory_bytes // 8)

    assert Snapshot((node,), (spec(resources=asks),)).demand(node, NOW_MS) == (Demand(asks, 100_000),)


def test_a_table_shows_what_was_asked_for_and_what_is_usual() -> None:
    """Three columns at least, five at most, none that no node has unless it was asked for."""
    known = [{"matmul.bf16", "disk.read"}, {"memory.triad"}]

    assert figures.columns((), known) == ("matmul.bf16", "memory.triad", "disk.read")
    assert figures.columns(("network.rtt",), known) == ("network.rtt", "matmul.bf16", "memory.triad")
    asked = tuple(f"memory.{letter}" for letter in "abcdefg")
    assert figures.columns(asked, known) == asked[:5]
