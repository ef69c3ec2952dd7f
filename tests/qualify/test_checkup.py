"""What of the machine makes figures slow, noisy or doubtful."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify import checkup, history, identity
from qualify.checkup import Ulimits
from qualify.files import Files
from qualify.records import Cgroup, ClockState, Cpu, Gpu, Memory
from tests import builders
from tests.machines import lay

GIB = 1 << 30


@pytest.mark.parametrize(
    ("writable", "free_bytes", "ok"),
    [(True, 10 * GIB, True), (True, 1 << 20, False), (True, None, None), (False, 0, False)],
)
def test_reports_need_a_folder_with_room(writable: bool, free_bytes: int | None, ok: bool | None) -> None:
    """1 MiB is less than what a node keeps of itself."""
    assert checkup.check_data_folder(Path("/data"), free_bytes=free_bytes, writable=writable).ok is ok


@pytest.mark.parametrize(
    ("gpus", "reason", "devices", "ok"),
    [
        ((Gpu(index=0), Gpu(index=1)), None, 2, True),
        ((Gpu(index=0),), None, 2, False),
        ((), "libnvidia-ml.so.1 not found", 1, False),
        ((), "libnvidia-ml.so.1 not found", 0, None),
        ((), None, 0, None),
    ],
    ids=["all seen", "one fell off the bus", "no driver", "no GPU", "a driver for nothing"],
)
def test_every_gpu_on_the_bus_must_be_seen(
    gpus: tuple[Gpu, ...], reason: str | None, devices: int, ok: bool | None
) -> None:
    """A machine without a GPU lacks nothing; one with a GPU and no driver does."""
    assert checkup.check_gpu(gpus, reason, nvidia_devices=devices).ok is ok


def test_gpus_on_the_bus_are_counted_by_vendor_and_class(tmp_path: Path) -> None:
    """A 3D controller and a VGA controller, not NVIDIA's sound function, not another maker's GPU."""
    found = {
        "0000:01:00.0": ("0x10de", "0x030200"),
        "0000:02:00.0": ("0x10de", "0x030000"),
        "0000:02:00.1": ("0x10de", "0x040300"),
        "0000:03:00.0": ("0x1002", "0x030000"),
    }
    for address, (vendor, kind) in found.items():
        folder = f"sys/bus/pci/devices/{address}"
        lay(tmp_path, {f"{folder}/vendor": vendor, f"{folder}/class": kind})

    assert checkup.nvidia_devices(Files(tmp_path)) == 2
    assert checkup.nvidia_devices(Files(tmp_path / "nothing")) == 0


@pytest.mark.parametrize(("mode", "ok"), [("always", True), ("madvise", True), ("never", False), (None, None)])
def test_huge_pages_must_be_to_be_had(mode: str | None, ok: bool | None) -> None:
    """Asking for them is enough."""
    assert checkup.check_hugepages(Memory(transparent_hugepages=mode)).ok is ok


@pytest.mark.parametrize(
    ("governor", "driver", "ok"),
    [
        ("performance", "acpi-cpufreq", True),
        ("powersave", "acpi-cpufreq", False),
        ("performance, powersave", "acpi-cpufreq", False),
        ("powersave", "intel_pstate", None),
        ("powersave", "amd-pstate-epp", None),
        ("schedutil", "acpi-cpufreq", None),
        (None, None, None),
    ],
)
def test_only_a_clock_that_is_stuck_low_is_a_fault(governor: str | None, driver: str | None, ok: bool | None) -> None:
    """The word powersave means two things, and the driver tells which."""
    assert checkup.check_governor(Cpu(governor=governor), driver=driver).ok is ok


@pytest.mark.parametrize(("synchronized", "ok"), [(True, True), (False, False), (None, None)])
def test_the_clock_must_be_synchronised(synchronized: bool | None, ok: bool | None) -> None:
    """What is unknown is no fault."""
    check = checkup.check_clock(ClockState(synchronized=synchronized, source="tsc", max_error_s=0.0021))

    assert check.ok is ok
    assert ("at most 2.1 ms" in check.found) is (ok is True)


@pytest.mark.parametrize(
    ("used", "total", "ok"),
    [(0, 16 * GIB, True), (16 * GIB // 100, 16 * GIB, True), (GIB, 16 * GIB, False), (None, 16 * GIB, None)],
)
def test_more_than_a_hundredth_in_swap_is_a_fault(used: int | None, total: int, ok: bool | None) -> None:
    """A little of it is old."""
    assert checkup.check_swap(Memory(swap_used_bytes=used, total_bytes=total)).ok is ok


def test_limits_are_named_with_their_figures() -> None:
    """A limited container is no fault, but its owner should know."""
    limited = checkup.check_cgroup(Cgroup(cpu_quota_cpus=0.5, cpuset_cpus=2, memory_max_bytes=4_000_000_000))

    assert limited.ok is None
    assert limited.found == "limited to 0.5 CPUs of time, 2 CPUs to run on, 4 GB of memory"
    assert checkup.check_cgroup(Cgroup(version="v2")).ok is True


@pytest.mark.parametrize(
    ("limits", "rdma", "files_ok", "locked_ok"),
    [
        (Ulimits(1024, None), 0, True, True),
        (Ulimits(256, 65536), 0, False, True),
        (Ulimits(None, 65536), 2, True, False),
        (Ulimits(None, None), 2, True, True),
    ],
)
def test_locked_memory_matters_where_there_is_rdma(limits: Ulimits, rdma: int, files_ok: bool, locked_ok: bool) -> None:
    """Without such a device the small default is enough."""
    open_files, locked = checkup.check_ulimits(limits, rdma_devices=rdma)

    assert (open_files.ok, locked.ok) == (files_ok, locked_ok)


@pytest.mark.parametrize(("age_s", "ok"), [(3600.0, True), (90000.0, None), (None, None)])
def test_an_old_report_is_due_and_no_fault(age_s: float | None, ok: bool | None) -> None:
    """A day is the limit of the timer that the README shows."""
    check = checkup.check_last_report(age_s)

    assert check.ok is ok
    assert "--if-older-than 24h" in check.remedy


def test_the_age_is_of_this_node_s_newest_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another node's report in a shared folder does not count."""
    report = builders.healthy()
    history.keep(report, tmp_path)

    monkeypatch.setattr(identity, "node_id", lambda: report.node.id)
    assert checkup._last_report_age_s(tmp_path, report.started_unix_s + 60) == 60.0

    monkeypatch.setattr(identity, "node_id", lambda: "another")
    assert checkup._last_report_age_s(tmp_path, report.started_unix_s + 60) is None


@pytest.mark.parametrize(("amount", "text"), [(0, "0 B"), (999, "999 B"), (8.39e6, "8.39 MB"), (2.5e12, "2.5 TB")])
def test_sizes_are_shown_as_people_write_them(amount: float, text: str) -> None:
    """Powers of ten, three digits."""
    assert checkup._size(amount) == text
