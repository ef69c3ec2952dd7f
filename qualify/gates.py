"""Judges a run: rules turn evidence into findings, findings into a verdict. Pure: records in, records out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qualify import (
    rules_clock,
    rules_cpu,
    rules_disk,
    rules_expected,
    rules_figures,
    rules_gpu_claim,
    rules_gpu_driver,
    rules_gpu_events,
    rules_gpu_figures,
    rules_gpu_heat,
    rules_gpu_link,
    rules_gpu_memory,
    rules_gpu_state,
    rules_memory,
    rules_network,
    rules_node,
    rules_outcome,
    rules_stress,
)
from qualify.records import Finding, Measurement, Verdict
from qualify.rule import RANK, Evidence, Rule
from qualify.trial import combine

__all__ = ["CODES", "Evidence", "combine", "doubtful", "judge", "table", "verdict"]

#: rules that speak of a node only when it is its GPUs that are measured
OF_GPUS = (
    rules_gpu_memory,
    rules_gpu_events,
    rules_gpu_link,
    rules_gpu_heat,
    rules_gpu_state,
    rules_gpu_driver,
    rules_gpu_claim,
    rules_gpu_figures,
)
#: every rule, by code
CODES: dict[str, Rule] = {
    rule.code: rule
    for module in (
        rules_outcome,
        rules_expected,
        rules_figures,
        rules_cpu,
        rules_clock,
        rules_memory,
        rules_disk,
        rules_network,
        rules_node,
        rules_stress,
        *OF_GPUS,
    )
    for rule in module.RULES
}
GPU_CODES = frozenset(rule.code for module in OF_GPUS for rule in module.RULES)

#: findings that leave nothing to be said of the machine, whatever their severity
UNTRUSTED = frozenset({"TIMER_DISAGREES", "PARTIAL_RUN"})


def judge(evidence: Evidence) -> tuple[Finding, ...]:
    """Everything a supplier should know or mend, worst first."""
    found = [finding for rule in _rules(evidence) for finding in rule.findings(evidence)]
    return tuple(sorted(found, key=lambda finding: (RANK[finding.severity], finding.code, finding.key or "")))


def doubtful(evidence: Evidence) -> frozenset[str]:
    """The keys that another attempt would decide: a limit was missed or barely met, and no two attempts agree yet."""
    return frozenset(key for rule in _rules(evidence) for key in rule.doubtful(evidence))


def verdict(
    findings: Sequence[Finding], measurements: Mapping[str, Measurement], required: frozenset[str]
) -> tuple[Verdict, tuple[str, ...]]:
    """Whether the node is fit, and why, most important first.

    A failure disqualifies. Without one, a required figure that failed or is missing leaves the answer unknown; what the
    machine cannot have (skipped, with its reason) does not.
    """
    failures = [f"{finding.text} ({finding.code})" for finding in findings if finding.severity == "failure"]
    if failures:
        return "not_qualified", tuple(failures)
    unknown = [
        f"{finding.text} ({finding.code})"
        for finding in findings
        if finding.code in UNTRUSTED and finding.severity != "info"
    ]
    unknown += _missed(measurements, required)
    if not any(measurement.status == "ok" for measurement in measurements.values()):
        unknown.append("nothing was measured")
    if unknown:
        return "unknown", tuple(unknown)
    warnings = sum(finding.severity == "warning" for finding in findings)
    measured = sum(measurements[key].status == "ok" for key in required)
    return "qualified", (f"{measured} of {len(required)} planned figures measured, {_told(warnings)}",)


def _rules(evidence: Evidence) -> Iterator[Rule]:
    measures_gpus = evidence.node.device_kind == "cuda"
    return (rule for code, rule in CODES.items() if measures_gpus or code not in GPU_CODES)


def _missed(measurements: Mapping[str, Measurement], required: frozenset[str]) -> list[str]:
    """What is missing of the required figures, a sentence for each reason."""
    missed: dict[str, list[str]] = {}
    for key in sorted(required):
        measurement = measurements.get(key)
        if measurement is None:
            missed.setdefault("not measured", []).append(key)
        elif measurement.status == "failed":
            missed.setdefault(f"could not be measured: {measurement.reason}", []).append(key)
    return [f"{', '.join(keys)} {reason}" for reason, keys in missed.items()]


def _told(warnings: int) -> str:
    return {0: "without a warning", 1: "with one warning"}.get(warnings, f"with {warnings} warnings")


def table() -> str:
    """All codes as a Markdown table, for the README."""
    lines = ["| code | severity | raised when | limit | what to do |", "|---|---|---|---|---|"]
    for rule in sorted(CODES.values(), key=lambda rule: (RANK[rule.severity], rule.code)):
        cells = (f"`{rule.code}`", rule.severity, rule.fires, rule.limit, rule.remedy)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
