"""Order statistics: what a set of samples says, without assuming any distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kernels.spec import Statistic

QUANTILE: dict[Statistic, float] = {"median": 0.5, "p95": 0.95, "p99": 0.99}
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is reported of a set of samples, in their unit."""

    value: float  #: the statistic asked for
    ci95: tuple[float, float] | None  #: its interval; None when n is too small for one
    median: float
    mad: float  #: median absolute deviation from the median
    p5: float
    p95: float
    n: int


def quantile(samples: Sequence[float], q: float) -> float:
    """The q-quantile, interpolated linearly between order statistics (Hyndman and Fan, type 7).

    Raises:
        ValueError: no samples, or q outside 0..1.
    """
    if not samples or not 0 <= q <= 1:
        raise ValueError(f"a quantile needs samples and 0 <= q <= 1, got {len(samples)} samples and q = {q}")
    return _quantile_sorted(sorted(samples), q)


def _quantile_sorted(ordered: Sequence[float], q: float) -> float:
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    if low + 1 >= len(ordered):
        return ordered[-1]
    return ordered[low] + (ordered[low + 1] - ordered[low]) * (place - low)


def mad(samples: Sequence[float]) -> float:
    """Median absolute deviation from the median, not scaled to a standard deviation."""
    centre = quantile(samples, 0.5)
    return quantile([abs(x - centre) for x in samples], 0.5)


@lru_cache(maxsize=4096)
def interval_ranks(n: int, q: float) -> tuple[int, int] | None:
    """The ranks (from 0) of the order statistics that enclose the q-quantile with at least 95 % confidence.

    The count of samples below the true quantile is binomial(n, q), whatever the distribution; each tail is given
    at most 2.5 %. None when n is too small: fewer than 6 samples say nothing of a median, fewer than 368 of a p99.

    Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1.
    """
    tail = (1 - CONFIDENCE) / 2
    lower = _binomial_rank(n, q, tail)
    upper = _binomial_rank(n, 1 - q, tail)
    if lower is None or upper is None:
        return None
    return lower, n - 1 - upper


def _binomial_rank(n: int, q: float, tail: float) -> int | None:
    """The largest rank r with P(binomial(n, q) <= r) <= tail, which is the rank (from 0) of the lower limit."""
    log_q, log_p = math.log(q), math.log1p(-q)
    total = 0.0
    for k in range(n + 1):
        log_term = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_q + (n - k) * log_p
        total += math.exp(log_term)
        if total > tail:
            return k - 1 if k >= 1 else None
    return None


def interval(samples: Sequence[float], q: float = 0.5) -> tuple[float, float] | None:
    """The 95 % confidence interval of the q-quantile from order statistics, or None when n is too small."""
    ranks = interval_ranks(len(samples), q)
    if ranks is None:
        return None
    ordered = sorted(samples)
    return ordered[ranks[0]], ordered[ranks[1]]


def mean_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean by the normal approximation; None below 10 samples."""
    n = len(samples)
    if n < 10:
        return None
    mean = math.fsum(samples) / n
    variance = math.fsum((x - mean) ** 2 for x in samples) / (n - 1)
    half = 1.96 * math.sqrt(variance / n)
    return mean - half, mean + half


def relative_half_width(samples: Sequence[float], q: float = 0.5) -> float | None:
    """Half of the interval's width over the quantile: what the stop rule compares with its tolerance."""
    ends = interval(samples, q)
    if ends is None:
        return None
    centre = quantile(samples, q)
    return (ends[1] - ends[0]) / 2 / centre if centre > 0 else None


def summarise(samples: Sequence[float], statistic: Statistic = "median") -> Summary:
    """The figures of a report from every sample, in the samples' unit.

    Raises:
        ValueError: no samples.
    """
    ordered = sorted(samples)
    if statistic == "mean":
        value, ends = math.fsum(ordered) / len(ordered), mean_interval(ordered)
    else:
        q = QUANTILE[statistic]
        value, ends = _quantile_sorted(ordered, q), interval(ordered, q)
    return Summary(
        value=value,
        ci95=ends,
        median=_quantile_sorted(ordered, 0.5),
        mad=mad(ordered),
        p5=_quantile_sorted(ordered, 0.05),
        p95=_quantile_sorted(ordered, 0.95),
        n=len(ordered),
    )
