"""Rules about what a figure should be: by its own past, by the formula of its part, by physics."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial

from qualify.baseline import LEAST_FIGURES, SPREADS, Baseline, baselines
from qualify.records import Attempt, Measurement, Severity
from qualify.reference import DTYPES, Part, cpu_peak
from qualify.rule import Evidence, Hit, Rule, percent, si
from qualify.steadiness import GPU_MEMORY, GPU_PER_CLOCK, GPU_PRODUCT, LEAST_DROP, LEAST_DROP_PER_CLOCK
from qualify.steadiness import LEAST_DROP_SHARED as SHARED
from qualify.trial import BARELY, Ruling, Side, attempts, is_disturbed, number, rule_attempts

#: what a clock may differ from the formula's before a figure is impossible
PHYSICS_PART = 1.03
#: a loss this many times the limit, and at least this large, is more than ageing
HISTORY_FAILURE_LIMITS, HISTORY_FAILURE = 2.0, 0.10
#: every vector unit of the table does twice as many fp32 as fp64 operations; libraries differ by a third at most
RATIO_LOW, RATIO_HIGH = 1.3, 3.0


def below_history(evidence: Evidence) -> Iterator[Hit]:
    """Slower than this node used to be."""
    for measurement in (m for _, m in sorted(evidence.measurements.items()) if m.value is not None):
        every = [(past, rule_attempts(measurement, past.side)) for past in _pasts(evidence, measurement)]
        # one finding a figure: what is decided before what is open, the finest comparison first
        told = [one for one in every if one[1].missed] or [one for one in every if one[1].is_open or one[1].misses]
        for past, ruling in told[:1]:
            yield _below(measurement, past, ruling)


def _pasts(evidence: Evidence, measurement: Measurement) -> list[Baseline]:
    """Those that say anything: without a clock beside it no figure is compared per cycle, however often it is made."""
    every = baselines(evidence.node, measurement, evidence.history)
    return [past for past in every if any(past.change(attempt) is not None for attempt in attempts(measurement))]


def _below(measurement: Measurement, past: Baseline, ruling: Ruling) -> Hit:
    return Hit(
        text=_history_text(measurement.key, measurement, past),
        evidence={
            "change": [past.change(attempt) for attempt in attempts(measurement)],
            "limit": -past.drop,
            "earlier_figures": past.n,
            "spread": past.spread,
            "per_clock": past.how.per_clock,
        },
        key=measurement.key,
        ruling=ruling,
        severity=_history_severity(_middle_change(measurement, past), past),
    )


def _history_text(key: str, measurement: Measurement, past: Baseline) -> str:
    change = _middle_change(measurement, past) or 0.0
    unit = "per clock cycle " if past.how.per_clock else ""
    return f"{key} is {unit}{percent(-change)} worse than the median of {past.n} earlier runs"


def _middle_change(measurement: Measurement, past: Baseline) -> float | None:
    changes = [c for a in attempts(measurement) if not is_disturbed(a) and (c := past.change(a)) is not None]
    return statistics.median(changes) if changes else None


def _history_severity(change: float | None, past: Baseline) -> Severity:
    failing = change is not None and -change > max(HISTORY_FAILURE, HISTORY_FAILURE_LIMITS * past.drop)
    return "failure" if failing else "warning"


def below_reference(evidence: Evidence) -> Iterator[Hit]:
    """Slower than any healthy part of its kind."""
    if evidence.node.device_kind != "cpu":
        return
    for dtype in DTYPES:
        measurement = evidence.measurements.get(f"matmul.{dtype}")
        if measurement is not None and measurement.value is not None:
            yield from _below_peak(evidence, measurement, dtype)
    part = evidence.reference.part(evidence.node.cpu)
    for level in ("l1", "l2"):
        measurement = evidence.measurements.get(f"memlatency.{level}")
        if part is not None and measurement is not None and measurement.value is not None:
            yield from _above_latency(evidence, measurement, part, level)


def _below_peak(evidence: Evidence, measurement: Measurement, dtype: str) -> Iterator[Hit]:
    floor = evidence.reference.floor[dtype]

    def efficiency(attempt: Attempt | Measurement) -> float | None:
        clock_hz, threads = number(attempt.context, "clock_hz"), number(attempt.context, "threads")
        if not clock_hz or not threads or attempt.value is None:
            return None
        peak = cpu_peak(evidence.reference, evidence.node, dtype, clock_hz=clock_hz, threads=int(threads))
        return attempt.value / peak.least if peak.least else None

    def side(attempt: Attempt) -> Side | None:
        found = efficiency(attempt)
        if found is None or is_disturbed(attempt):
            return None
        return "misses" if found < floor else "meets" if found >= floor * (1 + BARELY) else "barely"

    ruling, found = rule_attempts(measurement, side), efficiency(measurement)
    if found is not None and (ruling.misses or ruling.is_open):
        yield Hit(
            text=f"{measurement.key} reaches {percent(found)} of the peak its cores have at their clock",
            evidence={
                "efficiency": [efficiency(attempt) for attempt in attempts(measurement)],
                "limit": floor,
                "clock_hz": number(measurement.context, "clock_hz"),
                "threads": number(measurement.context, "threads"),
            },
            key=measurement.key,
            ruling=ruling,
        )


def _above_latency(evidence: Evidence, measurement: Measurement, part: Part, level: str) -> Iterator[Hit]:
    cycles = part.l1_cycles if level == "l1" else part.l2_cycles
    if cycles is None:
        return
    limit = cycles * evidence.reference.floor[f"{level}_latency"]

    def taken(attempt: Attempt | Measurement) -> float | None:
        clock_hz = number(attempt.context, "clock_hz")
        return attempt.value * clock_hz if clock_hz and attempt.value is not None else None

    def side(attempt: Attempt) -> Side | None:
        found = taken(attempt)
        if found is None or is_disturbed(attempt):
            return None
        return "misses" if found > limit else "meets" if found <= limit * (1 - BARELY) else "barely"

    ruling, found = rule_attempts(measurement, side), taken(measurement)
    if found is not None and (ruling.misses or ruling.is_open):
        yield Hit(
            text=f"{measurement.key} takes {found:.1f} cycles, {part.name} needs {cycles:g}",
            evidence={
                "cycles": [taken(attempt) for attempt in attempts(measurement)],
                "limit": limit,
                "expected": cycles,
            },
            key=measurement.key,
            ruling=ruling,
        )


def above_physics(evidence: Evidence) -> Iterator[Hit]:
    """Faster than the cores can be: the clock lies, or the work was not done."""
    if evidence.node.device_kind != "cpu":
        return
    fastest = max((hz for m in evidence.measurements.values() for hz in _clocks(m)), default=None)
    cpus = len(evidence.node.cpu.usable_cpus) or evidence.node.cpu.threads
    for dtype in DTYPES:
        measurement = evidence.measurements.get(f"matmul.{dtype}")
        if fastest is None or not cpus or measurement is None or measurement.value is None:
            continue
        # the fastest clock seen anywhere in the run: a reading that was interrupted can only be too low
        threads = int(number(measurement.context, "threads") or cpus)
        peak = cpu_peak(evidence.reference, evidence.node, dtype, clock_hz=fastest, threads=threads)
        if peak.ceiling is None:
            continue
        limit = PHYSICS_PART * peak.ceiling
        ruling = rule_attempts(measurement, partial(_beyond, limit))
        if ruling.misses:
            yield Hit(
                text=f"{measurement.key} measured {si(measurement.value, measurement.unit)}, more than the "
                f"{si(peak.ceiling, measurement.unit)} that its cores can do",
                evidence={
                    "measured": [attempt.value for attempt in attempts(measurement)],
                    "ceiling": peak.ceiling,
                    "limit": limit,
                    "clock_hz": fastest,
                },
                key=measurement.key,
                ruling=ruling,
            )


def _beyond(limit: float, attempt: Attempt) -> Side | None:
    if attempt.value is None:
        return None
    return "misses" if attempt.value > limit else "meets"


def _clocks(measurement: Measurement) -> list[float]:
    names = ("clock_hz", "clock_before_hz", "clock_after_hz")
    every = [number(a.context, name) for a in attempts(measurement) for name in names]
    return [hz for hz in every if hz]


def dtype_ratio(evidence: Evidence) -> Iterator[Hit]:
    """Single precision is not twice as fast as double: a control that needs neither a table nor a past."""
    single, double = (evidence.measurements.get(f"matmul.{dtype}") for dtype in ("fp32", "fp64"))
    if evidence.node.device_kind != "cpu" or single is None or double is None or not single.value or not double.value:
        return
    slow = double.value

    def side(attempt: Attempt) -> Side | None:
        if attempt.value is None or is_disturbed(attempt):
            return None
        return "meets" if RATIO_LOW <= attempt.value / slow <= RATIO_HIGH else "misses"

    ruling = rule_attempts(single, side)
    if ruling.misses and not is_disturbed(double):
        ratio = single.value / slow
        yield Hit(
            text=f"matmul.fp32 is {ratio:.2f} times matmul.fp64; every CPU does about twice as much",
            evidence={"ratio": ratio, "low": RATIO_LOW, "high": RATIO_HIGH},
            key=single.key,
            ruling=ruling,
        )


RULES = (
    Rule(
        code="BELOW_HISTORY",
        severity="failure",
        fires="a figure is worse than this node's own earlier ones",
        limit=f"{percent(LEAST_DROP_PER_CLOCK)} per clock cycle for what happens in the core, by its best sample; "
        f"{percent(LEAST_DROP)} for all else, {percent(SHARED)} in a virtual machine; a GPU's products "
        f"{percent(GPU_PER_CLOCK.drop)} per cycle and {percent(GPU_PRODUCT.drop)} as they are, its memory and links "
        f"{percent(GPU_MEMORY.drop)}; "
        f"or {SPREADS:g} times the spread of the earlier figures if that is more; from {LEAST_FIGURES} "
        f"comparable ones on; 2 of 3. Beyond {percent(HISTORY_FAILURE)} and twice the limit it is a failure",
        remedy="Find what changed since: firmware, cooling, memory modules, neighbours, a new service.",
        find=below_history,
    ),
    Rule(
        code="BELOW_REFERENCE",
        severity="failure",
        fires="a figure is worse than that of any healthy part of its kind",
        limit="the floor of reference.toml: a part of the peak by formula at the observed clock, or cycles of a cache; "
        "2 of 3",
        remedy="Check memory channels, power limits and the BIOS; ask the host for the CPU that was bought.",
        find=below_reference,
    ),
    Rule(
        code="ABOVE_PHYSICS",
        severity="failure",
        fires="a figure is better than the cores can be",
        limit=f"{percent(PHYSICS_PART)} of the peak by formula at the highest clock seen, 2 of 3",
        remedy="The clock of this machine is wrong, or the work is done elsewhere: neither can be qualified.",
        find=above_physics,
    ),
    Rule(
        code="DTYPE_RATIO",
        severity="warning",
        fires="single precision is not about twice as fast as double",
        limit=f"between {RATIO_LOW:g} and {RATIO_HIGH:g} times, 2 of 3; every vector unit known does twice as much",
        remedy="Check that the library uses this CPU's vector units (ONEDNN_VERBOSE, MKL_VERBOSE).",
        find=dtype_ratio,
    ),
)
