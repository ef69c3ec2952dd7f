"""scheduler.simulate.replay, churn and market: the published set-up, and what policies make of it."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from scheduler.simulate import generate
from scheduler.simulate.churn import churn
from scheduler.simulate.market import Market, Workload
from scheduler.simulate.replay import arrivals, replay
from scheduler.simulate.trace import TraceError, TraceNode, TracePod

PAIR = TraceNode(name="n", cpu_milli=10_000, memory_mib=100, gpus=2, model="M")
WHOLE = TracePod(name="whole", cpu_milli=1000, memory_mib=1, gpus=1, each_milli=1000, lasts_s=100)


def workload(*, nodes: int = 60, insisting: float = 0.0, policy: str = "pack", known: bool = True) -> Workload:
    """A made-up one."""
    draw = random.Random(5)
    found = generate.nodes(nodes, draw)
    return Workload(nodes=found, pods=generate.pods(found, draw, insisting=insisting), policy=policy, known=known)


def test_jobs_come_until_130_per_cent_are_asked_for() -> None:
    """Each once, then again; the first that would be too much is the end."""
    pods = [replace(WHOLE, name=f"p{n}") for n in range(10)]

    coming = list(arrivals(pods, 10_000, random.Random(1)))

    assert len(coming) == 13
    assert {pod.name for pod in coming[:10]} == {pod.name for pod in pods}
    assert [pod.name for pod in coming[:10]] != [pod.name for pod in pods]


def test_what_is_allocated_is_told_by_what_was_asked_for() -> None:
    """Ten GPUs, ten jobs that fit: 10 per cent more with each, and no more after the tenth."""
    nodes = [replace(PAIR, name=f"n{n}") for n in range(5)]
    clock = itertools.count(0.0)
    found = replay(Workload(nodes=nodes, pods=[WHOLE], policy="pack"), 42, lambda: next(clock))

    assert found.allocated_percent == {100: 100.0, 130: 100.0}
    assert (found.seed, found.arrivals, found.placements, found.seconds) == (42, 13, 10, 1.0)
    assert [found.curve[percent] for percent in (0, 1, 10, 11, 99, 100, 130)] == [10, 10, 10, 20, 100, 100, 100]


def test_what_fits_nowhere_is_turned_away_and_not_tried_again() -> None:
    """The second job of six CPUs finds four left, though one GPU is free."""
    pod = replace(WHOLE, cpu_milli=6000)

    found = replay(Workload(nodes=[PAIR], pods=[pod], policy="pack"), 1, lambda: 0.0)

    assert found.allocated_percent == {100: 50.0, 130: 50.0}
    assert (found.arrivals, found.placements) == (2, 1)


def test_a_pod_goes_to_a_model_it_insists_on() -> None:
    """And to no other, were it the only free one."""
    market = Market(
        Workload(
            nodes=[PAIR, replace(PAIR, name="m", model="V100 'x'")],
            pods=[replace(WHOLE, models=("V100 'x'", "none of these"))],
            policy="pack",
        ),
        random.Random(1),
    )
    pod = replace(WHOLE, models=("V100 'x'", "none of these"))

    placed = [market.place(pod) for _ in range(3)]

    assert placed[2] is None
    assert placed[0] is not None
    assert placed[1] is not None
    assert placed[0].node == placed[1].node
    assert {placed[0].gpus, placed[1].gpus} == {(0,), (1,)}


def test_the_same_seed_gives_the_same_replay_and_another_one_another() -> None:
    """Chance has no part in it but by the seed."""
    found = [replay(workload(), seed, lambda: 0.0) for seed in (42, 42, 43)]

    assert found[0] == found[1]
    assert found[0].curve != found[2].curve


def test_packing_leaves_little_unallocated() -> None:
    """On 60 nodes, nine tenths at least; hardly less where the mix has to be learnt."""
    pack = replay(workload(insisting=0.1), 42, lambda: 0.0)
    learnt = replay(workload(insisting=0.1, known=False), 42, lambda: 0.0)

    assert pack.allocated_percent[130] >= 90
    assert learnt.allocated_percent[130] >= 89
    assert pack.allocated_percent[100] <= pack.allocated_percent[130] <= 100


def test_with_departures_the_load_stays() -> None:
    """Of whole GPUs with CPUs for all, nearly all are held under 130 %, somewhat fewer under 100 %."""
    nodes = [replace(PAIR, name=f"n{n}") for n in range(50)]
    pods = [replace(WHOLE, name=f"p{n:03}", lasts_s=50 + n) for n in range(200)]

    found = churn(Workload(nodes=nodes, pods=pods, policy="pack"), 42, lambda: 0.0)

    assert 85 <= found.allocated_percent[100] <= found.allocated_percent[130] <= 100
    assert found.allocated_percent[130] >= 95
    assert found.arrivals == 2 * 200 + 100 + 130
    assert found.placements < found.arrivals


def test_who_does_not_say_how_long_it_lasts_cannot_depart() -> None:
    """Said before anything is replayed."""
    with pytest.raises(TraceError, match="1 of 2 pods lack creation_time or deletion_time"):
        churn(Workload(nodes=[PAIR], pods=[WHOLE, replace(WHOLE, lasts_s=None)], policy="pack"), 1, lambda: 0.0)
