"""Samples the GPUs 25 times a second beside the benchmarks, and listens to what the driver announces."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from qualify import nvml
from qualify.gpu_records import GpuEvent, GpuReading
from qualify.nvml import Events, Nvml, NvmlError
from qualify.nvml_load import Detail
from qualify.records import Gpu

T = TypeVar("T")

INTERVAL_S = 0.04
COUNTERS_EVERY = 6  #: samples between two readings of the counters: about four a second
THROUGHPUT_EVERY = 50  #: samples between two readings of one GPU's PCIe throughput, which block for 40 ms


class GpuSampler:
    """Owns the library from `start` to `stop`; between two calls of `drain` samples are folded into one reading a GPU.

    `indices` are NVML's numbers of the GPUs that are measured. While `is_quiet` nothing is asked of any of them: a
    question may delay a kernel by some microseconds.
    """

    def __init__(
        self,
        library: Nvml,
        indices: Sequence[int],
        *,
        clock: Callable[[], float] = time.monotonic,
        origin_s: float = 0.0,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.is_quiet = False  #: set around work that measures latencies
        self.events: list[GpuEvent] = []  #: in the order heard
        self.after: tuple[Gpu, ...] = ()  #: the GPUs once `stop` was called
        self._library, self._indices, self._interval_s = library, tuple(indices), interval_s
        self._clock, self._origin_s = clock, origin_s
        self._heard: Events | None = None
        self._taken: list[GpuReading] = []
        self._number = 0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, from a thread of its own."""
        self.subscribe()
        self._thread = threading.Thread(target=self._loop, name="gpu-telemetry", daemon=True)
        self._thread.start()

    def subscribe(self) -> None:
        """Listen to the driver; one that cannot be listened to announces nothing."""
        try:
            self._heard = self._library.events(lambda: self._clock() - self._origin_s)
        except NvmlError:
            self._heard = None

    def stop(self) -> None:
        """End, look at every GPU once more, and let go of the library; may be called again."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.listen()
        try:
            self.after = tuple(gpu for gpu in nvml.gpus(self._library)[0] if gpu.index in self._indices)
            if self._heard is not None:
                self._heard.close()
            self._library.close()
        except NvmlError as error:
            self.events.append(GpuEvent(at_s=self._clock() - self._origin_s, gpu=None, kind=error.code or "refused"))

    def sample(self) -> None:
        """Take one sample of every GPU and hear what was announced, unless it has to be quiet."""
        if self.is_quiet:
            return
        self._number += 1
        for place, index in enumerate(self._indices):
            reading = self._library.reading(index, [], self._detail(place))
            with self._lock:
                self._taken.append(reading)
        self.listen()

    def listen(self) -> None:
        """Hear what the driver announced since the last time."""
        try:
            while self._heard is not None and (event := self._heard.next(0.0)) is not None:
                self.events.append(event)
                if event.kind == "lost":  # it would be told again for ever
                    self._heard = None
        except NvmlError:
            self._heard = None

    def drain(self) -> tuple[GpuReading, ...]:
        """The samples since the last call, as one reading a GPU; none while it was quiet."""
        with self._lock:
            taken, self._taken = self._taken, []
        return tuple(fold(mine) for index in self._indices if (mine := [one for one in taken if one.index == index]))

    def _detail(self, place: int) -> Detail:
        if self._number % (THROUGHPUT_EVERY * len(self._indices)) == THROUGHPUT_EVERY * place + 1:
            return "all"
        return "counters" if self._number % COUNTERS_EVERY == 1 else "quick"

    def _loop(self) -> None:
        due_s = time.monotonic() + self._interval_s
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            self.sample()
            due_s = max(due_s + self._interval_s, time.monotonic())


def fold(readings: Sequence[GpuReading]) -> GpuReading:
    """One reading of several of one GPU, in the order taken; what none of them has stays None."""
    reasons = [one.reasons for one in readings if one.reasons is not None]
    names = sorted({name for seen in reasons for name in seen})
    return GpuReading(
        index=readings[0].index,
        n=len(readings),
        sm_clock_hz=_mean(one.sm_clock_hz for one in readings),
        memory_clock_hz=_mean(one.memory_clock_hz for one in readings),
        power_w=_mean(one.power_w for one in readings),
        temperature_c=max(_known(one.temperature_c for one in readings), default=None),
        memory_temperature_c=max(_known(one.memory_temperature_c for one in readings), default=None),
        margin_c=min(_known(one.margin_c for one in readings), default=None),
        busy_ratio=_mean(one.busy_ratio for one in readings),
        memory_busy_ratio=_mean(one.memory_busy_ratio for one in readings),
        memory_used_bytes=max(_known(one.memory_used_bytes for one in readings), default=None),
        reasons={name: sum(seen.get(name, 0.0) for seen in reasons) / len(reasons) for name in names}
        if reasons
        else None,
        energy_j=_last(one.energy_j for one in readings),
        violations_s=next((one.violations_s for one in reversed(readings) if one.violations_s), {}),
        pcie_generation=_last(one.pcie_generation for one in readings),
        pcie_width=_last(one.pcie_width for one in readings),
        pcie_replays=_last(one.pcie_replays for one in readings),
        pcie_down_bytes_per_s=_last(one.pcie_down_bytes_per_s for one in readings),
        pcie_up_bytes_per_s=_last(one.pcie_up_bytes_per_s for one in readings),
        ecc_uncorrected=_last(one.ecc_uncorrected for one in readings),
        nvlink_errors=_last(one.nvlink_errors for one in readings),
    )


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    found = _known(values)
    return statistics.fmean(found) if found else None


def _last(values: Iterable[T | None]) -> T | None:
    found = _known(values)
    return found[-1] if found else None
