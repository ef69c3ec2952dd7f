"""What else runs: shares of CPU time, pressure, foreign processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qualify import load
from qualify.files import Files
from qualify.load import CpuTime, Shares
from qualify.records import Load
from tests.machines import FakeClock, lay, process, server, stat

OURS = 500


def watch(root: Path, *, meanwhile: Callable[[], object] = lambda: None, window_s: float = 0.5) -> Load:
    """Watch a machine that `meanwhile` changes; 100 ticks a second."""
    clock = FakeClock(meanwhile)
    return load.watch(Files(root), window_s=window_s, clock=clock, sleep=clock.sleep, pid=OURS, ticks_per_s=100)


def test_the_first_line_is_added_up() -> None:
    """Busy is user, nice, system, irq and softirq; a guest's time is in user already."""
    assert load.parse_cpu_time("cpu  10 20 30 400 50 6 7 80 9 9\ncpu0 1 1 1 1 1 1 1 1") == CpuTime(
        busy=10 + 20 + 30 + 6 + 7, idle=400, iowait=50, steal=80
    )


@pytest.mark.parametrize("text", ["", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"])
def test_a_malformed_line_is_unknown(text: str) -> None:
    """Not zero load."""
    assert load.parse_cpu_time(text) is None


def test_shares_are_of_all_the_time_that_passed() -> None:
    """100 ticks: 60 busy, 20 idle, 5 waiting, 15 stolen."""
    before, after = CpuTime(1000, 1000, 10, 0), CpuTime(1060, 1020, 15, 15)

    assert load.shares(before, after) == Shares(busy_ratio=0.60, iowait_ratio=0.05, steal_ratio=0.15)


def test_a_counter_that_runs_backwards_is_no_negative_share() -> None:
    """The kernel says that iowait may."""
    found = load.shares(CpuTime(0, 0, 10, 0), CpuTime(50, 60, 0, 0))

    assert found is not None
    assert found.iowait_ratio == 0.0


@pytest.mark.parametrize("after", [None, CpuTime(5, 5, 0, 0)])
def test_without_a_tick_between_them_shares_are_unknown(after: CpuTime | None) -> None:
    """Two equal readings say nothing."""
    assert load.shares(CpuTime(5, 5, 0, 0), after) is None


def test_the_window_is_watched(tmp_path: Path) -> None:
    """Half a second of 4 CPUs is 200 ticks: 50 busy, 10 waiting, 20 stolen."""
    server(tmp_path)
    after = stat(user=150, idle=420, iowait=10, steal=20)

    found = watch(tmp_path, meanwhile=lambda: lay(tmp_path, {"proc/stat": after}))

    assert found == Load(
        window_s=0.5,
        busy_ratio=0.25,
        steal_ratio=0.1,
        iowait_ratio=0.05,
        load_1m=0.25,
        foreign=(),
        pressure_cpu_ratio=0.015,
        pressure_memory_ratio=0.0,
        pressure_io_ratio=0.0307,
    )


def test_nothing_readable_is_nothing_known(tmp_path: Path) -> None:
    """A kernel without PSI, a /proc that is not mounted."""
    assert watch(tmp_path) == Load(window_s=0.5)


def test_processes_above_a_tenth_of_a_cpu_are_named_busiest_first(tmp_path: Path) -> None:
    """Within 50 ticks: 49 are 98 %, 10 are 20 %, 5 are exactly a tenth and not above it."""
    lay(tmp_path, process(7, "sha (miner)", used=1000) | process(8, "rsync", used=90) | process(9, "sshd", used=50))
    after = process(7, "sha (miner)", used=1049) | process(8, "rsync", used=100) | process(9, "sshd", used=55)

    found = watch(tmp_path, meanwhile=lambda: lay(tmp_path, after))

    assert found.foreign == ("sha (miner) (pid 7) 98 %", "rsync (pid 8) 20 %")


def test_a_process_that_began_in_the_window_counts_from_its_start(tmp_path: Path) -> None:
    """Number 7 was used again: its 30 ticks are all of this window, whatever its forerunner had used."""
    lay(tmp_path, process(7, "make", used=1000, started=100))
    after = process(7, "cc1plus", used=30, started=777)

    found = watch(tmp_path, meanwhile=lambda: lay(tmp_path, after))

    assert found.foreign == ("cc1plus (pid 7) 60 %",)


def test_our_own_kin_is_not_foreign(tmp_path: Path) -> None:
    """What started us and what we started are ours; a sibling under the same shell is not."""
    tree = {
        400: ("bash", 1),
        450: ("make", 400),
        OURS: ("gridmark", 450),
        510: ("child", OURS),
        511: ("grandchild", 510),
        460: ("stress", 400),
    }
    lay(tmp_path, {k: v for pid, (name, up) in tree.items() for k, v in process(pid, name, parent=up).items()})
    after = {k: v for pid, (n, up) in tree.items() for k, v in process(pid, n, parent=up, used=50).items()}

    found = watch(tmp_path, meanwhile=lambda: lay(tmp_path, after))

    assert found.foreign == ("stress (pid 460) 100 %",)


def test_the_first_process_is_nobody_s_kin(tmp_path: Path) -> None:
    """A daemon under init is foreign although init begat us too."""
    lay(tmp_path, process(1, "init", parent=0) | process(OURS, "gridmark", parent=1) | process(600, "ffmpeg", parent=1))
    after = process(600, "ffmpeg", parent=1, used=40)

    found = watch(tmp_path, meanwhile=lambda: lay(tmp_path, after))

    assert found.foreign == ("ffmpeg (pid 600) 80 %",)


def test_the_list_of_foreign_processes_is_bounded(tmp_path: Path) -> None:
    """A build farm would fill the report."""
    names = range(2, 32)
    lay(tmp_path, {k: v for pid in names for k, v in process(pid, "cc1").items()})
    after = {k: v for pid in names for k, v in process(pid, "cc1", used=10 + pid).items()}

    found = watch(tmp_path, meanwhile=lambda: lay(tmp_path, after))

    assert len(found.foreign) == load.NAMED_MAX
    assert found.foreign[0] == "cc1 (pid 31) 82 %"


def test_a_process_that_ends_while_it_is_read_is_passed_over(tmp_path: Path) -> None:
    """Its folder may be there without a readable file in it."""
    lay(tmp_path, {"proc/77/comm": "gone\n", "proc/78/stat": "78 (cut", "proc/uptime": "1 1\n"})

    assert load.processes(Files(tmp_path)) == {}
