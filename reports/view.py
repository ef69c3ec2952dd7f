"""What a report says, ordered and worded for people; the terminal and the page both show these rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qualify.records import Capability, Finding, Json, Measurement, Report, Severity, Verdict
from reports import units
from reports.context import evidence
from reports.units import plain

VERDICTS: Mapping[Verdict, str] = {"qualified": "Qualified", "not_qualified": "Not qualified", "unknown": "No verdict"}
#: by what a reader should do first
SEVERITIES: tuple[Severity, ...] = ("failure", "warning", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure as a line of a table; every text is safe for a terminal."""

    key: str
    label: str  #: the key without its bench
    measurement: Measurement
    number: str  #: "42.3"
    unit: str  #: "GB/s"
    spread: str  #: 95 % interval: "±0.8 %"
    ratio: float | None  #: to what is expected; above 1 is better, for times too
    share: str  #: the ratio in words: "92 %"
    expected: str  #: "883 GFLOP/s"
    basis: str
    note: str
    unsettled: str  #: "not settled", or empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One finding."""

    text: str
    about: str  #: "matmul.fp32, seen 2 of 3"
    evidence: str  #: what the text does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Findings that ask for the same remedy."""

    severity: Severity
    code: str
    lines: tuple[Line, ...]
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Figures that are missing for the same reason."""

    keys: tuple[str, ...]
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of one bench."""

    bench: str
    rows: tuple[Row, ...]


def groups(report: Report) -> tuple[Group, ...]:
    """The figures there are by bench, in the order in which they were measured."""
    found: dict[str, list[Row]] = {}
    for measurement in report.measurements:
        if measurement.value is not None:
            found.setdefault(plain(measurement.key.partition(".")[0]), []).append(row(measurement, report))
    return tuple(Group(bench=bench, rows=tuple(rows)) for bench, rows in found.items())


def gaps(report: Report) -> tuple[Gap, ...]:
    """The figures there are not, failures first."""
    found: dict[tuple[str, str], list[str]] = {}
    for measurement in sorted(report.measurements, key=lambda one: one.status):  # "failed" before "skipped"
        if measurement.value is None:
            why = (measurement.status, plain(measurement.reason or ""))
            found.setdefault(why, []).append(plain(measurement.key))
    return tuple(Gap(keys=tuple(keys), status=why[0], reason=why[1]) for why, keys in found.items())


