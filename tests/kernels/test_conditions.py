"""What is read around a case, from scripted counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.conditions import CheckedTimer, Conditions, Reading, between

BEFORE = Reading(wall_s=0.0, cpu_s=1.0, switches=10, ticks=(100, 0, 0, 100, 0, 0, 0, 0), clock_hz=3.0e9)
AFTER = Reading(wall_s=2.0, cpu_s=4.0, switches=14, ticks=(280, 0, 0, 200, 0, 0, 0, 20), clock_hz=2.0e9)


def test_the_share_of_the_cores_that_we_got() -> None:
    """3 CPU seconds in 2 s on two threads: three quarters."""
    context = between(BEFORE, AFTER, threads=2)

    assert context["cpu_share"] == 0.75
    assert context["involuntary_switches_per_s"] == 2.0
    assert context["clock_hz"] == 2.5e9


def test_steal_is_a_part_of_what_was_wanted() -> None:
    """20 of 180 + 20 ticks; idle time is wanted by nobody."""
    assert between(BEFORE, AFTER, threads=None)["steal_ratio"] == 0.1


def test_what_cannot_be_read_is_unknown() -> None:
    """No clock probe, no /proc/stat, no thread count: None or absent, never 0."""
    blind = replace(AFTER, ticks=None, clock_hz=None)

    context = between(replace(BEFORE, clock_hz=None), blind, threads=None)

    assert context["steal_ratio"] is None
    assert context["clock_hz"] is None
    assert "cpu_share" not in context


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


@pytest.mark.parametrize(("seconds", "ratio"), [(0.010, 1.0), (0.005, 0.5), (0.0005, None)])
def test_a_clock_that_runs_slow_is_seen(seconds: float, ratio: float | None) -> None:
    """The raw clock counts 10 ms a batch; a device that says 5 has half the host's time; short batches say nothing."""
    ticks = iter([0.0, 0.010] * 3)
    timer = CheckedTimer(FixedTimer(seconds), raw_s=lambda: next(ticks))

    timer.time(lambda: None, 1)

    assert timer.take_ratio() == (None if ratio is None else pytest.approx(ratio))
    assert timer.take_ratio() is None
