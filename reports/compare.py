"""Two reports side by side: the ratio of every figure with its interval, and what makes it uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qualify.records import Json, Measurement, Report
from reports import context, units
from reports.ratio import lower_is_better, ratio
from reports.units import plain

SCHEMA = 1  #: of a Comparison's JSON
TOLERANCE = 0.05
#: clocks further apart than this explain a difference by themselves
CLOCK_TOLERANCE = 0.02

#: lost: measured in the first report, failed in the second; absent: one report has no such figure;
#: refused: both have it, and yet they are not the same figure
Outcome = Literal["same", "faster", "slower", "unclear", "lost", "absent", "refused"]
Answer = Literal["no_worse", "worse", "nothing_comparable"]

#: context under which figures were taken: where it differs, so may the figure without anything being wrong
_CONDITIONS = (
    "variant",
    "shape",
    "library",
    "threads",
    "ranks",
    "backend",
    "page_bytes",
    "filesystem",
    "locality",
    "tool",
)
#: context that is part of what was measured: where it differs, two figures answer different questions
_SUBJECT = ("size_bytes", "working_set_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two reports, in brief."""

    report: str
    node: str
    hostname: str
    profile: str
    started_unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure of both reports."""

    key: str
    unit: str | None
    outcome: Outcome
    reason: str  #: why it is unclear or refused; empty otherwise
    first: float | None
    second: float | None
    speedup: float | None  #: second over first, inverted for times and losses: above 1 the second is better
    ci95: tuple[float, float] | None  #: of the speedup
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All figures of two reports, and the answer: did the second become worse?"""

    schema: int = SCHEMA
    answer: Answer
    tolerance: float
    first: Side
    second: Side
    warnings: tuple[str, ...]  #: what differs between the two runs as a whole
    figures: tuple[Compared, ...]


def compare(first: Report, second: Report, *, tolerance: float = TOLERANCE) -> Comparison:
    """Compare `second` with `first`, key by key.

    A figure is slower (or faster) when the interval of its ratio leaves 1 out and the ratio itself lies beyond the
    tolerance; same, when the whole interval lies within the tolerance; unclear otherwise. A figure that failed in the
    second report alone makes it worse, however fast the rest is.

    Args:
        tolerance: relative difference that does not matter (0 <= tolerance < 1).
    """
    left, right = _by_key(first), _by_key(second)
    keys = [*left, *(key for key in right if key not in left)]
    figures = tuple(_compare(key, left.get(key), right.get(key), tolerance) for key in keys)
    if any(one.outcome in ("slower", "lost") for one in figures):
        answer: Answer = "worse"
    elif all(one.outcome in ("absent", "refused") for one in figures):
        answer = "nothing_comparable"
    else:
        answer = "no_worse"
    return Comparison(
        answer=answer,
        tolerance=tolerance,
        first=_side(first),
        second=_side(second),
        warnings=tuple(_differences(first, second)),
        figures=figures,
    )


def _by_key(report: Report) -> dict[str, Measurement]:
    return {one.key: one for one in report.measurements}


def _side(report: Report) -> Side:
    return Side(
        report=report.id,
        node=report.node.id,
        hostname=report.node.hostname,
        profile=report.profile,
        started_unix_s=report.started_unix_s,
    )


def _compare(key: str, first: Measurement | None, second: Measurement | None, tolerance: float) -> Compared:
    outcome, reason = _obstacle(first, second)
    speedup, ci95 = None, None
    if first and second and outcome is None:
        speedup, ci95 = ratio(first, second)
        outcome, reason = _judge(first, second, speedup, ci95, tolerance)
    either = first or second
    return Compared(
        key=key,
        unit=either.unit if either else None,
        outcome=outcome or "absent",
        reason=reason,
        first=first.value if first else None,
        second=second.value if second else None,
        speedup=speedup,
        ci95=ci95,
        warnings=tuple(_conditions(first, second)) if first and second and speedup is not None else (),
    )


def _obstacle(first: Measurement | None, second: Measurement | None) -> tuple[Outcome | None, str]:
    """Why two figures cannot be compared; no outcome when they can."""
    if first is None or second is None:
        return "absent", f"only in the {'second' if first is None else 'first'} report"
    if first.value is not None and second.status == "failed":
        return "lost", f"failed in the second report: {second.reason}"
    if first.value is None and second.value is None:
        return "absent", f"in neither report: {second.reason}"
    for name, one in (("first", first), ("second", second)):
        if one.value is None:
            return "absent", f"{one.status} in the {name} report: {one.reason}"
    refusal = _refusal(first, second)
    return ("refused", refusal) if refusal else (None, "")


