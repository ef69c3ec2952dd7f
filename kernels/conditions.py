"""What happened around a case: the core's clock, the CPU time we got, steal; the context that explains a figure."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernels.timing import Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters at one moment; None = cannot be read here."""

    wall_s: float
    cpu_s: float  #: of this process, all threads
    switches: int  #: involuntary, all threads
    ticks: tuple[int, ...] | None  #: /proc/stat, all CPUs: user nice system idle iowait irq softirq steal
    clock_hz: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Reads the counters; the clock probe is passed in, so that a device without one has none."""

    clock_hz: Callable[[], float | None]
    root: Path = Path("/")

    def read(self) -> Reading:
        """The counters now; the clock probe runs first, outside of what they count."""
        clock_hz = self.clock_hz()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Reading(
            wall_s=time.monotonic(),
            cpu_s=usage.ru_utime + usage.ru_stime,
            switches=usage.ru_nivcsw,
            ticks=_ticks(self.root / "proc/stat"),
            clock_hz=clock_hz,
        )


def between(before: Reading, after: Reading, *, threads: int | None) -> dict[str, object]:
    """The context of whatever ran between two readings.

    Args:
        threads: how many threads the case keeps busy; None = unknown, then no `cpu_share` is given.

    `cpu_share` is CPU time received over CPU time wanted (wall x threads): below 1 somebody else had our cores.
    """
    wall_s = max(after.wall_s - before.wall_s, 1e-9)
    cpu_s = after.cpu_s - before.cpu_s
    clocks = [hz for hz in (before.clock_hz, after.clock_hz) if hz is not None]
    context: dict[str, object] = {
        "clock_before_hz": before.clock_hz,
        "clock_after_hz": after.clock_hz,
        "clock_hz": sum(clocks) / len(clocks) if clocks else None,
        "involuntary_switches_per_s": (after.switches - before.switches) / wall_s,
        "steal_ratio": _steal(before.ticks, after.ticks),
    }
    if threads:
        context["cpu_share"] = cpu_s / (wall_s * threads)
    return context


class CheckedTimer:
    """A timer whose every batch is also timed by the kernel's raw clock, which nobody slews.

    `ratio` is near 1 on an honest machine: a device clock that disagrees with the host's means virtual time,
    a tampered clock or preemption between the two.
    """

    #: shorter batches would compare the cost of reading two clocks
    MIN_BATCH_S = 1e-3

    def __init__(self, timer: Timer, raw_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_MONOTONIC_RAW)):
        self._timer, self._raw_s = timer, raw_s
        self._device_s = self._host_s = 0.0

    def now(self) -> float:
        """Seconds of the timer beneath."""
        return self._timer.now()

    def time(self, call: Callable[[], object], calls: int) -> float:
        """Seconds of the timer beneath; the raw clock runs around it."""
        start = self._raw_s()
        seconds = self._timer.time(call, calls)
        host_s = self._raw_s() - start
        if seconds >= self.MIN_BATCH_S:
            self._device_s += seconds
            self._host_s += host_s
        return seconds

    def take_ratio(self) -> float | None:
        """Device seconds over raw host seconds since the last call; None when no batch was long enough."""
        ratio = self._device_s / self._host_s if self._host_s > 0 else None
        self._device_s = self._host_s = 0.0
        return ratio


def _ticks(path: Path) -> tuple[int, ...] | None:
    try:
        with path.open() as lines:
            return tuple(int(field) for field in lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None


def _steal(before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> float | None:
    """Part of the time wanted by anybody that the hypervisor kept: steal / (all - idle - iowait)."""
    if before is None or after is None or len(before) < 8 or len(after) < 8:
        return None
    gone = [b - a for a, b in zip(before, after, strict=True)]
    wanted = sum(gone) - gone[3] - gone[4]
    return gone[7] / wanted if wanted > 0 else None


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; nothing where there is no prctl (not Linux).

    Source: prctl(2), PR_SET_PDEATHSIG = 1.
    """
    import ctypes
    import signal

    parent = os.getppid()
    try:
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it ended between the two calls
        os.kill(os.getpid(), signal.SIGKILL)
