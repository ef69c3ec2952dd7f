"""What rules about GPUs share: one GPU after another, its readings under load, its state before and after the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from qualify.gpu_records import GpuHealth, GpuReading, GpuSettings
from qualify.records import Gpu, Json, Severity
from qualify.rule import Evidence, Hit

BUSY = 0.9  #: part of its time that a GPU under load computes
LEAST_READINGS = 8  #: windows of a quarter of a second: 2 s of load, below which nothing is said of clocks or heat
UNKNOWN_HEALTH, UNKNOWN_SETTINGS = GpuHealth(), GpuSettings()


def each(tell: Callable[[Evidence, Gpu], Hit | None]) -> Callable[[Evidence], Iterator[Hit]]:
    """A rule's `find` that asks `tell` of every GPU."""

    def find(evidence: Evidence) -> Iterator[Hit]:
        for gpu in evidence.node.gpus:
            found = tell(evidence, gpu)
            if found is not None:
                yield found

    return find


def hit(gpu: Gpu, words: str, *, severity: Severity | None = None, **figures: Json) -> Hit:
    """A condition met by one GPU; `words` go on from its number."""
    return Hit(text=f"GPU {gpu.index} {words}", evidence={"gpu": gpu.index, **figures}, severity=severity)


def health(gpu: Gpu) -> GpuHealth:
    """Its counters of faults; all unknown where none were read."""
    return gpu.health or UNKNOWN_HEALTH


def settings(gpu: Gpu) -> GpuSettings:
    """How it is set; all unknown where nothing was read."""
    return gpu.settings or UNKNOWN_SETTINGS


def later(evidence: Evidence, gpu: Gpu) -> Gpu:
    """The same GPU after the run, or as it was before where nobody looked again."""
    return next((after for after in evidence.gpus_after if after.index == gpu.index), gpu)


def rise(before: int | None, after: int | None) -> int:
    """How far a counter rose; 0 where it is unknown or began anew."""
    return max(0, after - before) if before is not None and after is not None else 0


def readings(evidence: Evidence, gpu: Gpu, *, busy: bool = True) -> list[GpuReading]:
    """Its readings in the order taken: under load, or all."""
    every = [reading for taken in evidence.telemetry for reading in taken.gpus if reading.index == gpu.index]
    return [one for one in every if not busy or (one.busy_ratio is not None and one.busy_ratio >= BUSY)]


def reason_part(under_load: Sequence[GpuReading], reason: str) -> float | None:
    """The part of the samples in which `reason` held the clock down; None when too few were taken to say."""
    known = [reading for reading in under_load if reading.reasons is not None]
    if len(known) < LEAST_READINGS:
        return None
    samples = sum(reading.n for reading in known)
    return sum((reading.reasons or {}).get(reason, 0.0) * reading.n for reading in known) / samples


def span_s(evidence: Evidence) -> float:
    """Seconds between the first and the last reading."""
    times = [taken.at_s for taken in evidence.telemetry if taken.gpus]
    return max(times) - min(times) if times else 0.0
