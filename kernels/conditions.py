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
        return Reading(ticks=_ticks(self.root / "proc/stat"), clock_hz=clock_hz)


def between(before: Reading, after: Reading) -> dict[str, object]:
    """The context of whatever ran between two readings."""
    clocks = [hz for hz in (before.clock_hz, after.clock_hz) if hz is not None]
    return {
        "clock_before_hz": before.clock_hz,
        "clock_after_hz": after.clock_hz,
        "clock_hz": sum(clocks) / len(clocks) if clocks else None,
        "steal_ratio": _steal(before.ticks, after.ticks),
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """What the kernel and an independent clock say of this process; counters that only grow."""

    raw_s: float  #: CLOCK_MONOTONIC_RAW, which nobody slews
    cpu_s: float  #: all threads
    switches: int  #: involuntary, all threads


def usage() -> Usage:
    """The counters now, in about 2 µs."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(time.clock_gettime(time.CLOCK_MONOTONIC_RAW), used.ru_utime + used.ru_stime, used.ru_nivcsw)


class WatchedTimer:
    """A timer that also counts, around every batch and outside of its time, what we got of the machine meanwhile."""

    #: a shorter batch would compare the cost of reading the counters
    MIN_BATCH_S = 1e-3

    def __init__(self, timer: Timer, usage: Callable[[], Usage] = usage, *, compares: bool = True) -> None:
        """`compares`: whether a batch is nothing but its calls, so that its time can be held against the host's."""
        self._timer, self._usage, self._compares = timer, usage, compares
        self._device_s = self._timed_s = 0.0
        self._host_s = self._cpu_s = 0.0
        self._switches = 0

    def now(self) -> float:
        """Seconds of the timer beneath."""
        return self._timer.now()

    def time(self, call: Callable[[], object], calls: int) -> float:
        """Seconds of the timer beneath."""
        before = self._usage()
        seconds = self._timer.time(call, calls)
        host_s = self._count(before, seconds)
        if host_s is not None and self._compares:
            self._device_s += seconds
            self._timed_s += host_s
        return seconds

    def told(self, clock: Callable[[int], float], calls: int) -> float:
        """Seconds of the variant's own clock; not compared with the host's, which also sees its overhead."""
        before = self._usage()
        seconds = self._timer.told(clock, calls)
        self._count(before, seconds)
        return seconds

    def _count(self, before: Usage, seconds: float) -> float | None:
        if seconds < self.MIN_BATCH_S:
            return None
        after = self._usage()
        self._host_s += after.raw_s - before.raw_s
        self._cpu_s += after.cpu_s - before.cpu_s
        self._switches += after.switches - before.switches
        return after.raw_s - before.raw_s

    def context(self, threads: int | None) -> dict[str, object]:
        """What the batches so far say; empty when none was long enough.

        `timer_ratio`: device seconds over raw host seconds, near 1 on an honest machine; else time is virtual, the
        clock tampered with, or we were preempted between the two. `cpu_share`: CPU time received over CPU time wanted
        (wall x threads); below 1 somebody else had our cores.

        Args:
            threads: how many threads the case keeps busy; None = unknown, then there is no `cpu_share`.
        """
        if self._host_s <= 0:
            return {}
        found: dict[str, object] = {"involuntary_switches_per_s": self._switches / self._host_s}
        if self._timed_s > 0:
            found["timer_ratio"] = self._device_s / self._timed_s
        if threads:
            found["cpu_share"] = self._cpu_s / (self._host_s * threads)
        return found


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
