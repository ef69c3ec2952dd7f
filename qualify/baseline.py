"""What a node's own past leads us to expect of a figure, and how far below it is too far."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels import stats
from qualify import steadiness
from qualify.records import Attempt, Measurement, Node, Report
from qualify.steadiness import Steadiness
from qualify.trial import Side, is_disturbed, number

#: below this many comparable figures a median is not worth comparing with
LEAST_FIGURES = 3
#: the newest ones used: long enough for a steady median, short enough to forget another season
MOST_FIGURES = 20

#: how many figures the expected spread is worth
PRIOR_WEIGHT = 20.0
#: limits of a steady figure in spreads
SPREADS = 2.6
#: a figure is restless when its spread is this many times what is expected of a steady one, which chance makes of five
#: figures once in 1500 cases (chi-squared); nothing is expected of it then but what it has shown itself
RESTLESS = 2.2
#: or when the samples within its runs scatter by this many times; medians of a hundred such repeat far better
RESTLESS_SCATTER = 4.0
#: limits of a restless figure in spreads, by the number of earlier figures less one: the 99.9 % quantile of Student's t
STUDENT = {
    2: 22.3,
    3: 10.2,
    4: 7.17,
    5: 5.89,
    6: 5.21,
    7: 4.79,
    8: 4.50,
    9: 4.30,
    11: 4.02,
    13: 3.85,
    16: 3.69,
    19: 3.58,
}
#: an attempt meets a limit clearly when it is this many spreads above it; closer ones are measured again
CLEAR_SPREADS = 1.5
#: samples of a run before their scatter says anything
LEAST_SCATTERED = 8
#: figures from which on the spread is estimated so that half of them may be outliers
ROBUST_FROM = 10
#: and from which on one of them may be
OUTLIER_FROM = 5
MAD_TO_SPREAD = 1.4826
#: versions that change what a figure measures; the kernel is the node's own and is not one of them
TOOLS = {"matmul": ("torch", "numpy"), "allreduce": ("torch",), "network": ("libiperf",)}
TOOLS_OF_ALL = ("numba",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the past says of a figure, in the logarithm of its goodness."""

    unit: str
    centre: float  #: median of the log goodness
    spread: float  #: to expect between two runs, relative
    drop: float  #: relative drop that is a finding
    n: int
    how: Steadiness

    def side(self, attempt: Attempt) -> Side | None:
        """What an attempt says of the limit; nothing when it was disturbed or cannot be compared."""
        found = self.change(attempt)
        if found is None or is_disturbed(attempt):
            return None
        if found < -self.drop:
            return "misses"
        return "meets" if found >= -self.drop + CLEAR_SPREADS * self.spread else "barely"

    def change(self, attempt: Attempt) -> float | None:
        """Relative change against the past: -0.05 is a loss of 5 %."""
        seen = goodness(attempt, unit=self.unit, how=self.how)
        return None if seen is None else math.expm1(seen - self.centre)


def goodness(attempt: Attempt | Measurement, *, unit: str, how: Steadiness) -> float | None:
    """Logarithm of the figure, turned so that more is better, per cycle and by its best sample where that is asked for.

    None when there is no figure, or no clock to divide by, or no better and worse (a ratio).
    """
    if attempt.value is None or attempt.value <= 0 or unit == "ratio":
        return None
    clock_hz = number(attempt.context, "clock_hz") if how.per_clock else 1.0
    if not clock_hz:
        return None
    good = _undisturbed(attempt, unit) if how.by_best else _log(attempt.value, unit)
    return good - math.log(clock_hz)


def _log(value: float, unit: str) -> float:
    return math.log(value) if unit != "s" else -math.log(value)


def _undisturbed(attempt: Attempt | Measurement, unit: str) -> float:
    """Log goodness of the best sample: what the core does while nobody disturbs it.

    Whatever shares a core or its caches can only slow it down, now and then, so the best sample repeats where the
    median drifts; a core that has become slower is slower in all of them.

    Source: J. Chen and J. Revels, Robust benchmarking in noisy environments, arXiv:1608.04295.
    """
    samples = attempt.samples or (attempt.value or math.nan,)
    return _log(max(samples) if unit != "s" else min(samples), unit)


def baseline(node: Node, measurement: Measurement, history: Sequence[Report]) -> Baseline | None:
    """What this node's earlier reports lead to expect of `measurement`, by the finest comparison that can be made."""
    return next(iter(baselines(node, measurement, history)), None)


def baselines(node: Node, measurement: Measurement, history: Sequence[Report]) -> tuple[Baseline, ...]:
    """One for each way to compare it, the finest first; without those that have fewer than three comparable figures.

    Compared are logarithms, so that a limit is a part of the figure whatever its size.
    """
    past = _newest(node, measurement, history)
    found = (_baseline(measurement, past, how) for how in steadiness.of(node, measurement.key))
    return tuple(one for one in found if one is not None)


