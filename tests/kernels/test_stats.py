"""Order statistics against values that can be derived by hand."""

from __future__ import annotations

import random

import pytest

from kernels import stats


def test_quantile_interpolates_between_order_statistics() -> None:
    """Type 7: the 0.25 quantile of 1..4 lies three quarters of the way from 1 to 2."""
    assert stats.quantile([4, 1, 3, 2], 0.25) == 1.75
    assert stats.quantile([4, 1, 3, 2], 0.5) == 2.5
    assert stats.quantile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(("samples", "q"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_quantile_refuses_what_has_none(samples: list[float], q: float) -> None:
    """No samples or no such quantile is an error, not a zero."""
    with pytest.raises(ValueError, match="a quantile needs samples"):
        stats.quantile(samples, q)


def test_mad_is_the_median_distance_from_the_median() -> None:
    """1 1 2 2 4 6 9: median 2, distances 0 0 1 1 2 4 7, median 1."""
    assert stats.mad([1, 1, 2, 2, 4, 6, 9]) == 1


@pytest.mark.parametrize(("n", "ranks"), [(5, None), (6, (0, 5)), (10, (1, 8)), (20, (5, 14)), (100, (39, 60))])
def test_ranks_of_the_medians_interval_are_the_published_ones(n: int, ranks: tuple[int, int] | None) -> None:
    """The table of the sign test: 2 and 9 of 10, 6 and 15 of 20, 40 and 61 of 100 (counted from 1)."""
    assert stats.interval_ranks(n, 0.5) == ranks


def test_a_p99_has_no_interval_below_368_samples() -> None:
    """0.99^367 = 0.0250 leaves the upper tail too heavy; 0.99^368 does not."""
    assert stats.interval_ranks(367, 0.99) is None
    assert stats.interval_ranks(368, 0.99) == (359, 367)


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_the_interval_covers_the_true_quantile_as_often_as_it_says(q: float) -> None:
    """Of 1,000 sets of uniform numbers at least 93 % of the intervals hold the true quantile."""
    source = random.Random(7)
    held = 0
    for _ in range(1000):
        ends = stats.interval([source.random() for _ in range(200)], q)
        assert ends is not None
        held += ends[0] <= q <= ends[1]

    assert held >= 930


def test_summary_of_a_known_set() -> None:
    """1..21: median 11, interval from the 6th to the 16th, MAD 5, p5 2, p95 20."""
    found = stats.summarise(range(1, 22))

    assert (found.value, found.ci95, found.mad, found.p5, found.p95, found.n) == (11, (6, 16), 5, 2, 20, 21)


def test_a_mean_has_a_normal_interval() -> None:
    """Ten numbers 0 and ten 2: mean 1, standard deviation 1.026, half-width 1.96 x 1.026 / sqrt(20)."""
    found = stats.summarise([0.0] * 10 + [2.0] * 10, "mean")

    assert found.value == 1.0
    assert found.ci95 == pytest.approx((1 - 0.44966, 1 + 0.44966), abs=1e-4)


def test_the_stop_rules_width_is_relative() -> None:
    """The interval 6..16 around 11 is 5 either way, 45 % of the median."""
    assert stats.relative_half_width(range(1, 22)) == pytest.approx(5 / 11)
    assert stats.relative_half_width([1.0, 2.0]) is None
