"""Figures of GPUs that cannot be true: more than the part does at the fastest clock that was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qualify.expected_gpu import QUANTITY_OF, ceiling, part_of
from qualify.records import Measurement, Node, Report
from qualify.reference_gpu import Part, Peak, peak
from qualify.rules_gpu_figures import PHYSICS_PART
from qualify.trial import number

#: no multiprocessor that was ever sold runs faster; the record under liquid nitrogen lies below
CLOCK_MOST_HZ = 4e9
#: of the clock behind the published peak: no board as sold, nor overclocked by its owner, runs faster for seconds
CLOCK_MOST = 1.2
#: of the table's memory clock: further no board's memory is overclocked
MEMORY_CLOCK_MOST = 1.25


def bf16_most(node: Node, parts: Sequence[Part]) -> float | None:
    """The most bf16, FLOP/s, that a GPU of the node can do by its bf16 units; None where they are not in the table."""
    part = part_of(node, parts).part
    expected = None if part is None else peak(part, "bf16").expected
    return None if expected is None else CLOCK_MOST * expected


def beyond_peak(report: Report, parts: Sequence[Part]) -> Iterator[str]:
    """A sentence for every figure that the GPUs of `report` cannot have reached; none where they are not in the table.

    A GPU that does not tell its clocks is held against the fastest clock there is, and its memory against the table's.
    """
    part = part_of(report.node, parts).part
    if part is None:
        return
    told_hz = [gpu.sm_clock_max_hz for gpu in report.node.gpus if gpu.sm_clock_max_hz]
    clock_hz = max(_seen(report, "clock_hz") or told_hz, default=CLOCK_MOST_HZ)
    if clock_hz > CLOCK_MOST_HZ:
        yield f"a clock of {clock_hz / 1e9:.1f} GHz is faster than any GPU runs"
    memory_hz = max([part.memory_clock_hz, *_seen(report, "memory_clock_hz")])
    if memory_hz > MEMORY_CLOCK_MOST * part.memory_clock_hz:
        yield (
            f"a memory clock of {memory_hz / 1e6:.0f} MHz is out of reach for {part.name}, "
            f"which has {part.memory_clock_hz / 1e6:.0f} MHz"
        )
    for measurement in report.measurements:
        most = ceiling(part, measurement.key, clock_hz=clock_hz, memory_hz=memory_hz)
        if most is not None and measurement.value is not None:
            yield from _beyond(measurement, most)


def _beyond(measurement: Measurement, peak: Peak) -> Iterator[str]:
    value = measurement.value or 0.0
    if peak.ceiling is not None and value > PHYSICS_PART * peak.ceiling:
        yield (
            f"{measurement.key} is {value:.4g} {measurement.unit}, {value / peak.ceiling:.0%} of the "
            f"{peak.ceiling:.4g} that is possible: {peak.basis}"
        )


def _seen(report: Report, clock: str) -> list[float]:
    """Every reading of a GPU clock in the report, beside the measurements of GPUs or by the sampler."""
    measured = [m for m in report.measurements if m.key in QUANTITY_OF]
    contexts = [context for m in measured for context in (m.context, *(attempt.context for attempt in m.attempts))]
    beside = [number(context, clock) for context in contexts]
    sampled = [
        reading.sm_clock_hz if clock == "clock_hz" else reading.memory_clock_hz
        for each in report.telemetry
        for reading in each.gpus
    ]
    return [hz for hz in (*beside, *sampled) if hz]
