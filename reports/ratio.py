"""How much better one figure is than another, and how certain that is."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import pairwise

from qualify.records import Measurement

#: samples below which their dependence cannot be told
LEAST_FOR_DEPENDENCE = 20


def lower_is_better(unit: str) -> bool:
    """Whether a smaller figure of this unit is the better one: times, and ratios such as loss."""
    return unit in ("s", "ratio")


def ratio(first: Measurement, second: Measurement) -> tuple[float | None, tuple[float, float] | None]:
    """How much better the second figure is, and the 95 % interval of that ratio.

    The ends of the two intervals are combined in the logarithm, each side with the arm that faces it, so that a
    skewed interval stays skewed; each is first widened by what its samples have in common. None where a figure is
    not positive: it has no ratio.

    Source: A. Donner and G. Y. Zou, Closed-form confidence intervals for functions of the normal mean and standard
    deviation, Statistical Methods in Medical Research 21 (2012), section 2 (MOVER).
    """
    upper, lower = (first, second) if lower_is_better(first.unit) else (second, first)
    if not upper.value or not lower.value or upper.value < 0 or lower.value < 0:
        return None, None
    centre = math.log(upper.value) - math.log(lower.value)
    quotient = min(upper.value / lower.value, sys.float_info.max)
    above, below = _arms(upper), _arms(lower)
    if above is None or below is None:
        return quotient, None
    low = centre - math.hypot(above[0], below[1])
    high = centre + math.hypot(above[1], below[0])
    return quotient, (_exp(low), _exp(high))


def _exp(power: float) -> float:
    return math.exp(min(700.0, power))


def _arms(one: Measurement) -> tuple[float, float] | None:
    """How far an interval reaches below and above its figure, in the logarithm; None where there is none."""
    if one.ci95 is None or one.value is None or one.value <= 0 or one.ci95[0] <= 0:
        return None
    here, wider = math.log(one.value), dependence(one.samples, one.value)
    low, high = here - math.log(one.ci95[0]), math.log(max(one.ci95[1], one.value)) - here
    return max(0.0, low) * wider, high * wider


def dependence(samples: Sequence[float], value: float) -> float:
    """The factor by which an interval grows because samples in a row resemble each other; 1 where they do not.

    A report's interval takes samples as independent. On a machine that is fast for a second and slow for the next
    they are not: n of them are worth n (1 - r) / (1 + r), where r is the correlation of neighbours. What decides
    about a quantile is whether a sample lies above it, so r is that of the signs. Limited to 10 (r = 0.98).

    Source: for AR(1) series, C. J. Geyer, Practical Markov chain Monte Carlo, Statistical Science 7 (1992).
    """
    above = [sample > value for sample in samples]
    part = sum(above) / len(above) if above else 0.0
    if len(above) < LEAST_FOR_DEPENDENCE or part in (0.0, 1.0):
        return 1.0
    together = sum((a - part) * (b - part) for a, b in pairwise(above)) / (len(above) - 1)
    r = min(0.98, max(0.0, together / (part * (1 - part))))
    return math.sqrt((1 + r) / (1 - r))
