"""One device that plays two is found by the check that has each of them work alone and both together."""

from __future__ import annotations

import pytest

from qualify.proof.verdict import INT8, Figure, Verdict
from scheduler.proofs.count import too_few
from scheduler.records import Capacity, MarketNode


def node(gpus: int) -> MarketNode:
    """With so many GPUs."""
    capacity = Capacity(gpu_milli=(1000,) * gpus)
    return MarketNode(id=1, name="n", supplier=1, public_key="", machine="m", device_kind="cuda", capacity=capacity)


def ran(**rates: float) -> Verdict:
    """A run of devices d0, d1 … at these rates."""
    figures = {
        int(name[1:]): {INT8: Figure(value=rate, low=rate, high=rate, sustained=rate, n=5, unit="OP/s")}
        for name, rate in rates.items()
    }
    whole = {} if len(figures) == 1 else {INT8: next(iter(figures.values()))[INT8]}
    return Verdict(outcome="pass", why="", figures=whole, devices=figures)


@pytest.mark.parametrize(
    ("verdicts", "found"),
    [
        ([ran(d0=100), ran(d1=100), ran(d0=95, d1=81)], ""),
        ([ran(d0=100), ran(d1=100), ran(d0=50, d1=50)], "takes 2.00 times as long"),
        ([ran(d0=100), ran(d0=95, d1=90)], "has no rate both alone and beside the others"),
        ([ran(d0=100), ran(d1=100)], ""),
        ([ran(d0=95, d1=90)], ""),
    ],
    ids=["two", "one as two", "one was never alone", "not together yet", "a light check"],
)
def test_devices_are_counted_by_what_they_do_alone_and_together(verdicts: list[Verdict], found: str) -> None:
    """A quarter slower beside the other is allowed."""
    why = too_few(node(2), verdicts)

    assert (found in why) if found else (why == "")


def test_a_single_device_is_not_compared_with_itself() -> None:
    """Nor a CPU."""
    assert too_few(node(1), [ran(d0=100), ran(d0=10)]) == ""
    assert too_few(node(0), [ran(d0=100), ran(d0=10)]) == ""
