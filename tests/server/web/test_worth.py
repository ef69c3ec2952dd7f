"""What mending would be worth: sums that can be done by hand, and silence where nothing is known."""

from __future__ import annotations

from typing import Any

from scheduler.lifecycle import Standing
from scheduler.records import Capacity, MarketNode, Resources
from server.web.worth import Demand, silence, take, worth

GIB = 1 << 30
ROOM = Capacity(gpu_milli=(1000, 1000), cpu_milli=8000, memory_bytes=32 * GIB, disk_bytes=64 * GIB)


def node(number: int = 1, **values: Any) -> MarketNode:
    usual: dict[str, Any] = {
        "standing": Standing.READY, "online": True, "device_kind": "cuda", "model": "H100 SXM", "capacity": ROOM,
        "price_uh": 2_000_000, "reported_ms": 5,
    }  # fmt: skip
    return MarketNode(id=number, name=f"n{number}", supplier=1, public_key="", machine="", **{**usual, **values})


def test_a_healthy_node_with_expected_figures_has_nothing_to_mend() -> None:
    """3 % below is within what a measurement may differ."""
    found = worth(
        node(), takes_jobs=True, demand=(), nodes=[node(2)], ratios={"memory.triad": 0.97, "launch.sync": 1.2}
    )

    assert found == []
    assert "nothing is to be mended" in silence(node(), takes_jobs=True)


def test_waiting_jobs_are_counted_until_the_node_is_full() -> None:
    """Of two GPUs one goes to each of the first two; the third would have fitted alone."""
    demand = [
        Demand(Resources(gpus=1), 1_000_000),
        Demand(Resources(gpus=1), 900_000),
        Demand(Resources(gpus=2), 2_000_000),
    ]

    found = worth(node(online=False), takes_jobs=False, demand=demand, nodes=[], ratios={})

    assert [one.figure for one in found] == ["$1.90/h"]
    assert "2 waiting jobs" in found[0].text
    assert "(3 would fit one by one)" in found[0].text


def test_a_node_that_takes_jobs_gains_nothing_from_those_that_wait() -> None:
    """They wait for another reason."""
    assert worth(node(), takes_jobs=True, demand=[Demand(Resources(gpus=1), 1)], nodes=[], ratios={}) == []


def test_peers_are_nodes_of_the_same_model_and_size_that_take_jobs() -> None:
    """Of 1, 2, 3 and 9 $/h the last is twice as large and the first is offline: 2.50 in the middle."""
    twice = Capacity(gpu_milli=(1000,) * 4, cpu_milli=8000)
    others = [
        node(1, price_uh=77), node(2, price_uh=1_000_000, online=False), node(3, price_uh=2_000_000),
        node(4, price_uh=3_000_000), node(5, price_uh=9_000_000, capacity=twice), node(6, price_uh=5, model="A100"),
    ]  # fmt: skip

    found = worth(node(standing=Standing.QUARANTINED), takes_jobs=False, demand=(), nodes=others, ratios={})

    assert [one.figure for one in found] == ["$2.50/h"]
    assert "2 nodes of the same model" in found[0].text


def test_a_slow_figure_costs_what_the_rank_takes_off() -> None:
    """At 80 % a job takes 1.25 times as long: 2.00 $/h count like 2.50, so 0.50 are lost."""
    found = worth(node(), takes_jobs=True, demand=(), nodes=[], ratios={"memory.triad": 0.8})

    assert [one.figure for one in found] == ["up to $0.500/h"]
    assert "80 % of what its kind can do" in found[0].text
    assert "$2.50/h as now at $2.00/h" in found[0].text


def test_the_slowest_figures_come_first_and_broken_ones_are_left_out() -> None:
    """Three at most; a hundredth of what is expected is no question of price."""
    ratios = {"a.a": 0.9, "b.b": 0.5, "c.c": 0.8, "d.d": 0.7, "e.e": 0.01}

    found = worth(node(), takes_jobs=True, demand=(), nodes=[], ratios=ratios)

    assert [one.text.split(",")[0] for one in found] == ["by b.b", "by d.d", "by c.c"]


def test_nothing_is_said_of_a_node_that_was_never_measured() -> None:
    """What it could take follows from figures it does not have."""
    new = node(standing=Standing.NEW, reported_ms=None, price_uh=0)

    assert worth(new, takes_jobs=False, demand=(), nodes=[], ratios={}) == []
    assert "before it is measured" in silence(new, takes_jobs=False)


def test_shares_fill_a_gpu_that_is_already_shared() -> None:
    """So that a whole one stays whole."""
    left = take(ROOM, Resources(gpu_milli=300))
    assert left is not None
    assert left.gpu_milli == (700, 1000)

    left = take(left, Resources(gpu_milli=600))
    assert left is not None
    assert left.gpu_milli == (100, 1000)
    assert take(left, Resources(gpus=2)) is None
    assert take(left, Resources(cpu_milli=9000)) is None
