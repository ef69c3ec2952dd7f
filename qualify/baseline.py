"""What a node's own past leads us to expect of a figure, and how far below it is too far."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kernels import stats
from qualify.records import Attempt, Measurement, Node, Report
from qualify.trial import Side, is_disturbed, number

#: below this many comparable figures a median is not worth comparing with
LEAST_FIGURES = 3
#: the newest ones used: long enough for a steady median, short enough to forget another season
MOST_FIGURES = 20

#: figures made of instructions in a core and nothing outside it: work per cycle is theirs, boost is not
PER_CLOCK = ("matmul.", "launch.", "memlatency.l1", "memlatency.l2")
#: smallest drop that is a finding: a core's work per cycle repeats within 1 % (three of these keep a false alarm below
#: 1 in 1000 and a loss of 5 % above 99 in 100); memory, disk and network drift with the rest of the machine
LEAST_DROP_PER_CLOCK, LEAST_DROP = 0.03, 0.05
#: the spread to expect of a figure before any is known
PRIOR_SPREAD_PER_CLOCK, PRIOR_SPREAD = 0.01, 0.015
#: how many figures that prior is worth
PRIOR_WEIGHT = 10.0
#: limits in spreads
SPREADS = 3.0
#: an attempt meets a limit clearly when it is this many spreads above it; closer ones are measured again
CLEAR_SPREADS = 1.5
#: scaled MAD of a few values falls short of the spread by these factors
#: (Croux and Rousseeuw, Time-efficient algorithms for two highly robust estimators of scale, 1992)
SMALL_SAMPLE = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
MAD_TO_SPREAD = 1.4826
#: versions that change what a figure measures; the kernel is the node's own and is not one of them
TOOLS = {"matmul": ("torch", "numba"), "allreduce": ("torch",), "network": ("libiperf",)}
TOOLS_OF_ALL = ("numba",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the past says of a figure, in the logarithm of its goodness."""

    centre: float  #: median of the log goodness
    spread: float  #: to expect between two runs, relative
    drop: float  #: relative drop that is a finding
    n: int
    per_clock: bool

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
        seen = goodness(attempt, unit=self.unit, per_clock=self.per_clock)
        return None if seen is None else math.expm1(seen - self.centre)

    unit: str = ""


def is_per_clock(key: str) -> bool:
    """Whether the figure is compared per cycle."""
    return key.startswith(PER_CLOCK)


def goodness(attempt: Attempt | Measurement, *, unit: str, per_clock: bool) -> float | None:
    """Logarithm of the figure, turned so that more is better, per cycle and thread where that is asked for.

    None when there is no figure, or no clock to divide by, or no better and worse (a ratio).
    """
    if attempt.value is None or attempt.value <= 0 or unit == "ratio":
        return None
    seen = math.log(attempt.value) if unit != "s" else -math.log(attempt.value)
    if not per_clock:
        return seen
    clock_hz = number(attempt.context, "clock_hz")
    return None if not clock_hz else seen - math.log(clock_hz)


def baseline(node: Node, measurement: Measurement, history: Sequence[Report]) -> Baseline | None:
    """What this node's earlier reports lead to expect of `measurement`; None with fewer than three comparable figures.

    The spread is that of the past, robustly estimated and drawn towards what such figures are known to repeat within,
    or towards what the samples scatter by, if that is more: few figures cannot tell a steady machine from a lucky one.
    """
    per_clock = is_per_clock(measurement.key)
    past = _newest(node, measurement, history)
    figures = [seen for m in past if (seen := goodness(m, unit=measurement.unit, per_clock=per_clock)) is not None]
    if len(figures) < LEAST_FIGURES:
        return None
    least, prior = (LEAST_DROP_PER_CLOCK, PRIOR_SPREAD_PER_CLOCK) if per_clock else (LEAST_DROP, PRIOR_SPREAD)
    spread = _spread(figures, max(prior, _scatter([*past, measurement])))
    return Baseline(
        centre=statistics.median(figures),
        spread=spread,
        drop=max(least, SPREADS * spread),
        n=len(figures),
        per_clock=per_clock,
        unit=measurement.unit,
    )


def _spread(figures: Sequence[float], prior: float) -> float:
    n = len(figures)
    own = stats.mad(figures) * MAD_TO_SPREAD * SMALL_SAMPLE.get(n, n / (n - 0.8))
    return math.sqrt((PRIOR_WEIGHT * prior**2 + (n - 1) * own**2) / (PRIOR_WEIGHT + n - 1))


def _scatter(measurements: Sequence[Measurement]) -> float:
    """How much the samples of a run scatter, typically: a restless machine shows it within each run."""
    known = [m.mad / abs(m.value) * MAD_TO_SPREAD for m in measurements if m.mad is not None and m.value]
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
    return (
        same_disk
        and node.id == earlier.id
        and node.device_kind == earlier.device_kind
        and node.cpu.model == earlier.cpu.model
        and len(node.cpu.usable_cpus) == len(earlier.cpu.usable_cpus)
        and node.cgroup.cpu_quota_cpus == earlier.cgroup.cpu_quota_cpus
        and all(node.versions.get(tool) == earlier.versions.get(tool) for tool in tools)
    )


def _disk(node: Node) -> tuple[str | None, str | None] | None:
    return None if node.disk is None else (node.disk.filesystem, node.disk.device)


def _same_method(earlier: Measurement, measurement: Measurement) -> bool:
    same = all(earlier.context.get(name) == measurement.context.get(name) for name in ("threads", "peer", "ranks"))
    return (
        same
        and earlier.status == "ok"
        and earlier.unit == measurement.unit
        and earlier.statistic == measurement.statistic
        and earlier.bench_version == measurement.bench_version
    )
