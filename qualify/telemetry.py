"""Samples load, clock, temperature, memory and throttling beside the benchmarks, from a thread of next to no cost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qualify import cgroup, hardware, load
from qualify.files import Files, number
from qualify.load import CpuTime
from qualify.records import Telemetry
from qualify.telemetry_gpu import GpuSampler

INTERVAL_S = 0.25
CLOCKS_READ = 8  #: CPUs whose clock is read each time; each read may interrupt that CPU
SENSORS_READ = 8
CPU_SENSORS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})  #: names of hwmon drivers
#: labels of sensors that speak for a whole package (coretemp, k10temp)
PACKAGE_LABELS = ("Package", "Tctl", "Tdie")
ZONE_TYPES = ("x86_pkg_temp", "cpu", "soc")  #: how a CPU's thermal zone is called, or begins to be
BELIEVABLE_C = (0.0, 150.0)  #: what lies outside is a broken or absent sensor (-273, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What can be read at one moment; None = not on this machine."""

    cpu: CpuTime | None = None
    throttling: Mapping[Path, cgroup.Counts] = field(default_factory=dict)
    clock_hz: float | None = None  #: the fastest of the CPUs read: an idle neighbour's low clock says nothing
    temperature_c: float | None = None  #: the hottest sensor of the CPU
    memory_used_bytes: int | None = None


class Machine:
    """Reads the counters; where the files lie is found out once."""

    def __init__(self, *, root: Path = Path("/"), cpus: Iterable[int] | None = None) -> None:
        """`cpus`: those whose clock matters; the affinity mask of the caller if None."""
        self._files = Files(root)
        usable = sorted(os.sched_getaffinity(0) if cpus is None else cpus)
        step = max(1, -(-len(usable) // CLOCKS_READ))
        self._clocks = [f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in usable[::step]]
        self._clocks = [path for path in self._clocks if number(self._files.head(path)) is not None]
        self._sensors = _sensors(self._files)
        self._groups = tuple(cgroup.throttling(self._files))

    def read(self) -> Counters:
        """The counters now."""
        clocks = [khz for path in self._clocks if (khz := number(self._files.head(path)))]
        return Counters(
            cpu=load.cpu_time(self._files),
            throttling={folder: counts for folder in self._groups if (counts := cgroup.counts_of(folder)) is not None},
            clock_hz=max(clocks) * 1e3 if clocks else None,
            temperature_c=_hottest(self._files, self._sensors),
            memory_used_bytes=hardware.memory_used_bytes(self._files),
        )


class Sampler:
    """Takes a reading every `interval_s` from `start` to `stop`; what runs meanwhile is told through `running`."""

    def __init__(
        self,
        read: Callable[[], Counters] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_s: float = INTERVAL_S,
        origin_s: float | None = None,
        gpus: GpuSampler | None = None,
    ) -> None:
        """Ready to start.

        Args:
            read: the counters; those of this machine if None.
            origin_s: when the run began, in seconds of `clock`; now if None.
            gpus: samples the GPUs meanwhile, faster; it is started and stopped with this one.
        """
        self.running: str | None = None  #: the bench that runs now
        self.gpus = gpus
        self._read = Machine().read if read is None else read
        self._clock, self._interval_s = clock, interval_s
        self._origin_s = clock() if origin_s is None else origin_s
        self._before = Counters()
        self._taken: list[Telemetry] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first reading comes one interval later, because ratios need a reading before.

        Raises:
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a sampler runs once")
        self._before = self._read()
        if self.gpus is not None:
            self.gpus.start()
        self._thread = threading.Thread(target=self._loop, name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> tuple[Telemetry, ...]:
        """End, and return every reading in the order taken; may be called again.

        What happened since the latest one is read too, unless that was just now: the counters of so short a time
        would say nothing.
        """
        if self._thread is not None and not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            if not self._taken or self._since_start_s() - self._taken[-1].at_s >= self._interval_s / 2:
                self.take()
            if self.gpus is not None:
                self.gpus.stop()
        return tuple(self._taken)

    def so_far(self) -> tuple[Telemetry, ...]:
        """Every reading up to now, in the order taken."""
        return tuple(self._taken)

    def take(self) -> None:
        """Take one reading now."""
        now, before = self._read(), self._before
        share = load.shares(before.cpu, now.cpu)
        self._taken.append(
            Telemetry(
                at_s=self._since_start_s(),
                running=self.running,
                busy_ratio=share.busy_ratio if share else None,
                steal_ratio=share.steal_ratio if share else None,
                clock_hz=now.clock_hz,
                temperature_c=now.temperature_c,
                memory_used_bytes=now.memory_used_bytes,
                throttled_ratio=_throttled(before.throttling, now.throttling),
                gpus=self.gpus.drain() if self.gpus is not None else (),
            )
        )
        self._before = now

    def _since_start_s(self) -> float:
        return self._clock() - self._origin_s

    def _loop(self) -> None:
        # paced by the clock, so that the time a reading takes does not stretch the interval
        due_s = self._clock() + self._interval_s
        while not self._ended.wait(max(0.0, due_s - self._clock())):
            self.take()
            due_s = max(due_s + self._interval_s, self._clock())


def _throttled(before: Mapping[Path, cgroup.Counts], after: Mapping[Path, cgroup.Counts]) -> float | None:
    """Part of the periods since the reading before in which a group on our path was stopped: the worst of them.

    None without a group that counts; 0 when none of them has a quota or none of their periods ended yet.
    """
    ratios = []
    for folder, (periods, stopped) in after.items():
        if folder in before:
            passed = periods - before[folder][0]
            ratios.append(min(1.0, (stopped - before[folder][1]) / passed) if passed > 0 else 0.0)
    return max(ratios, default=None)


def _sensors(files: Files) -> tuple[str, ...]:
    """The CPU's temperature files: those of whole packages if there are any, thermal zones if there is no sensor."""
    packages: list[str] = []
    others: list[str] = []
    for chip in files.names("/sys/class/hwmon"):
        folder = f"/sys/class/hwmon/{chip}"
        if files.text(f"{folder}/name") not in CPU_SENSORS:
            continue
        for name in files.names(folder):
            if name.startswith("temp") and name.endswith("_input"):
                label = files.text(f"{folder}/{name.removesuffix('_input')}_label") or ""
                (packages if label.startswith(PACKAGE_LABELS) else others).append(f"{folder}/{name}")
    zones = []
    for zone in files.names("/sys/class/thermal"):
        folder = f"/sys/class/thermal/{zone}"
        if zone.startswith("thermal_zone") and (files.text(f"{folder}/type") or "").startswith(ZONE_TYPES):
            zones.append(f"{folder}/temp")
    return tuple((packages or others or zones)[:SENSORS_READ])


def _hottest(files: Files, sensors: tuple[str, ...]) -> float | None:
    low, high = BELIEVABLE_C
    degrees = [millidegrees / 1e3 for path in sensors if (millidegrees := number(files.head(path))) is not None]
    return max((value for value in degrees if low < value < high), default=None)
