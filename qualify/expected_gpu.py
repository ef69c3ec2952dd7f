"""What the GPUs of a node should reach in a benchmark: the row of the part, the clock that was seen, the formula."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from qualify import reference_gpu
from qualify.gpu_records import GpuReading
from qualify.records import Gpu, Measurement, Node, Telemetry
from qualify.reference_gpu import HOSTLINK, MEMORY, Found, Part, Peak
from qualify.trial import number

#: what a figure is held against: a data type of the multiprocessors, the memory, the link to the host
QUANTITY_OF = {
    **{f"matmul.{dtype}": dtype for dtype in ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8")},
    "matmul.fp16_acc16": "fp16_half",
    **{f"memory.{loop}": MEMORY for loop in ("read", "write", "copy", "scale", "add", "triad")},
    "hostlink.h2d": HOSTLINK,
    "hostlink.d2h": HOSTLINK,
}
#: benchmarks that load the GPU; the others run on the processor even where GPUs are measured
ON_GPU = frozenset({"matmul", "memory", "memlatency", "launch", "hostlink", "peerlink", "allreduce", "stress"})
#: of a reading's time, what a GPU computes at least while a benchmark keeps it at work
WORKING = 0.5
#: of the reference clock, what is expected even of a GPU that ran slower: at their power limit parts hold half of it in
#: dense products (the 72 W of an L4 are the tightest), and a lower clock is a fault that must not excuse itself
LEAST_CLOCK_PART = 0.5


def part_of(node: Node, parts: Sequence[Part]) -> Found:
    """The row of the node's GPUs; none when they differ, for a figure does not say which of them it is of."""
    if not node.gpus:
        return Found(part=None, reason="no GPU was seen")
    found = [reference_gpu.find(parts, gpu.name, gpu.memory_bytes) for gpu in node.gpus]
    unknown = next((each for each in found if each.part is None), None)
    if unknown is not None:
        return unknown
    if len({each.reason for each in found}) > 1:
        return Found(part=None, reason=f"the GPUs differ: {', '.join(sorted({each.reason for each in found}))}")
    return found[0]


def expectation(node: Node, measurement: Measurement, parts: Sequence[Part]) -> Peak | None:
    """What `measurement` should be; None when no formula speaks of it, no `expected` when there is no row or no unit.

    Arithmetic is expected at the clock that was observed beside it, but never below `LEAST_CLOCK_PART` of the reference
    clock; memory at the clock of the board, and links at their speed, whatever was observed.
    """
    quantity = QUANTITY_OF.get(measurement.key)
    if quantity is None:
        return None
    found = part_of(node, parts)
    if found.part is None:
        return Peak(expected=None, least=None, ceiling=None, basis=found.reason)
    if quantity == MEMORY:
        return reference_gpu.peak(found.part, MEMORY, _board_memory_hz(found.part, node.gpus))
    observed_hz = number(measurement.context, "clock_hz")
    if quantity == HOSTLINK or not observed_hz:
        return reference_gpu.peak(found.part, quantity)
    least_hz = LEAST_CLOCK_PART * found.part.reference_hz(quantity)
    peak = reference_gpu.peak(found.part, quantity, max(observed_hz, least_hz))
    if observed_hz >= least_hz:
        return peak
    return replace(peak, basis=f"{peak.basis}, half of its reference clock: it ran at {observed_hz / 1e6:.0f} MHz")


def ceiling(part: Part, key: str, *, clock_hz: float | None, memory_hz: float | None) -> Peak | None:
    """What a figure cannot exceed at these clocks of multiprocessors and memory; None when no formula speaks of it."""
    quantity = QUANTITY_OF.get(key)
    if quantity is None:
        return None
    return reference_gpu.peak(part, quantity, {MEMORY: memory_hz, HOSTLINK: None}.get(quantity, clock_hz))


def with_clocks(measurements: Mapping[str, Measurement], telemetry: Sequence[Telemetry]) -> dict[str, Measurement]:
    """The measurements of GPUs with the clocks that were read while each ran, where their context has none.

    `clock_hz` and `memory_clock_hz` are medians over the readings of its time, of the slowest GPU that worked in each.
    """
    return {
        key: _with_clocks(measurement, telemetry) if key.partition(".")[0] in ON_GPU else measurement
        for key, measurement in measurements.items()
    }


def _with_clocks(measurement: Measurement, telemetry: Sequence[Telemetry]) -> Measurement:
    began_s, lasted_s = measurement.started_s, measurement.lasted_s
    if began_s is None or lasted_s is None:
        return measurement
    beside = [each.gpus for each in telemetry if each.gpus and began_s <= each.at_s <= began_s + lasted_s]
    added = {
        name: statistics.median(clocks)
        for name, clocks in (("clock_hz", _slowest(beside, "sm")), ("memory_clock_hz", _slowest(beside, "memory")))
        if clocks and measurement.context.get(name) is None
    }
    return replace(measurement, context={**measurement.context, **added}) if added else measurement


def _slowest(beside: Sequence[Sequence[GpuReading]], which: str) -> list[float]:
    """A clock for each moment at which a GPU worked: an idle neighbour's says nothing."""
    found = []
    for readings in beside:
        working = [r for r in readings if r.busy_ratio is None or r.busy_ratio >= WORKING]
        known = [hz for r in working if (hz := r.sm_clock_hz if which == "sm" else r.memory_clock_hz)]
        if known:
            found.append(min(known))
    return found


def _board_memory_hz(part: Part, gpus: Sequence[Gpu]) -> float | None:
    """The memory clock of the slowest board here, where boards of several clocks are sold under one name."""
    if part.memory_clock_least_hz == part.memory_clock_hz:
        return None
    told = [gpu.settings.memory_clock_max_hz for gpu in gpus if gpu.settings and gpu.settings.memory_clock_max_hz]
    slowest_hz = min(told, default=part.memory_clock_least_hz)
    return min(max(slowest_hz, part.memory_clock_least_hz), part.memory_clock_hz)