def _baseline(measurement: Measurement, past: Sequence[Measurement], how: Steadiness) -> Baseline | None:
    figures = [seen for m in past if (seen := goodness(m, unit=measurement.unit, how=how)) is not None]
    if len(figures) < LEAST_FIGURES:
        return None
    # the best sample does not care how the rest scatter
    spread, spreads = _spread(figures, how, 0.0 if how.by_best else _scatter(past))
    return Baseline(
        unit=measurement.unit,
        centre=statistics.median(figures),
        spread=spread,
        drop=min(max(how.drop, spreads * spread), how.most),
        n=len(figures),
        how=how,
    )


def _spread(figures: Sequence[float], how: Steadiness, scatter: float) -> tuple[float, float]:
    """The spread between runs, and how many of it make a limit.

    That of a steady figure is drawn towards what is expected; a restless one, by its past or by the scatter within its
    runs, has only its own, which few figures tell badly.
    """
    n, prior = len(figures), how.prior
    own = _own_spread(figures, one_outlier=how.one_outlier)
    if own <= RESTLESS * prior and scatter <= RESTLESS_SCATTER * prior:
        return math.sqrt((PRIOR_WEIGHT * prior**2 + (n - 1) * own**2) / (PRIOR_WEIGHT + n - 1)), SPREADS
    quantile = next(STUDENT[freedom] for freedom in sorted(STUDENT, reverse=True) if freedom <= n - 1)
    return max(own, scatter / 2), quantile * math.sqrt(1 + math.pi / 2 / n)


def _own_spread(figures: Sequence[float], *, one_outlier: bool) -> float:
    """Between the runs there were; where one of them may be an outlier the rest must not be called restless for it."""
    n = len(figures)
    if n >= ROBUST_FROM:
        return stats.mad(figures) * MAD_TO_SPREAD * n / (n - 0.8)
    if one_outlier and n >= OUTLIER_FROM:
        centre = statistics.median(figures)
        return statistics.stdev(sorted(figures, key=lambda figure: abs(figure - centre))[:-1])
    return statistics.stdev(figures)


def _scatter(measurements: Sequence[Measurement]) -> float:
    """How much the samples of a run scatter, typically: a restless machine shows it within each run."""
    known = [
        m.mad / abs(m.value) * MAD_TO_SPREAD
        for m in measurements
        if m.mad is not None and m.value and m.n >= LEAST_SCATTERED
    ]
    return statistics.median(known) if known else 0.0


def _newest(node: Node, measurement: Measurement, history: Sequence[Report]) -> list[Measurement]:
    """Comparable figures, newest first; of the same variant where there are enough of them."""
    every = list(_comparable(node, measurement, history))
    variant = measurement.context.get("variant")
    same = [m for m in every if m.context.get("variant") == variant]
    return (same if len(same) >= LEAST_FIGURES else every)[:MOST_FIGURES]


def _comparable(node: Node, measurement: Measurement, history: Sequence[Report]) -> Iterator[Measurement]:
    """Figures of complete reports of the same hardware, tools and method, not disturbed and not found low themselves.

    A figure that was already found low must not become what is expected, or a fault would be forgiven in time.
    """
    for report in history:
        if report.partial or not _same_machine(node, report.node, measurement.key):
            continue
        low = {finding.key for finding in report.findings if finding.code == "BELOW_HISTORY"}
        for earlier in report.measurements:
            if (
                earlier.key == measurement.key
                and earlier.key not in low
                and _same_method(earlier, measurement)
                and not is_disturbed(earlier)
            ):
                yield earlier


def _same_machine(node: Node, earlier: Node, key: str) -> bool:
    bench = key.partition(".")[0]
    tools = (*TOOLS_OF_ALL, *TOOLS.get(bench, ()))
    same_disk = bench != "disk" or _disk(node) == _disk(earlier)
    same_gpus = node.device_kind != "cuda" or _gpus(node) == _gpus(earlier)
    return (
        same_disk
        and same_gpus
        and node.id == earlier.id
        and node.device_kind == earlier.device_kind
        and node.cpu.model == earlier.cpu.model
        and len(node.cpu.usable_cpus) == len(earlier.cpu.usable_cpus)
        and node.cgroup.cpu_quota_cpus == earlier.cgroup.cpu_quota_cpus
        and all(node.versions.get(tool) == earlier.versions.get(tool) for tool in tools)
    )


def _gpus(node: Node) -> tuple[object, ...]:
    """What of the GPUs and their driver changes figures rightly; what it changed to is other rules' business."""
    driver = (node.versions.get("driver") or "").partition(".")[0]
    return driver, *((gpu.uuid, gpu.name, gpu.ecc_enabled, gpu.power_limit_w, gpu.mig) for gpu in node.gpus)


def _disk(node: Node) -> tuple[str | None, str | None] | None:
    return None if node.disk is None else (node.disk.filesystem, node.disk.device)


def _same_method(earlier: Measurement, measurement: Measurement) -> bool:
    then, now = earlier.context, measurement.context
    # over loopback the far end is a server of the run's own, on any port
    where = (
        ("threads", "ranks", "locality", "peer")
        if now.get("locality") == "remote"
        else ("threads", "ranks", "locality")
    )
    return (
        all(then.get(name) == now.get(name) for name in where)
        and earlier.status == "ok"
        and earlier.unit == measurement.unit
        and earlier.statistic == measurement.statistic
        and earlier.bench_version == measurement.bench_version
    )
