"""Measures one case: warm it, batch it, sample it until its median is known well enough or its time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kernels import stats
from kernels.spec import BenchError, Case, DeviceKind, Reading, Statistic, Unit, Variant, is_figure

#: half-width at which a tail is known well enough to rank nodes by: it says "about", where a median says "is"
TAIL_TOLERANCE: dict[Statistic, float] = {"p95": 0.10, "p99": 0.25}
TAIL_SAMPLES = 1000  # a p99 has an interval from 368 samples on; 1000 put ten of them beyond it
WINDOW = 5  # batches whose median must hold still before sampling starts
TRIAL_PART = 0.3  # of what a case has left after its first calls, to find its best variant
HOPELESS = 1.5  # a variant whose best time is so much longer than the shortest median is not tried again
WARM_PART = 0.25  # of what is left then, at most


class Timer(Protocol):
    """A clock that can time calls; scripted in tests, CUDA events on a GPU."""

    def now(self) -> float:
        """Seconds of the host's monotonic clock."""
        ...

    def time(self, call: Callable[[], object], calls: int) -> float:
        """Seconds that `calls` calls in a row took, by the device's own clock."""
        ...

    def told(self, clock: Callable[[int], float], calls: int) -> float:
        """Seconds that `clock` says its `calls` calls took, for a variant that holds its own clock."""
        ...


