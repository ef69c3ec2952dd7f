"""Rules about how a figure was timed and how its samples lie."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from qualify.records import Attempt
from qualify.rule import Evidence, Hit, Rule, percent, si
from qualify.trial import Side, attempts, is_disturbed, number, rule_attempts

#: the device's clock against the host's; an idle machine agrees within 0.3 %, preemption between the two readings of a
#: 2 ms sample costs up to 1 % beside a busy neighbour (measured), so only more than that is a clock's fault
MOST_TIMER_ERROR = 0.03
#: two heaps of samples: apart by more than a tenth, both of some size, and hardly anything between them. One heap
#: (uniform: 0.75, normal: 0.64 of the variance explained by cutting it in two) never looks so
UNEVEN_GAP, UNEVEN_PART, UNEVEN_EXPLAINED, UNEVEN_SAMPLES = 0.10, 0.20, 0.90, 20


def timer_disagrees(evidence: Evidence) -> Iterator[Hit]:
    """Two clocks that timed the same work differ."""
    for key, measurement in sorted(evidence.measurements.items()):
        ruling = rule_attempts(measurement, _timer_side)
        if ruling.misses:
            yield Hit(
                text=f"the clock that timed {key} and the kernel's raw clock differ",
                evidence={
                    "ratio": [number(attempt.context, "timer_ratio") for attempt in attempts(measurement)],
                    "limit": MOST_TIMER_ERROR,
                },
                key=key,
                ruling=ruling,
            )


def _timer_side(attempt: Attempt) -> Side | None:
    ratio = number(attempt.context, "timer_ratio")
    if ratio is None or is_disturbed(attempt):
        return None
    return "misses" if abs(ratio - 1) > MOST_TIMER_ERROR else "meets"


def uneven(evidence: Evidence) -> Iterator[Hit]:
    """The samples form two heaps: the machine has two speeds."""
    for key, measurement in sorted(evidence.measurements.items()):
        heaps = two_heaps(measurement.samples) if measurement.statistic == "median" else None
        if heaps is not None:
            low, high, part = heaps
            yield Hit(
                text=f"{key} has two speeds: {si(low, measurement.unit)} and {si(high, measurement.unit)}",
                evidence={"low": low, "high": high, "part_high": part, "samples": len(measurement.samples)},
                key=key,
            )


def two_heaps(samples: Sequence[float]) -> tuple[float, float, float] | None:
    """The centres of two clearly separate heaps and the part of the samples in the upper one; None when there is one.

    The cut is where two groups explain most of the variance (Otsu, 1979).
    """
    ordered, n = sorted(samples), len(samples)
    if n < UNEVEN_SAMPLES or ordered[0] <= 0:
        return None
    total = sum(ordered)
    mean = total / n
    variance = sum((x - mean) ** 2 for x in ordered) / n
    if variance <= 0:
        return None
    best, cut, below = 0.0, 0, 0.0
    for place in range(1, n):
        below += ordered[place - 1]
        between = place / n * (1 - place / n) * (below / place - (total - below) / (n - place)) ** 2
        if between > best:
            best, cut = between, place
    low, high = statistics.median(ordered[:cut]), statistics.median(ordered[cut:])
    part = 1 - cut / n
    apart = high - low > UNEVEN_GAP * statistics.median(ordered)
    sized = UNEVEN_PART <= part <= 1 - UNEVEN_PART
    return (low, high, part) if apart and sized and best > UNEVEN_EXPLAINED * variance else None


RULES = (
    Rule(
        code="TIMER_DISAGREES",
        severity="warning",
        fires="two clocks that timed the same work differ; nothing can be said then, and the verdict is unknown",
        limit=f"{percent(MOST_TIMER_ERROR)}, 2 of 3",
        remedy="Check the clocksource, and that no one sets or slews the clock during the run.",
        find=timer_disagrees,
    ),
    Rule(
        code="UNEVEN",
        severity="info",
        fires="the samples of a figure form two heaps: the machine has two speeds",
        limit=f"{UNEVEN_SAMPLES} samples or more, centres {percent(UNEVEN_GAP)} apart, {percent(UNEVEN_PART)} of the "
        f"samples in each, and {percent(UNEVEN_EXPLAINED)} of the variance between them",
        remedy="Look for another tenant, a governor that switches, or threads that move between unlike cores.",
        find=uneven,
    ),
)
