"""The two times that rules need: one that never jumps, for leases and timeouts, and the calendar's, for rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Now:
    """One moment, read once and passed along, so that everything that happens together bears the same times."""

    mono_ms: int  #: never jumps and counts while the machine sleeps; comparable within one boot of one machine only
    unix_ms: int  #: of the calendar; may jump when somebody sets it


class Clock(Protocol):
    """Tells the time; tests bring their own."""

    def now(self) -> Now:
        """This moment."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Now:
        """This moment; CLOCK_BOOTTIME, because CLOCK_MONOTONIC stands still while a machine is suspended."""
        return Now(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, time.time_ns() // 1_000_000)
