"""How good a node is: every figure beside what could be expected of it, and what it can do per kind of work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from qualify import expected_gpu
from qualify.records import Capability, Json, Measurement, MetricScore, Node, Score
from qualify.reference import DTYPES, Reference, Workload, cpu_peak, is_virtual
from qualify.trial import number

Z95 = 1.959964  #: standard deviations from the middle to the end of a 95 % interval
#: nodes of one kind before their median is an expectation: with 8 its own uncertainty is below half of their spread
LEAST_FLEET = 8
#: of a measurement's context, what a reader needs to believe its figure
CONTEXT = ("clock_hz", "cpu_share", "threads", "variant", "page_bytes", "transport", "peer", "steal_ratio")
NO_FLEET = "nothing to compare with until a fleet of this kind exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigure:
    """A figure over the nodes of one kind."""

    median: float
    mad: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What nodes of the same kind reach."""

    kind: str  #: what they have in common: "AMD EPYC 9354 x 32"
    figures: Mapping[str, FleetFigure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _LogFigure:
    """The logarithm of a positive figure and the standard error of that; None = unknown."""

    value: float
    error: float | None


def score(
    node: Node,
    measurements: Mapping[str, Measurement],
    reference: Reference,
    *,
    now_unix_s: float,
    measured_unix_s: float,
    fleet: Fleet | None = None,
) -> Score:
    """The score of what was measured; nothing that was not measured is scored, and all that is missing is listed."""
    age_s = max(0.0, now_unix_s - measured_unix_s)
    good = {key: m for key, m in sorted(measurements.items()) if m.status == "ok" and m.value is not None}
    metrics = {key: _metric(node, m, reference, age_s=age_s, fleet=fleet) for key, m in good.items()}
    health = _mean([figure for metric in metrics.values() if (figure := _ratio_figure(metric)) is not None])
    details = {
        workload.name: _capability(workload, good, reference)
        for workload in reference.workloads
        if workload.device_kind == node.device_kind
    }
    return Score(
        health=None if health is None else math.exp(health.value),
        health_ci95=None if health is None else _interval(health),
        capability={name: detail.value for name, detail in details.items()},
        capability_detail=details,
        metrics=metrics,
        missing=tuple(sorted(key for key in measurements if key not in good)),
        formula=formula(reference, node.device_kind),
    )


def formula(reference: Reference, device_kind: str) -> str:
    """How the numbers of a class of nodes come about, in words."""
    told = reference.nodes.get(device_kind)
    hundred = f", whose node of 100 is {told}" if told else ""
    return (
        f"reference {reference.version}{hundred}. ratio = estimate / expected, or expected / estimate for times; "
        "health = geometric mean of the ratios there are; capability = 100 x product of (figure / reference node's "
        "figure, inverted for times) ^ weight; every 95 % interval by propagation of the figures' intervals in the "
        "logarithm, taken to be independent"
    )


def _metric(
    node: Node, measurement: Measurement, reference: Reference, *, age_s: float, fleet: Fleet | None
) -> MetricScore:
    estimate = measurement.value or 0.0
    expected, basis = _expected(node, measurement, reference, fleet)
    ratio = None
    if expected is not None and estimate > 0:
        ratio = expected / estimate if measurement.unit == "s" else estimate / expected
    return MetricScore(
        unit=measurement.unit,
        estimate=estimate,
        ci95=measurement.ci95,
        n=measurement.n,
        age_s=age_s,
        expected=expected,
        basis=basis,
        ratio=ratio,
        context=_context(measurement),
    )


def _context(measurement: Measurement) -> dict[str, Json]:
    kept: dict[str, Json] = {
        name: measurement.context[name] for name in CONTEXT if measurement.context.get(name) is not None
    }
    return {**kept, "bench_version": measurement.bench_version, "attempts": len(measurement.attempts) + 1}


def _expected(
    node: Node, measurement: Measurement, reference: Reference, fleet: Fleet | None
) -> tuple[float | None, str]:
    """What the figure should be and where that comes from: a formula, or nodes of the same kind, or nothing yet."""
    bench, _, case = measurement.key.partition(".")
    expected, basis = None, NO_FLEET
    if node.device_kind == "cpu" and bench == "matmul" and case in DTYPES:
        expected, basis = _by_peak(node, measurement, reference, case)
    elif node.device_kind == "cpu" and measurement.key in ("memlatency.l1", "memlatency.l2"):
        expected, basis = _by_cycles(node, measurement, reference, case)
    elif node.device_kind == "cuda" and (peak := expected_gpu.expectation(node, measurement, reference.gpus)):
        expected, basis = peak.expected, peak.basis
    if expected is not None:
        return expected, basis
    told = fleet.figures.get(measurement.key) if fleet is not None else None
    if fleet is not None and told is not None and told.n >= LEAST_FLEET and told.median > 0:
        return told.median, f"median of {told.n} nodes of the same kind ({fleet.kind})"
    return None, basis


def _by_peak(node: Node, measurement: Measurement, reference: Reference, dtype: str) -> tuple[float | None, str]:
    clock_hz, threads = _clock(node, measurement), number(measurement.context, "threads")
    if clock_hz is None or not threads:
        return None, "the clock or the number of threads is unknown, so the peak is"
    peak = cpu_peak(reference, node, dtype, clock_hz=clock_hz, threads=int(threads))
    return peak.expected, peak.basis


def _by_cycles(node: Node, measurement: Measurement, reference: Reference, level: str) -> tuple[float | None, str]:
    part, clock_hz = reference.part(node.cpu), _clock(node, measurement)
    cycles = None if part is None else part.l1_cycles if level == "l1" else part.l2_cycles
    if part is None or cycles is None or clock_hz is None:
        return None, NO_FLEET
    claimed = ", as the hypervisor calls it" if is_virtual(node) else ""
    return cycles / clock_hz, f"{cycles:g} cycles at {clock_hz / 1e9:.2f} GHz ({part.name}{claimed})"


def _clock(node: Node, measurement: Measurement) -> float | None:
    """The clock to expect: the one observed, but never below what the maker guarantees, for throttling is no excuse."""
    known = (number(measurement.context, "clock_hz"), node.cpu.base_hz)
    return max((hz for hz in known if hz), default=None)


def _capability(workload: Workload, good: Mapping[str, Measurement], reference: Reference) -> Capability:
    missing = tuple(sorted(key for key in workload.weights if key not in good or not _log_figure(good[key])))
    if missing:
        return Capability(value=None, ci95=None, weights=workload.weights, missing=missing)
    total, variance = 0.0, 0.0
    hundred = reference.figures_of(workload.device_kind)
    for key, weight in sorted(workload.weights.items()):
        figure = _log_figure(good[key])
        if figure is None:
            continue
        sign = -1.0 if good[key].unit == "s" else 1.0
        total += weight * sign * (figure.value - math.log(hundred[key].value))
        variance += math.nan if figure.error is None else (weight * figure.error) ** 2
    found = _LogFigure(math.log(100) + total, None if math.isnan(variance) else math.sqrt(variance))
    return Capability(value=math.exp(found.value), ci95=_interval(found), weights=workload.weights, missing=())


def _log_figure(measurement: Measurement) -> _LogFigure | None:
    return _log(measurement.value, measurement.ci95)


def _log(value: float | None, ci95: tuple[float, float] | None) -> _LogFigure | None:
    if value is None or value <= 0:
        return None
    error = None
    if ci95 is not None and ci95[0] > 0:
        # half of an interval that need not lie evenly around the estimate: the wider side, so as not to claim too much
        error = max(math.log(ci95[1] / value), math.log(value / ci95[0]), 0.0) / Z95
    return _LogFigure(math.log(value), error)


def _ratio_figure(metric: MetricScore) -> _LogFigure | None:
    figure = _log(metric.estimate, metric.ci95)
    if metric.ratio is None or figure is None:
        return None
    return _LogFigure(math.log(metric.ratio), figure.error)


def _mean(figures: list[_LogFigure]) -> _LogFigure | None:
    if not figures:
        return None
    n = len(figures)
    errors = [figure.error for figure in figures if figure.error is not None]
    error = math.sqrt(math.fsum(e * e for e in errors)) / n if len(errors) == n else None
    return _LogFigure(math.fsum(figure.value for figure in figures) / n, error)


def _interval(figure: _LogFigure) -> tuple[float, float] | None:
    if figure.error is None:
        return None
    half = Z95 * figure.error
    return math.exp(figure.value - half), math.exp(figure.value + half)
