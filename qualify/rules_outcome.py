"""Rules about what did not come about: wrong results, crashes, hangs, and figures that are not known well."""

from __future__ import annotations

from collections.abc import Iterator

from qualify.records import Attempt, Json, Measurement
from qualify.rule import Evidence, Hit, Rule, percent
from qualify.trial import Side, attempts, is_wrong, rule_attempts

CRASHES = frozenset({"crash", "killed"})
#: ends that have a code of their own
NAMED = CRASHES | {"timeout", "out_of_memory", "wrong_result", "interrupted", "bad_output"}
#: figures named in a sentence; the evidence has them all
NAMED_WORST = 3


def wrong_result(evidence: Evidence) -> Iterator[Hit]:
    """The device computed something wrong, once being once too often."""
    for key, measurement in sorted(evidence.measurements.items()):
        every = attempts(measurement)
        wrong = [attempt for attempt in every if is_wrong(attempt)]
        if wrong:
            yield Hit(
                text=f"{key} gave a wrong result: {wrong[-1].reason}",
                evidence={"wrong": len(wrong), "attempts": len(every), "reason": wrong[-1].reason},
                key=key,
            )


def crashed(evidence: Evidence) -> Iterator[Hit]:
    """A benchmark's process died."""
    for key, measurement in sorted(evidence.measurements.items()):
        ruling = rule_attempts(measurement, _crash_side)
        if ruling.misses:
            last = next(attempt for attempt in reversed(attempts(measurement)) if _error(attempt) in CRASHES)
            # it came right in the others: worth knowing, and no ruling any more
            told = not (ruling.missed or ruling.suspected or ruling.is_open)
            yield Hit(
                text=f"the process of {key} died"
                + (f" once in {ruling.judged} attempts" if told else "")
                + f": {last.reason}",
                evidence={"reason": last.reason, "signal": last.context.get("signal")},
                key=key,
                severity="info" if told else None,
                ruling=None if told else ruling,
            )


def timed_out(evidence: Evidence) -> Iterator[Hit]:
    """A benchmark did not end."""
    yield from _ended(evidence, "timeout", "did not end in its time")


def out_of_memory(evidence: Evidence) -> Iterator[Hit]:
    """A benchmark got no memory."""
    yield from _ended(evidence, "out_of_memory", "ran out of memory")


def bad_output(evidence: Evidence) -> Iterator[Hit]:
    """A benchmark's process said what nobody understands."""
    yield from _ended(evidence, "bad_output", "printed what is no result")


def no_figure(evidence: Evidence) -> Iterator[Hit]:
    """Figures that failed for a reason without a code of its own, told once for each reason."""
    missed: dict[str, list[str]] = {}
    for key, measurement in sorted(evidence.measurements.items()):
        if measurement.status == "failed" and _error(measurement) not in NAMED:
            missed.setdefault(measurement.reason or "", []).append(key)
    for reason, keys in missed.items():
        yield Hit(
            text=f"{', '.join(keys)} could not be measured: {reason}",
            evidence={"reason": reason, "figures": ", ".join(keys)},
            key=keys[0] if len(keys) == 1 else None,
        )


def not_converged(evidence: Evidence) -> Iterator[Hit]:
    """Figures that the time did not suffice for."""
    half_widths: dict[str, Json] = {}
    for key, measurement in sorted(evidence.measurements.items()):
        if measurement.status == "ok" and measurement.converged is False:
            half_widths[key] = _half_width(measurement)
    if half_widths:
        known = sorted(((half, key) for key, half in half_widths.items() if isinstance(half, float)), reverse=True)
        worst = ", ".join(f"{key} to ±{percent(half)}" for half, key in known[:NAMED_WORST])
        yield Hit(
            text=f"{len(half_widths)} figures are not known as well as wanted{f'; worst {worst}' if worst else ''}",
            evidence={"half_width": half_widths},
        )


def partial_run(evidence: Evidence) -> Iterator[Hit]:
    """The run ended before its end."""
    missed = sorted(key for key, m in evidence.measurements.items() if _error(m) == "interrupted")
    if missed:
        yield Hit(
            text=f"the run was interrupted before {len(missed)} figures",
            evidence={"missing": ", ".join(missed)},
        )


def _ended(evidence: Evidence, error: str, words: str) -> Iterator[Hit]:
    for key, measurement in sorted(evidence.measurements.items()):
        found = [attempt for attempt in attempts(measurement) if _error(attempt) == error]
        if found:
            yield Hit(
                text=f"{key} {words}: {found[-1].reason}",
                evidence={"reason": found[-1].reason, "times": len(found), "attempts": len(attempts(measurement))},
                key=key,
                severity="info" if measurement.status == "ok" else None,
            )


def _crash_side(attempt: Attempt) -> Side | None:
    if _error(attempt) in CRASHES:
        return "misses"
    return "meets" if attempt.status == "ok" else None


def _error(attempt: Attempt | Measurement) -> str | None:
    found = attempt.context.get("error")
    return found if isinstance(found, str) and attempt.status != "ok" else None


def _half_width(measurement: Measurement) -> float | None:
    if measurement.ci95 is None or not measurement.value:
        return None
    return (measurement.ci95[1] - measurement.ci95[0]) / 2 / abs(measurement.value)


RULES = (
    Rule(
        code="WRONG_RESULT",
        severity="failure",
        fires="the device computed, moved or stored something wrong",
        limit="none may be wrong, in any attempt; never repeated away",
        remedy="Take the machine out of service; test memory (memtest86+) and the CPU, undo overclocking.",
        find=wrong_result,
    ),
    Rule(
        code="CRASHED",
        severity="warning",
        fires="a benchmark's process died",
        limit="2 of 3 attempts; a figure that cannot be measured leaves the verdict unknown",
        remedy="Read the reason; an illegal instruction means a package built for another CPU.",
        find=crashed,
    ),
    Rule(
        code="TIMED_OUT",
        severity="warning",
        fires="a benchmark did not end in its time",
        limit="its part of the budget and a fifth more",
        remedy="Give a larger --budget; if it hangs then too, look for a dead disk, peer or file system.",
        find=timed_out,
    ),
    Rule(
        code="OUT_OF_MEMORY",
        severity="warning",
        fires="a benchmark got no memory, or was killed for want of it",
        limit="once",
        remedy="End other programs, or raise the memory limit of the container.",
        find=out_of_memory,
    ),
    Rule(
        code="BAD_OUTPUT",
        severity="warning",
        fires="a benchmark's process sent what is no result",
        limit="once",
        remedy="Run gridmark doctor: another package may shadow one of ours.",
        find=bad_output,
    ),
    Rule(
        code="NO_FIGURE",
        severity="warning",
        fires="a figure could not be measured, for a reason given in words",
        limit="once",
        remedy="Read the reason; gridmark doctor tells what is missing.",
        find=no_figure,
    ),
    Rule(
        code="NOT_CONVERGED",
        severity="info",
        fires="figures are not known as well as wanted",
        limit="the 95 % interval of the median is wider than ±1 % when the time is spent; it is reported as it is",
        remedy="Give more time (--profile standard), or quieten the machine.",
        find=not_converged,
    ),
    Rule(
        code="PARTIAL_RUN",
        severity="warning",
        fires="the run was interrupted",
        limit="a figure that was planned was not come to; the verdict is unknown",
        remedy="Let it run to its end.",
        find=partial_run,
    ),
)
