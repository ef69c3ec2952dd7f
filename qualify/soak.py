"""What telemetry saw of sustained load: when the temperature stood still, and what held speed back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qualify.gpu_records import GpuReading
from qualify.records import Json, Measurement, Node, Telemetry
from qualify.trial import MOST_STEAL, number

KEYS = ("stress.sustained", "stress.decline")
#: of its last temperature: what a sensor of whole degrees shows of a temperature that stands still
STILL_C = 2.0
#: part of the load at its end that must be still: a temperature that settles later was not seen to settle
STILL_PART = 0.25
LEAST_READINGS = 8  #: windows of a quarter of a second: 2 s of load
#: reasons that NVML gives for a clock, the gravest first, and from which part of the samples each explains a decline;
#: the hardware's count from the first hundredth, for one sample alone may be noise (NVIDIA/DCGM issue 242)
GPU_CAUSES: Mapping[str, float] = {
    "hw_power_brake": 0.01,
    "hw_thermal": 0.01,
    "sw_thermal": 0.05,
    "hw_slowdown": 0.01,
    "board_limit": 0.05,
    "reliability": 0.05,
    "sw_power_cap": 0.05,
    "application_clocks": 0.05,
    "sync_boost": 0.05,
}
WARM_C = 90.0  #: of a processor whose clock falls: makers' limits are 95 to 105 °C
CLOCK_FELL = 0.97  #: late clock over early one
NONE_TOLD = "none_told"  #: it was watched, and nothing gave a reason

Watched = tuple[float, float]  #: seconds since the load began, °C


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One device under load; None = nobody could tell."""

    gpu: int | None = None  #: NVML's number; None = the processor
    start_c: float | None = None
    steady_c: float | None = None  #: the last quarter's median
    still_after_s: float | None = None  #: since the load began; None = unknown, or it did not stand still
    cause: str | None = None  #: what held the clock down in the late half; None = nobody looked

    def context(self) -> dict[str, Json]:
        """As a measurement's context has it."""
        return {
            "gpu": self.gpu,
            "temperature_start_c": self.start_c,
            "temperature_steady_c": self.steady_c,
            "temperature_still_after_s": self.still_after_s,
            "cause": self.cause,
        }


def with_soak(
    measurements: Mapping[str, Measurement],
    telemetry: Sequence[Telemetry],
    *,
    node: Node,
    origin_s: float,
    earlier: Mapping[str, Measurement] | None = None,
) -> dict[str, Measurement]:
    """The measurements, those of sustained load with what was seen beside it.

    Added to their context: `soak`, a record for each device; `temperature_still_after_s`, the latest of them, None
    where one is not known; `decline_cause`, that of the device that lost most.

    Args:
        origin_s: when the run began, on the clock that `started_mono_s` is of.
        earlier: what the run has besides; one figure alone, measured again, does not tell the GPUs' addresses.
    """
    loaded = [every[key] for every in (measurements, earlier or {}) for key in KEYS if key in every]
    addresses = next((told for m in loaded if (told := m.context.get("gpu_addresses"))), None)
    indices = _indices(addresses, node)
    return {
        key: _with_soak(m, telemetry, indices if node.device_kind == "cuda" else None, origin_s)
        if key in KEYS and "soak" not in m.context
        else m
        for key, m in measurements.items()
    }


def _with_soak(
    measurement: Measurement, telemetry: Sequence[Telemetry], indices: Sequence[int] | None, origin_s: float
) -> Measurement:
    began_s, lasted_s = number(measurement.context, "started_mono_s"), _lasted_s(measurement)
    if began_s is None or lasted_s is None:
        return measurement
    at_s = began_s - origin_s
    beside = [each for each in telemetry if 0 <= each.at_s - at_s <= lasted_s]
    if indices is not None:
        every = [_gpu(index, beside, at_s, lasted_s) for index in indices]
        worst = number(measurement.context, "gpu")
        told = every[int(worst)] if worst is not None and worst < len(every) else _gravest(every)
    else:
        told = _processor(beside, at_s, lasted_s)
        every = [told]
    still = [seen.still_after_s for seen in every]
    known = [after_s for after_s in still if after_s is not None]
    added: dict[str, Json] = {
        "soak": [seen.context() for seen in every],
        "temperature_still_after_s": max(known) if known and len(known) == len(still) else None,
        "decline_cause": told.cause if told else None,
    }
    return replace(measurement, context={**measurement.context, **added})


