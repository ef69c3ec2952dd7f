"""One device that plays several, by the ratio of rates."""

from __future__ import annotations

import pytest

from qualify.proof.count import count
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, Figure, Verdict


def verdict(rates: dict[int, float], key: str = INT8) -> Verdict:
    def figure(rate: float) -> Figure:
        return Figure(value=rate, low=rate, high=rate, sustained=rate, n=4, unit="OP/s")

    return Verdict(outcome="pass", why="", devices={device: {key: figure(rate)} for device, rate in rates.items()})


@pytest.mark.parametrize(("joint", "holds"), [(100.0, True), (80.0, True), (79.9, False), (50.0, False)])
def test_a_device_may_take_a_quarter_longer_beside_the_others(joint: float, holds: bool) -> None:
    """100 alone and 80 together are 1.25 times the time; one card as two takes twice."""
    found = count({0: verdict({0: 100.0}), 1: verdict({1: 100.0})}, verdict({0: 100.0, 1: joint}))

    assert found.holds is holds
    assert found.ratios == {0: 1.0, 1: pytest.approx(100 / joint)}


def test_one_as_eight_is_told_with_its_ratio() -> None:
    """Each of eight names alone has all of the card."""
    solos = {device: verdict({device: 800.0}) for device in range(8)}

    found = count(solos, verdict(dict.fromkeys(range(8), 100.0)))

    assert found.why == "device 0 takes 8.00 times as long beside the others, 1.25 at most"


def test_the_same_rate_is_compared() -> None:
    """Whichever both have; where there is none nothing is known, and nothing holds."""
    assert count({0: verdict({0: 5.0}, BF16)}, verdict({0: 5.0}, BF16)).holds
    assert not count({0: verdict({0: 5.0}, BF16)}, verdict({0: 5.0}, BANDWIDTH)).holds


def test_a_device_that_was_not_run_alone_counts_for_none() -> None:
    """Nor does one that was left out of the joint run prove anything, and an empty one least of all."""
    assert not count({0: verdict({0: 5.0})}, verdict({0: 5.0, 1: 5.0})).holds
    assert not count({0: verdict({0: 5.0})}, Verdict(outcome="cheat_proven", why="")).holds
    assert not count({0: verdict({0: 5.0})}, verdict({0: 0.0})).holds
