"""The machine's clocks, as rules see them."""

from __future__ import annotations

import time

from scheduler.clock import SystemClock


def test_it_reads_the_clock_that_counts_sleep_and_the_calendar() -> None:
    """Both in milliseconds, between two readings of the same clocks."""
    before_ns, before_s = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time()

    now = SystemClock().now()

    assert before_ns // 1_000_000 <= now.mono_ms <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    assert int(before_s * 1000) - 1 <= now.unix_ms <= int(time.time() * 1000) + 1
