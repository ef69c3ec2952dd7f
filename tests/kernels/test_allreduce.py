"""The all-reduce benchmark: what it asks for, by profile, ranks, memory and keys wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernels.benches import allreduce
from kernels.device import Device
from kernels.spec import Case, Setting
from kernels.timing import EFFORT, HostTimer, measure

MIB = 1 << 20


def setting(*, threads: int = 2, only: frozenset[str] = frozenset(), memory_bytes: int | None = None) -> Setting:
    device = Device(
        kind="cpu", index=0, name="test", cpus=tuple(range(threads)), threads=threads, memory_bytes=memory_bytes
    )
    return Setting(device=device, profile="quick", budget_s=5.0, seed=3, only=only)


def test_bus_bytes_are_those_of_a_ring() -> None:
    """2(n-1)/n: every byte once over the link of two ranks, one and a half times with four."""
    assert allreduce.bus_bytes(1000, 2) == 1000
    assert allreduce.bus_bytes(1000, 4) == 1500


@pytest.mark.parametrize(("threads", "ranks"), [(1, 2), (2, 2), (6, 6), (192, allreduce.MAX_RANKS)])
def test_one_rank_per_thread_but_two_at_least(threads: int, ranks: int) -> None:
    """One rank has no link; hundreds would spend the time connecting."""
    assert allreduce.rank_count(setting(threads=threads)) == ranks


def test_messages_that_do_not_fit_are_left_out() -> None:
    """A quarter of 64 MiB over two ranks leaves 8 MiB each."""
    assert allreduce.sizes(setting(memory_bytes=64 * MIB))[-1] == 8 * MIB


def test_with_two_ranks_the_pair_is_read_off_the_headline() -> None:
    """No time is spent on measuring the same twice."""
    cases = allreduce.plan(setting())

    assert [reading.key for reading in cases[-1][3]] == ["allreduce.busbw", "allreduce.algbw", "allreduce.pair"]
    assert {case[1] for case in cases} == {2}


def test_with_more_ranks_two_of_them_are_measured_alone() -> None:
    """busbw over six ranks carries 10/6 of the message, the pair's exactly one."""
    *_, headline, pair = allreduce.plan(setting(threads=6))

    assert headline[3][0].work.bytes == round(64 * MIB * 10 / 6)
    assert (pair[1], pair[2], pair[3][0].work.bytes) == (2, 64 * MIB, 64 * MIB)


def test_only_what_is_wanted_is_planned() -> None:
    """A single key has only its own case, and the shares are of that alone."""
    wanted = setting(only=frozenset({"allreduce.latency"}))

    assert [(size, [r.key for r in readings]) for _, _, size, readings in allreduce.plan(wanted)] == [
        (8, ["allreduce.latency"])
    ]
    assert allreduce.shares(wanted) == 1.0


@pytest.mark.parametrize("profile", ["quick", "standard", "deep"])
def test_sizes_rise_from_8_bytes_to_64_mib(profile: str) -> None:
    """The headline of a series is its largest size: it must be last, and whole floats."""
    sizes = allreduce.SIZES[profile]  # type: ignore[index]

    assert (sizes[0], sizes[-1]) == (8, 64 * MIB)
    assert list(sizes) == sorted(set(sizes))
    assert all(size % 4 == 0 for size in sizes)


def test_the_figures_come_out_of_real_ranks() -> None:
    """Latency, sweep and pair on two ranks, checked, each with its size and unit."""
    wanted = replace(setting(memory_bytes=1 << 30), only=frozenset({"allreduce.latency", "allreduce.pair"}))
    effort = replace(EFFORT["cpu"], min_time_s=0.01, min_samples=3)
    figures = {}
    for step in allreduce.on_cpu(wanted):
        assert isinstance(step, Case)
        figures.update({figure.key: figure for figure in measure(step, HostTimer(), effort, 0.2)})

    assert set(figures) == {"allreduce.latency", "allreduce.pair"}
    assert figures["allreduce.latency"].unit == "s"
    assert figures["allreduce.latency"].at is None
    assert 1e-6 < figures["allreduce.latency"].summary.value < 1
    assert figures["allreduce.pair"].at == 64 * MIB
    assert figures["allreduce.pair"].context["backend"] == "gloo"
    assert 1e6 < figures["allreduce.pair"].summary.value < 1e12
