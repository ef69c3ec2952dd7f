"""Rules about what a GPU's figures should be at least and can be at most: one formula for score, gates and market."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from qualify import expected_gpu, reference_gpu
from qualify.records import Attempt, Measurement
from qualify.reference_gpu import HOSTLINK, MEMORY
from qualify.rule import Evidence, Hit, Rule, percent, si
from qualify.trial import Ruling, Side, at_least, at_most, attempts, number, rule_attempts

#: least parts of what is expected: at the clock that was observed, and at the one behind the published peak
PRODUCT_PART, PRODUCT_PART_UNKNOWN_CLOCK, MEMORY_PART = 0.5, 0.35, 0.75
#: a slot may have fewer lanes than the part: the rules about links speak of that
WITHOUT_FLOOR = frozenset({HOSTLINK})
#: summed in 16 bits it tells chips apart (GPU_CLAIM_MISMATCH_FP16), and a library may sum in 32 all the same
ELSEWHERE = frozenset({"fp16_half"})
PHYSICS_PART = 1.03


def below_reference(evidence: Evidence) -> Iterator[Hit]:
    """Slower than any healthy part of its kind."""
    for measurement in _measured(evidence):
        if expected_gpu.QUANTITY_OF[measurement.key] in WITHOUT_FLOOR:
            continue
        limit, part = _floor(evidence, measurement, measurement)
        if limit is None:
            continue
        ruling = rule_attempts(measurement, partial(_side, evidence, measurement))
        if ruling.misses or ruling.is_open:
            peak = limit / part
            words = f"less than {percent(part)} of the {si(peak, measurement.unit)} that is expected"
            yield _beside(measurement, limit, ruling, words)


def _side(evidence: Evidence, measurement: Measurement, attempt: Attempt) -> Side | None:
    """Each attempt is held against the clock of its own time."""
    limit, _ = _floor(evidence, measurement, attempt)
    return None if limit is None else at_least(limit)(attempt)


def _floor(evidence: Evidence, measurement: Measurement, attempt: Attempt | Measurement) -> tuple[float | None, float]:
    """What it must reach at least, and which part of the expectation that is."""
    at = replace(measurement, context=attempt.context)
    peak = expected_gpu.expectation(evidence.node, at, evidence.reference.gpus)
    part = PRODUCT_PART if number(attempt.context, "clock_hz") else PRODUCT_PART_UNKNOWN_CLOCK
    if expected_gpu.QUANTITY_OF[measurement.key] == MEMORY:
        part = MEMORY_PART
    return (None if peak is None or peak.least is None else part * peak.least), part


def above_physics(evidence: Evidence) -> Iterator[Hit]:
    """Faster than the part can be at the highest clocks there were."""
    found = expected_gpu.part_of(evidence.node, evidence.reference.gpus).part
    if found is None:
        return
    for measurement in _measured(evidence):
        peak = _ceiling(evidence, found, measurement)
        if peak is None:
            continue
        ruling = rule_attempts(measurement, at_most(PHYSICS_PART * peak))
        if ruling.misses:
            words = f"more than the {si(peak, measurement.unit)} it can do"
            yield _beside(measurement, PHYSICS_PART * peak, ruling, words)


def _ceiling(evidence: Evidence, part: reference_gpu.Part, measurement: Measurement) -> float | None:
    gpus = evidence.node.gpus
    seen = [number(attempt.context, "clock_hz") for attempt in attempts(measurement)]
    clocks = [hz for hz in (*(gpu.sm_clock_max_hz for gpu in gpus), *seen) if hz]
    told = [gpu.settings.memory_clock_max_hz for gpu in gpus if gpu.settings]
    memory_hz = max(part.memory_clock_hz, *(hz for hz in (*told, 0.0) if hz is not None))
    most = expected_gpu.ceiling(part, measurement.key, clock_hz=max(clocks, default=None), memory_hz=memory_hz)
    return None if most is None else most.ceiling


def _measured(evidence: Evidence) -> list[Measurement]:
    """The figures of GPUs that a formula speaks of; none where one of them is a slice."""
    if evidence.node.device_kind != "cuda" or any(gpu.mig for gpu in evidence.node.gpus):
        return []
    found = sorted(evidence.measurements.items())
    return [m for key, m in found if expected_gpu.QUANTITY_OF.get(key, "fp16_half") not in ELSEWHERE and m.value]


def _beside(measurement: Measurement, limit: float, ruling: Ruling, words: str) -> Hit:
    return Hit(
        text=f"{measurement.key} measured {si(measurement.value or 0.0, measurement.unit)}, {words}",
        evidence={"measured": [attempt.value for attempt in attempts(measurement)], "limit": limit},
        key=measurement.key,
        ruling=ruling,
    )


RULES = (
    Rule(
        code="GPU_BELOW_REFERENCE",
        severity="failure",
        fires="a GPU's figure is worse than that of any healthy part of its kind",
        limit=f"products {percent(PRODUCT_PART)} of the peak at the observed clock, but never below half of the "
        f"reference clock, {percent(PRODUCT_PART_UNKNOWN_CLOCK)} of it where the clock is unknown; memory "
        f"{percent(MEMORY_PART)}; 2 of 3",
        remedy="Check power limit, clocks, cooling and who else uses the GPU.",
        find=below_reference,
    ),
    Rule(
        code="GPU_ABOVE_PHYSICS",
        severity="failure",
        fires="a GPU's figure is better than the part can be",
        limit=f"{percent(PHYSICS_PART)} of the peak at its highest clock, of its memory and of its link, 2 of 3",
        remedy="The clock of this machine is wrong, or the work is done elsewhere: neither can be qualified.",
        find=above_physics,
    ),
)
