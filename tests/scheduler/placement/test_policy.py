"""scheduler.placement.policy and the policies: what each of them prefers, and by how much."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.clock import Now
from scheduler.placement.place import Decision, IndexPlacer
from scheduler.records import Capacity, Figure, Job, MarketNode, Resources, Work
from tests.scheduler.nodes import GB, NOW_MS, USD_UH, attempt, cpu_node, figure, figures, gpu_node, job, market


def decide(policy: str, *nodes: MarketNode, **changes: Any) -> Decision:
    """Where a policy puts a container's job."""
    placer = IndexPlacer(market(*nodes))
    return placer.place(job(image="x", policy=policy, **changes), frozenset(), Now(mono_ms=0, unix_ms=NOW_MS))


def terms(decision: Decision) -> dict[str, Any]:
    """By what it was decided."""
    told = decision.why["terms"]
    assert isinstance(told, dict)
    return told


def test_two_gpus_are_twice_as_fast_as_one() -> None:
    """Figures of a GPU node are of one GPU: 600 TFLOP/s each, so 4.32 EFLOP take two of them an hour."""
    work = Work(metric="matmul.bf16", amount=4.32e18)

    decision = decide("fastest", gpu_node(1), resources={"gpus": 2}, work=work)

    assert terms(decision)["finish_s"] == pytest.approx(3600)


def test_half_a_gpu_is_half_as_fast() -> None:
    """And costs a sixteenth of the node of eight."""
    work = Work(metric="matmul.bf16", amount=1.08e18)
    resources = {"gpu_milli": 500}

    decision = decide("finish_cheapest", gpu_node(1, shares_gpus=True), resources=resources, work=work)

    assert terms(decision) == {
        "cost_usd": pytest.approx(1.25),
        "price_usd_per_h": 1.25,
        "packing": pytest.approx(50 - 63 / 64, abs=1e-5),
    }


def test_a_job_without_gpus_gets_nothing_of_their_speed() -> None:
    """On a node measured on its GPUs nobody knows how fast its CPUs are; the known CPU node comes first."""
    work = Work(metric="matmul.bf16", amount=1e15)

    decision = decide("fastest", gpu_node(1), cpu_node(2, price_uh=50 * USD_UH), work=work)

    assert decision.node == 2
    assert decision.why["runner_up"] == {
        "node": 1,
        "terms": {"finish_s": None, "price_usd_per_h": 0.3125, "packing": pytest.approx(49, abs=1e-5)},
    }


def test_a_disk_is_not_divided_by_cpus() -> None:
    """1 TB at 1 GB/s take 1,000 s, whatever part of the CPUs the job has."""
    disk = Figure(value=1e9, low=1e9, high=1e9, n=9, at_ms=NOW_MS, unit="B/s")

    decision = decide("fastest", cpu_node(1, figures={"disk.read": disk}), work=Work(metric="disk.read", amount=1e12))

    assert terms(decision)["finish_s"] == pytest.approx(1000)


def test_work_may_be_counted_in_times() -> None:
    """A billion accesses of 100 ns each take 100 s."""
    decision = decide("fastest", cpu_node(1), work=Work(metric="memlatency.dram", amount=1e9))

    assert terms(decision)["finish_s"] == pytest.approx(100)


def test_of_a_job_that_does_not_say_how_much_capability_decides() -> None:
    """10 on ten CPUs are 1 on one, for 0.1 $/h; twice the price for three times as much is the better bargain."""
    plain, strong = cpu_node(1), cpu_node(2, price_uh=2 * USD_UH, capability={"general": 30.0})

    bargain = decide("finish_cheapest", plain, strong)
    quick = decide("fastest", plain, strong)

    assert (bargain.node, quick.node) == (2, 2)
    assert terms(bargain)["price_usd_per_h_per_capability"] == pytest.approx(0.2 / 3)
    assert terms(quick)["capability"] == pytest.approx(3)
    assert decide("cheapest", plain, strong).node == 1


def test_the_profile_that_the_job_names_decides() -> None:
    """Of all profiles the mean (4 x 9 -> 6) is better on the first node, of the one that was named the second is."""
    first = cpu_node(1, capability={"general": 4.0, "hpc-fp64": 9.0})
    second = cpu_node(2, capability={"general": 5.0, "hpc-fp64": 5.0})

    unnamed = decide("fastest", first, second)
    named = decide("fastest", first, second, where="capability.general > 1")

    assert (unnamed.node, named.node) == (1, 2)
    assert terms(unnamed)["capability"] == pytest.approx(0.6)
    assert terms(named)["capability"] == pytest.approx(0.5)


def test_a_node_that_lacks_a_named_profile_comes_last() -> None:
    """What is unknown is not better than anything known; leaving it out of the mean would favour it."""
    half = cpu_node(1, capability={"general": 90.0})
    whole = cpu_node(2, capability={"general": 1.0, "hpc-fp64": 1.0})
    where = "capability.general > 0 or capability.hpc-fp64 > 0"

    assert decide("fastest", half, whole, where=where).node == 2


ONE_OR_ALL = ({"gpus": 1}, {"gpus": 8})


def test_pack_leaves_whole_nodes_to_the_jobs_that_want_them() -> None:
    """Where jobs of eight GPUs are usual, one GPU is taken from the node of two, though it costs more."""
    small = Capacity(gpu_milli=(1000,) * 2, cpu_milli=640_000, memory_bytes=5000 * GB, disk_bytes=1000 * GB)
    index = market(gpu_node(1), gpu_node(2, capacity=small, price_uh=900 * USD_UH))
    for number in range(2):
        index.changed(
            None,
            Job(id=number, owner=1, idempotency_key=f"{number}", spec=job(image="x", resources=ONE_OR_ALL[number])),
        )
    placer = IndexPlacer(index)
    now = Now(mono_ms=0, unix_ms=NOW_MS)

    assert placer.place(job(image="x", policy="pack", resources={"gpus": 1}), frozenset(), now).node == 2
    assert placer.place(job(image="x", policy="pack", resources={"gpus": 3}), frozenset(), now).node == 1


def test_pack_keeps_jobs_without_gpus_off_nodes_that_have_some() -> None:
    """Even off the cheaper one."""
    assert decide("pack", gpu_node(1, price_uh=0), cpu_node(2)).node == 2


def test_pack_fills_what_is_already_in_use() -> None:
    """Of two equal nodes the one with a job on it."""
    index = market(cpu_node(1), cpu_node(2))
    index.changed(None, attempt(1, 2, resources=Resources(cpu_milli=5000)))

    decision = IndexPlacer(index).place(job(policy="pack"), frozenset(), Now(mono_ms=0, unix_ms=NOW_MS))

    assert decision.node == 2


def test_among_equal_prices_the_healthier_node() -> None:
    """An unknown health is no good health."""
    nodes = (cpu_node(1, health=None), cpu_node(2, health=0.8), cpu_node(3, health=0.95))

    assert decide("cheapest", *nodes).node == 3


def test_the_dear_node_may_be_the_cheap_one() -> None:
    """Three times the price, four times the speed."""
    work = Work(metric="memory.triad", amount=1e15)
    slow = cpu_node(1, figures=figures({"memory.triad": 100e9}))
    fast = cpu_node(2, price_uh=3 * USD_UH, figures={"memory.triad": figure("memory.triad", 400e9)})

    assert decide("finish_cheapest", slow, fast, work=work).node == 2
    assert decide("cheapest", slow, fast, work=work).node == 1