class HostTimer:
    """The CPU's timer: perf_counter around the calls, nothing but the loop between them."""

    def now(self) -> float:
        return time.perf_counter()

    def time(self, call: Callable[[], object], calls: int) -> float:
        if calls == 1:
            start = time.perf_counter_ns()
            call()
            return (time.perf_counter_ns() - start) * 1e-9
        rounds = range(calls)
        start = time.perf_counter_ns()
        for _ in rounds:
            call()
        return (time.perf_counter_ns() - start) * 1e-9

    def told(self, clock: Callable[[int], float], calls: int) -> float:
        return clock(calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """When enough is enough."""

    tolerance: float = 0.01  #: half-width of the median's 95 % interval, relative
    warm_tolerance: float = 0.005  #: the windowed median moves less than this
    min_warm_s: float = 0.0  #: of calls before sampling, for clocks that take their time to rise
    min_samples: int = 10
    min_time_s: float = 0.3  #: of sampling, before a median may count as converged


#: a GPU is steadier than a shared host and held to four times the precision; its clocks rise within half a second
EFFORT: dict[DeviceKind, Effort] = {
    "cpu": Effort(tolerance=0.01, min_warm_s=0.05),
    "cuda": Effort(tolerance=0.0025, min_warm_s=0.5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure, ready to be reported."""

    key: str
    unit: Unit
    statistic: Statistic
    summary: stats.Summary
    samples: tuple[float, ...]  #: in `unit`, in the order taken
    converged: bool
    at: float | None = None
    axis: str = ""
    context: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Raw outcome of sampling one variant."""

    seconds: tuple[float, ...]  #: per call
    calls_per_sample: int
    stopped_by: str  #: "converged", "budget" or "samples"
    warm: bool  #: whether the windowed median held still before sampling


def measure(case: Case, timer: Timer, effort: Effort, budget_s: float) -> tuple[Figure, ...]:
    """Measure `case` within `budget_s` seconds and return its figure and the other readings of the same samples.

    The result is checked after the first call of every variant and again after the last sample; a figure is only
    built when both hold.

    Raises:
        WrongResultError: the device's answer is wrong.
        BenchError: a sample took no time at all, or the clock ran backwards.
    """
    until = timer.now() + budget_s
    checking_s = 0.0
    first_s: dict[str, float] = {}
    for variant in case.variants:
        first_s[variant.label] = _run(variant, timer, 1)
        checking_s = max(checking_s, _check(variant, timer))
    until -= checking_s  # the last check is part of the case's time
    best, trials = _choose(case, timer, first_s, timer.now() + max(0.0, until - timer.now()) * TRIAL_PART)
    found = sample(best, case, timer, effort, until)
    best.check()
    context: dict[str, object] = {
        **case.context,
        "calls_per_sample": found.calls_per_sample,
        "stopped_by": found.stopped_by,
        "warm": found.warm,
        "drift_ratio": _drift(found.seconds),
    }
    if len(case.variants) > 1:
        context |= {"variant": best.label, "variants": trials}
    if case.after is not None:
        context |= case.after(best, found.seconds, found.calls_per_sample)
    readings = (Reading(key=case.key, unit=case.unit, work=best.work, statistic=case.statistic), *case.also)
    return tuple(_figure(case, reading, found, effort, context) for reading in readings)


def _check(variant: Variant, timer: Timer) -> float:
    """Check a variant's result; the seconds that took."""
    start = timer.now()
    variant.check()
    return timer.now() - start


def sample(variant: Variant, case: Case, timer: Timer, effort: Effort, until: float) -> Sampled:
    """Warm and sample one variant until its median has converged, `until` (timer seconds) or `case.max_samples`."""
    calls = _calls_per_sample(variant, case, timer)
    warm = _warm(variant, calls, timer, effort, timer.now() + max(0.0, until - timer.now()) * WARM_PART)
    wanted = _samples_wanted(case, effort)
    seconds: list[float] = []
    start = timer.now()
    check_at = wanted
    while True:
        seconds.append(_run(variant, timer, calls) / calls)
        now = timer.now()
        if len(seconds) >= check_at and now - start >= effort.min_time_s:
            if known_well(seconds, case.statistic, effort.tolerance):
                return _sampled(seconds, calls, "converged", warm)
            check_at = len(seconds) + max(1, len(seconds) // 10)  # looking after every sample would favour luck
        if len(seconds) >= case.max_samples:
            return _sampled(seconds, calls, "samples", warm)
        if now + seconds[-1] * calls >= until:
            return _sampled(seconds, calls, "budget", warm)


def _sampled(seconds: list[float], calls: int, stopped_by: str, warm: bool) -> Sampled:
    return Sampled(seconds=tuple(seconds), calls_per_sample=calls, stopped_by=stopped_by, warm=warm)


def _samples_wanted(case: Case, effort: Effort) -> int:
    tailed = any(statistic in TAIL_TOLERANCE for statistic in (case.statistic, *(r.statistic for r in case.also)))
    return min(case.max_samples, max(effort.min_samples, TAIL_SAMPLES if tailed else 0))


def _run(variant: Variant, timer: Timer, calls: int) -> float:
    seconds = timer.told(variant.clock, calls) if variant.clock else timer.time(variant.call, calls)
    if not is_figure(seconds):
        raise BenchError(f"{calls} calls of {variant.label} took {seconds} s by the clock; its time cannot be believed")
    return seconds


def _calls_per_sample(variant: Variant, case: Case, timer: Timer) -> int:
    """How many calls make a batch of at least `case.min_sample_s`; grows until a batch is seen to last that long."""
    if case.min_sample_s <= 0:
        return 1
    calls = 1
    while True:
        seconds = _run(variant, timer, calls)
        if seconds >= case.min_sample_s:
            return calls
        calls = max(calls + 1, min(calls * 100, math.ceil(1.2 * calls * case.min_sample_s / seconds)))


def _warm(variant: Variant, calls: int, timer: Timer, effort: Effort, until: float) -> bool:
    """Run batches until the median of the last five moves less than the tolerance; False when time ran out first."""
    seconds: list[float] = []
    start = timer.now()
    while timer.now() < until:
        seconds.append(_run(variant, timer, calls))
        if len(seconds) > WINDOW and timer.now() - start >= effort.min_warm_s:
            before = stats.quantile(seconds[-WINDOW - 1 : -1], 0.5)
            after = stats.quantile(seconds[-WINDOW:], 0.5)
            if abs(after - before) < effort.warm_tolerance * before:
                return True
    return False


def known_well(samples: Sequence[float], statistic: Statistic, tolerance: float) -> bool:
    """Whether the interval's half-width is within `tolerance` of the statistic, or within a tail's own."""
    half = stats.relative_half_width(samples, stats.QUANTILE.get(statistic, 0.5))
    return half is not None and half <= TAIL_TOLERANCE.get(statistic, tolerance)


def _choose(case: Case, timer: Timer, first_s: Mapping[str, float], until: float) -> tuple[Variant, dict[str, object]]:
    """Try the variants in turn until `until`, at least once; return the best and what each gave.

    A variant that has fallen hopelessly behind is left alone, so that it does not use up the others' time.

    Args:
        first_s: what their first calls took; one that lasted a sample's time needs no calibration.
    """
    if len(case.variants) == 1:
        return case.variants[0], {}
    calls = {
        variant.label: 1 if first_s[variant.label] >= 2 * case.min_sample_s else _calls_per_sample(variant, case, timer)
        for variant in case.variants
    }
    tried: dict[str, list[float]] = {variant.label: [] for variant in case.variants}
    hopeful = list(case.variants)
    while True:
        for variant in hopeful:
            n = calls[variant.label]
            _run(variant, timer, 1)  # a library's threads spin for a while after its last call: let the others' rest
            # per unit of work: the variants of a product differ in size
            unit_s = 1 / _speed(variant, case, _run(variant, timer, n) / n)
            tried[variant.label].append(unit_s)
        shortest = min(stats.quantile(times, 0.5) for times in tried.values())
        hopeful = [variant for variant in hopeful if min(tried[variant.label]) <= HOPELESS * shortest]
        if len(hopeful) == 1 or timer.now() >= until:
            break
    best = min(hopeful, key=lambda variant: stats.quantile(tried[variant.label], 0.5))
    return best, {variant.label: _trial(case, tried[variant.label]) for variant in case.variants}


def _speed(variant: Variant, case: Case, seconds: float) -> float:
    """Larger is better, whatever the unit."""
    value = variant.work.value(case.unit, seconds)
    return 1 / value if case.unit == "s" else value


def _trial(case: Case, unit_s: Sequence[float]) -> dict[str, object]:
    values = [time_s if case.unit == "s" else 1 / time_s for time_s in unit_s]
    return {"value": stats.quantile(values, 0.5), "n": len(values), "samples": values}


def _drift(seconds: Sequence[float]) -> float | None:
    """Median of the second half over that of the first: above 1 the case became slower while it was measured."""
    half = len(seconds) // 2
    if half < WINDOW:
        return None
    return stats.quantile(seconds[half:], 0.5) / stats.quantile(seconds[:half], 0.5)


def _figure(case: Case, reading: Reading, found: Sampled, effort: Effort, context: dict[str, object]) -> Figure:
    values = tuple(reading.work.value(reading.unit, seconds) for seconds in found.seconds)
    return Figure(
        key=reading.key,
        unit=reading.unit,
        statistic=reading.statistic,
        summary=stats.summarise(values, reading.statistic),
        samples=values,
        converged=known_well(values, reading.statistic, effort.tolerance),
        at=case.at,
        axis=case.axis,
        context=context,
    )