def by_bench(keys: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Keys in one tuple per bench, in the order given."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(key.partition(".")[0], []).append(key)
    return tuple(map(tuple, found.values()))


def row(measurement: Measurement, report: Report) -> Row:
    """The line of one measured figure."""
    metric = report.score.metrics.get(measurement.key) if report.score else None
    value = measurement.value or 0.0
    number, unit = units.split(value, plain(measurement.unit))
    ratio = metric.ratio if metric else None
    return Row(
        key=plain(measurement.key),
        label=plain(measurement.key.partition(".")[2] or measurement.key),
        measurement=measurement,
        number=number,
        unit=unit,
        spread=_spread(value, measurement),
        ratio=ratio,
        share="" if ratio is None else units.percent(ratio, 2 if ratio < 0.995 else 3),
        expected="" if metric is None else units.figure(metric.expected, plain(metric.unit)),
        basis="" if metric is None else plain(metric.basis),
        note=note(measurement),
        unsettled=unsettled(measurement),
    )


def _spread(value: float, measurement: Measurement) -> str:
    if value == 0 and measurement.ci95 is not None:  # a loss of nothing: how much it may be all the same
        above, unit = measurement.ci95[1], plain(measurement.unit)
        return f"≤{units.percent(above, 2) if unit == 'ratio' else units.figure(above, unit)}"
    return units.plus_minus(value, measurement.ci95)


def note(measurement: Measurement) -> str:
    """What explains a figure: "streaming, 512 MiB; measured 3 times"."""
    context = measurement.context
    shown = [name for name in _EXPLAINING if not (measurement.series and name == measurement.axis)]
    parts = [text for text in (_word(context, name) for name in shown) if text]
    if measurement.statistic != "median" and not measurement.key.endswith(measurement.statistic):
        parts.insert(0, plain(measurement.statistic))
    if measurement.series:
        at = measurement.series[-1].at
        place = units.size(at) if measurement.axis == "size_bytes" else f"{at:g}"
        parts.append(f"at {place}, last of {len(measurement.series)}" if len(measurement.series) > 1 else f"at {place}")
    remarks = [", ".join(parts)] if parts else []
    if isinstance(context.get("note"), str):
        remarks.append(plain(str(context["note"])))
    if measurement.attempts:
        remarks.append(f"measured {len(measurement.attempts) + 1} times")
    return "; ".join(remarks)


def unsettled(measurement: Measurement) -> str:
    """ "not settled" where a figure is less certain than wanted; empty where it is as certain."""
    return "not settled" if measurement.converged is False else ""


#: context that a reader wants beside the figure, and how its value is said
_EXPLAINING: Mapping[str, str] = {
    "variant": "{}",
    "ranks": "{} ranks",
    "size_bytes": "size",
    "working_set_bytes": "size",
    "page_bytes": "page",
    "filesystem": "{}",
    "tool": "{}",
    "locality": "{}",
}


def _word(context: Mapping[str, Json], name: str) -> str:
    value = context.get(name)
    if value is None or isinstance(value, bool | list | dict):
        return ""
    form = _EXPLAINING[name]
    if form in ("size", "page"):
        if not isinstance(value, int | float):
            return ""
        return units.size(value) if form == "size" else f"{units.size(value)} pages"
    return plain(form.format(value))


def unscored(report: Report) -> tuple[str, ...]:
    """Keys that were measured and yet are missing from the score."""
    missing = set(report.score.missing) if report.score else set()
    return tuple(plain(one.key) for one in report.measurements if one.value is not None and one.key in missing)


def notices(report: Report) -> tuple[Notice, ...]:
    """Findings with the same remedy together; what must be mended first comes first, otherwise in the order found."""
    found: dict[tuple[int, str, str], list[Finding]] = {}
    for finding in sorted(report.findings, key=lambda one: SEVERITIES.index(one.severity)):
        kind = (SEVERITIES.index(finding.severity), finding.code, finding.remedy)
        found.setdefault(kind, []).append(finding)
    return tuple(_notice(tuple(alike)) for alike in found.values())


def _notice(alike: tuple[Finding, ...]) -> Notice:
    first = alike[0]
    lines = tuple(_line(finding) for finding in alike)
    return Notice(severity=first.severity, code=plain(first.code), lines=lines, remedy=plain(first.remedy))


#: of evidence beside a finding; the rest stands in the report's data
MOST_EVIDENCE = 240


def _line(finding: Finding) -> Line:
    about = [plain(finding.key or ""), f"seen {plain(finding.confirmed)}" if finding.confirmed else ""]
    unsaid = {name: value for name, value in finding.evidence.items() if str(value) not in finding.text}
    said = evidence(unsaid)
    if len(said) > MOST_EVIDENCE:
        said = said[:MOST_EVIDENCE].rsplit(" ", 1)[0] + " …"
    return Line(text=plain(finding.text), about=", ".join(part for part in about if part), evidence=said)


def counted(report: Report) -> str:
    """How many figures there are: "27 figures measured, 2 skipped, 1 failed"."""
    count = {status: sum(one.status == status for one in report.measurements) for status in ("ok", "skipped", "failed")}
    measured = f"{count['ok']} figure{'' if count['ok'] == 1 else 's'} measured"
    return ", ".join([measured, *(f"{count[status]} {status}" for status in ("skipped", "failed") if count[status])])


def machine(report: Report) -> str:
    """The node in one line: "rack4-node17 · AMD EPYC 9354P · 16 of 16 CPUs · 128 GiB"."""
    node = report.node
    parts = [plain(node.hostname)]
    parts += [plain(gpu.name or f"GPU {gpu.index}") for gpu in node.gpus]
    if node.cpu.model:
        parts.append(plain(node.cpu.model))
    if node.cpu.threads:
        usable = len(node.cpu.usable_cpus) or node.cpu.threads
        parts.append(f"{usable} of {node.cpu.threads} CPUs" if usable < node.cpu.threads else f"{usable} CPUs")
    if node.memory.total_bytes:
        parts.append(units.size(node.memory.total_bytes))
    return " · ".join(parts)


def occasion(report: Report) -> str:
    """When and how it was measured: "2026-08-01 11:45 UTC · quick profile, 41.7 s of 45.0 s · gridmark 0.1.0"."""
    spent = f"{units.duration(report.lasted_s)} of {units.duration(report.budget_s)}"
    parts = (units.moment(report.started_unix_s), f"{plain(report.profile)} profile, {spent}")
    return " · ".join([*parts, f"gridmark {plain(report.gridmark_version)}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """One workload profile of the score."""

    name: str
    value: str  #: "104" (reference node = 100), or "–"
    spread: str
    weights: str  #: "60 % matmul.bf16, 25 % memory.triad"
    missing: str


def strengths(report: Report) -> tuple[Strength, ...]:
    """Every workload profile, measured or not."""
    if report.score is None:
        return ()
    detail = report.score.capability_detail
    return tuple(_strength(name, value, detail.get(name)) for name, value in report.score.capability.items())


def _strength(name: str, value: float | None, detail: Capability | None) -> Strength:
    weights = sorted(detail.weights.items(), key=lambda item: -item[1]) if detail else []
    return Strength(
        name=plain(name),
        value=units.UNKNOWN if value is None else f"{value:.0f}" if value >= 99.5 else f"{value:.3g}",
        spread=units.plus_minus(value, detail.ci95) if detail and value is not None else "",
        weights=", ".join(f"{units.percent(weight, 2)} {plain(key)}" for key, weight in weights),
        missing=", ".join(map(plain, detail.missing)) if detail else "",
    )
