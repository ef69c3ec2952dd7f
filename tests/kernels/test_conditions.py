"""What is read around a case, from scripted counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from kernels.conditions import Conditions, Reading, Usage, WatchedTimer, between

BEFORE = Reading(ticks=(100, 0, 0, 100, 0, 0, 0, 0), clock_hz=3.0e9)
AFTER = Reading(ticks=(280, 0, 0, 200, 0, 0, 0, 20), clock_hz=2.0e9)


def test_steal_is_a_part_of_what_was_wanted() -> None:
    """20 of 180 + 20 ticks; idle time is wanted by nobody. The clock is the mean of both ends."""
    context = between(BEFORE, AFTER)

    assert context["steal_ratio"] == 0.1
    assert context["clock_hz"] == 2.5e9


def test_what_cannot_be_read_is_unknown() -> None:
    """No clock probe, no /proc/stat: None, never 0."""
    context = between(replace(BEFORE, clock_hz=None), replace(AFTER, ticks=None, clock_hz=None))

    assert context["steal_ratio"] is None
    assert context["clock_hz"] is None


def test_counters_come_from_proc_stat(tmp_path: Path) -> None:
    """The first line, eight fields; a file that is not there is unknown."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 0 0\n")

    assert Conditions(clock_hz=lambda: 1e9, root=tmp_path).read().ticks == (1, 2, 3, 4, 5, 6, 7, 8)
    assert Conditions(clock_hz=lambda: None, root=tmp_path / "absent").read().ticks is None


class FixedTimer:
    """Every batch takes what it is told to."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return 0.0

    def time(self, call: Callable[[], object], calls: int) -> float:
        return self.seconds

    def told(self, clock: Callable[[int], float], calls: int) -> float:
        return clock(calls)


def watched(seconds: float) -> WatchedTimer:
    """A timer beside which each batch costs 10 ms of raw time, 15 ms of CPU time and one switch."""
    counters = (Usage(raw_s=0.010 * i, cpu_s=0.015 * i, switches=i) for i in count())
    return WatchedTimer(FixedTimer(seconds), usage=lambda: next(counters))


@pytest.mark.parametrize(("seconds", "ratio"), [(0.010, 1.0), (0.005, 0.5)])
def test_a_clock_that_runs_slow_is_seen(seconds: float, ratio: float) -> None:
    """The raw clock counts 10 ms a batch; a device that says 5 has half the host's time."""
    timer = watched(seconds)

    timer.time(lambda: None, 1)

    assert timer.context(None)["timer_ratio"] == pytest.approx(ratio)


def test_the_share_of_the_cores_that_we_got() -> None:
    """15 ms of CPU time in 10 ms on two threads: three quarters; one switch in 10 ms: a hundred a second."""
    timer = watched(0.010)

    timer.time(lambda: None, 1)

    assert timer.context(2)["cpu_share"] == pytest.approx(0.75)
    assert timer.context(2)["involuntary_switches_per_s"] == pytest.approx(100)
    assert "cpu_share" not in timer.context(None)


def test_a_variants_own_clock_is_not_compared_with_the_hosts() -> None:
    """It leaves out its overhead on purpose; the share is counted all the same."""
    timer = watched(0.010)

    assert timer.told(lambda calls: 0.004 * calls, 2) == 0.008
    assert "timer_ratio" not in timer.context(2)
    assert timer.context(2)["cpu_share"] == pytest.approx(0.75)


def test_short_batches_say_nothing() -> None:
    """Half a millisecond is too near to what reading the counters costs."""
    timer = watched(0.0005)

    timer.time(lambda: None, 1)

    assert timer.context(2) == {}