def _refusal(first: Measurement, second: Measurement) -> str:
    """Why two figures of one name are not the same figure; empty when they are."""
    if first.bench_version != second.bench_version:
        return f"measured by different methods: version {first.bench_version} and version {second.bench_version}"
    if first.unit != second.unit:
        return f"given in different units: {first.unit} and {second.unit}"
    if first.statistic != second.statistic:
        return f"different statistics: {first.statistic} and {second.statistic}"
    for name in _SUBJECT:
        mine, other = first.context.get(name), second.context.get(name)
        if mine is not None and other is not None and mine != other:
            return f"{name} differs: {context.value_text(name, mine)} and {context.value_text(name, other)}"
    if first.series and second.series and first.series[-1].at != second.series[-1].at:
        return f"{first.axis} differs: {first.series[-1].at:g} and {second.series[-1].at:g}"
    return ""


def _judge(
    first: Measurement, second: Measurement, speedup: float | None, ci95: tuple[float, float] | None, tolerance: float
) -> tuple[Outcome, str]:
    if speedup is None:
        return _judge_without_ratio(first, second)
    if ci95 is None:
        return "unclear", "too few samples for an interval"
    low, high = ci95
    if high < 1 and speedup < 1 - tolerance:
        return "slower", ""
    if low > 1 and speedup > 1 + tolerance:
        return "faster", ""
    if low >= 1 - tolerance and high <= 1 + tolerance:
        return "same", ""
    if low <= 1 <= high:
        return "unclear", "the intervals overlap"
    return "unclear", "the difference is about as large as the tolerance"


def _judge_without_ratio(first: Measurement, second: Measurement) -> tuple[Outcome, str]:
    """Two figures of which one is zero, such as a loss: they differ when their intervals are apart."""
    if first.value == second.value:
        return "same", ""
    if first.ci95 is None or second.ci95 is None:
        return "unclear", "a figure of zero has no ratio, and there is no interval"
    if first.ci95[0] <= second.ci95[1] and second.ci95[0] <= first.ci95[1]:
        return "unclear", "the intervals overlap"
    rises = second.ci95[0] > first.ci95[1]
    return ("slower" if rises == lower_is_better(first.unit) else "faster"), "the intervals are apart"


def _conditions(first: Measurement, second: Measurement) -> list[str]:
    found = [_difference(name, first.context.get(name), second.context.get(name)) for name in _CONDITIONS]
    if first.context.get("locality") != second.context.get("locality") or first.context.get("locality") != "loopback":
        found.append(_difference("peer", first.context.get("peer"), second.context.get("peer")))
    found.append(_clocks(first.context, second.context))
    unsettled = [name for name, one in (("first", first), ("second", second)) if one.converged is False]
    if unsettled:
        found.append(
            "not settled in either report" if len(unsettled) > 1 else f"not settled in the {unsettled[0]} report"
        )
    return [text for text in found if text]


def _difference(name: str, first: Json, second: Json) -> str:
    """In words; nothing where one report does not say, for it may be of a version that did not tell."""
    if first == second or first is None or second is None:
        return ""
    return f"{name.replace('_', ' ')} differs: {context.value_text(name, first)} and {context.value_text(name, second)}"


def _clocks(first: Mapping[str, Json], second: Mapping[str, Json]) -> str:
    mine, other = first.get("clock_hz"), second.get("clock_hz")
    if not isinstance(mine, int | float) or not isinstance(other, int | float) or mine <= 0 or other <= 0:
        return ""
    if abs(other / mine - 1) <= CLOCK_TOLERANCE:
        return ""
    return f"clock differs: {units.figure(mine, 'Hz')} and {units.figure(other, 'Hz')}"


def _differences(first: Report, second: Report) -> list[str]:
    """What differs between two runs as a whole."""
    a, b = first.node, second.node
    pairs: list[tuple[str, Json, Json]] = [
        ("kind of device", a.device_kind, b.device_kind),
        ("node", a.id, b.id),
        ("processor", a.cpu.model, b.cpu.model),
        ("usable CPUs", len(a.cpu.usable_cpus), len(b.cpu.usable_cpus)),
        ("GPUs", ", ".join(gpu.name or "?" for gpu in a.gpus), ", ".join(gpu.name or "?" for gpu in b.gpus)),
        ("CPU quota", a.cgroup.cpu_quota_cpus or "none", b.cgroup.cpu_quota_cpus or "none"),
        ("governor", a.cpu.governor, b.cpu.governor),
        ("kernel", a.kernel, b.kernel),
        ("profile", first.profile, second.profile),
    ]
    names = [*a.versions, *(name for name in b.versions if name not in a.versions)]
    pairs += [(f"version of {name}", a.versions.get(name) or "none", b.versions.get(name) or "none") for name in names]
    found = [_difference(plain(name), mine, other) for name, mine, other in pairs]
    found += [f"the {name} report is partial" for name, one in (("first", first), ("second", second)) if one.partial]
    return [text for text in found if text]