def _lasted_s(measurement: Measurement) -> float | None:
    ends_s = measurement.context.get("elapsed_s")
    last = ends_s[-1] if isinstance(ends_s, list) and ends_s else None
    return float(last) if isinstance(last, int | float) else number(measurement.context, "lasted_s")


def _indices(addresses: Json, node: Node) -> list[int]:
    """NVML's number of each loaded GPU, in the order of CUDA's: by address, or by place where one is not known."""
    by_address = {gpu.pci_address: gpu.index for gpu in node.gpus if gpu.pci_address}
    if isinstance(addresses, list) and addresses and all(address in by_address for address in addresses):
        return [by_address[str(address)] for address in addresses]
    return [gpu.index for gpu in node.gpus]


def _gravest(every: Sequence[Seen]) -> Seen | None:
    order = (*GPU_CAUSES, NONE_TOLD, None)
    return min(every, key=lambda seen: order.index(seen.cause), default=None)


def _gpu(index: int, beside: Sequence[Telemetry], at_s: float, lasted_s: float) -> Seen:
    mine = [(each.at_s - at_s, one) for each in beside for one in each.gpus if one.index == index]
    warmth = [(after_s, one.temperature_c) for after_s, one in mine if one.temperature_c is not None]
    late = [one for after_s, one in mine if after_s > lasted_s / 2]
    return _seen(index, warmth, lasted_s, _gpu_cause(late))


def _gpu_cause(late: Sequence[GpuReading]) -> str | None:
    known = [one for one in late if one.reasons is not None]
    samples = sum(one.n for one in known)
    if len(known) < LEAST_READINGS // 2:
        return None
    for reason, least in GPU_CAUSES.items():
        if sum((one.reasons or {}).get(reason, 0.0) * one.n for one in known) > least * samples:
            return reason
    return NONE_TOLD


def _processor(beside: Sequence[Telemetry], at_s: float, lasted_s: float) -> Seen:
    warmth = [(each.at_s - at_s, each.temperature_c) for each in beside if each.temperature_c is not None]
    return _seen(None, warmth, lasted_s, _cpu_cause(beside, at_s + lasted_s / 2))


def _cpu_cause(beside: Sequence[Telemetry], middle_s: float) -> str | None:
    """What the kernel tells: a quota, the hypervisor, heat, a clock that fell without it."""
    late = [each for each in beside if each.at_s > middle_s]
    if len(late) < LEAST_READINGS // 2:
        return None
    if statistics.fmean(each.throttled_ratio or 0.0 for each in late) > 0.0:
        return "cgroup_quota"
    if statistics.fmean(each.steal_ratio or 0.0 for each in late) > MOST_STEAL:
        return "hypervisor"
    early_hz, late_hz = ([each.clock_hz for each in part if each.clock_hz] for part in (_first(beside), late))
    fell = early_hz and late_hz and statistics.median(late_hz) < CLOCK_FELL * statistics.median(early_hz)
    hottest = max((each.temperature_c for each in late if each.temperature_c is not None), default=None)
    if fell:
        return "thermal" if hottest is not None and hottest >= WARM_C else "clock"
    return NONE_TOLD


def _first(beside: Sequence[Telemetry]) -> Sequence[Telemetry]:
    return beside[: max(LEAST_READINGS // 2, len(beside) // 8)]


def _seen(gpu: int | None, warmth: Sequence[Watched], lasted_s: float, cause: str | None) -> Seen:
    if len(warmth) < LEAST_READINGS:
        return Seen(gpu=gpu, cause=cause)
    last = [degrees for after_s, degrees in warmth if after_s >= (1 - STILL_PART) * lasted_s]
    steady_c = statistics.median(last) if last else None
    after_s = None if steady_c is None else _still_after_s(warmth, steady_c, lasted_s)
    return Seen(gpu=gpu, start_c=warmth[0][1], steady_c=steady_c, still_after_s=after_s, cause=cause)


def _still_after_s(warmth: Sequence[Watched], steady_c: float, lasted_s: float) -> float | None:
    """When it came within `STILL_C` of its last temperature for good; 0 = it was there from the beginning."""
    away = [place for place, (_, degrees) in enumerate(warmth) if abs(degrees - steady_c) > STILL_C]
    if not away:
        return 0.0
    after = warmth[away[-1] + 1 :]
    return after[0][0] if after and after[0][0] <= (1 - STILL_PART) * lasted_s else None
