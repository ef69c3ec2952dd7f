"""Topology, read from a folder that looks like /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernels.cpu import topology
from tests.machines import lay

KIB, MIB = 1 << 10, 1 << 20


def cpu_files(cpu: int, *, siblings: str, l3_cpus: str, l3_size: str = "32768K") -> dict[str, str | int]:
    """What sysfs shows of one x86 CPU with three levels of cache."""
    base = f"sys/devices/system/cpu/cpu{cpu}"
    caches = (
        ("1", "Data", "32K", siblings),
        ("1", "Instruction", "64K", siblings),
        ("2", "Unified", "1024K", siblings),
        ("3", "Unified", l3_size, l3_cpus),
    )
    files: dict[str, str | int] = {f"{base}/topology/core_cpus_list": siblings}
    for index, (level, kind, size, shared) in enumerate(caches):
        folder = f"{base}/cache/index{index}"
        files |= {f"{folder}/level": level, f"{folder}/type": kind, f"{folder}/size": size}
        files |= {f"{folder}/shared_cpu_list": shared, f"{folder}/coherency_line_size": "64\n"}
    return files


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Four cores with two threads each, in two halves with an L3 of 32 MiB, numbered as Linux does: 0-3, then 4-7."""
    for cpu in range(8):
        core = cpu % 4
        half = "0-1,4-5" if core < 2 else "2-3,6-7"
        lay(tmp_path, cpu_files(cpu, siblings=f"{core},{core + 4}", l3_cpus=half))
    lay(tmp_path, {"proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7B12\n"})
    lay(tmp_path, {"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n"})
    return tmp_path


def test_whole_machine(server: Path) -> None:
    """Every figure of a machine with two L3 instances."""
    found = topology.read(root=server, affinity=range(8))

    assert (found.model, found.vendor) == ("AMD EPYC 7B12", "AuthenticAMD")
    assert (found.cores, found.useful_threads, found.smt_siblings) == (4, 4, 2)
    assert (found.l1d_bytes, found.l2_bytes, found.l3_bytes) == (32 * KIB, MIB, 32 * MIB)
    assert (found.llc_core_bytes, found.llc_bytes) == (32 * MIB, 64 * MIB)
    assert (found.line_bytes, found.available_bytes, found.quota_cpus) == (64, 8 << 30, None)


def test_a_prefix_of_the_cpus_uses_each_core_once(server: Path) -> None:
    """Workers are pinned to cpus[:useful_threads]: never two on one core while another idles."""
    found = topology.read(root=server, affinity=[0, 4, 1, 5, 2, 3, 6, 7])

    assert found.cpus == (0, 1, 2, 3, 4, 5, 6, 7)


def test_affinity_confines_cores_and_caches(server: Path) -> None:
    """CPUs 2 and 6 are one core and reach one of the two L3 instances."""
    found = topology.read(root=server, affinity=[2, 6])

    assert (found.cpus, found.cores, found.useful_threads) == ((2, 6), 1, 1)
    assert found.llc_bytes == 32 * MIB


@pytest.mark.parametrize(("quota", "threads"), [("150000", 2), ("50000", 1), ("800000", 4), ("300000", 3)])
def test_quota_limits_the_threads_rounded_up(server: Path, quota: str, threads: int) -> None:
    """1.5 CPUs keep two threads busy for most of the time; a quota above the cores changes nothing."""
    lay(server, {"proc/self/cgroup": "0::/job\n"})
    lay(server, {"proc/self/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"})
    lay(server, {"sys/fs/cgroup/job/cpu.max": f"{quota} 100000\n"})

    found = topology.read(root=server, affinity=range(8))

    assert (found.useful_threads, found.quota_cpus) == (threads, int(quota) / 100000)


def test_memory_is_what_the_cgroup_leaves_when_that_is_less(server: Path) -> None:
    """Limit 4 GiB, used 3 GiB of which 1 GiB are pages the kernel can drop: 2 GiB are left of 8 GiB free."""
    lay(server, {"proc/self/cgroup": "0::/\n"})
    lay(server, {"proc/self/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"})
    lay(server, {"sys/fs/cgroup/memory.max": str(4 << 30), "sys/fs/cgroup/memory.current": str(3 << 30)})
    lay(server, {"sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {1 << 30}\n"})

    assert topology.read(root=server, affinity=range(8)).available_bytes == 2 << 30


def test_nothing_to_read_is_unknown_and_never_zero(tmp_path: Path) -> None:
    """A container that hides /proc and /sys still runs, with one thread per CPU of the mask."""
    found = topology.read(root=tmp_path, affinity=[3, 5])

    assert (found.cpus, found.cores, found.useful_threads) == ((3, 5), 2, 2)
    unknown = (found.model, found.vendor, found.smt_siblings, found.l1d_bytes, found.l2_bytes, found.l3_bytes)
    assert unknown == (None,) * 6
    assert (found.llc_bytes, found.llc_core_bytes, found.line_bytes, found.available_bytes) == (None,) * 4


def test_a_cache_of_size_zero_is_unknown(tmp_path: Path) -> None:
    """Some hypervisors announce caches of 0 K."""
    lay(tmp_path, cpu_files(0, siblings="0", l3_cpus="0", l3_size="0K"))

    found = topology.read(root=tmp_path, affinity=[0])

    assert (found.l3_bytes, found.llc_bytes) == (None, MIB)


def test_arm_without_model_name(tmp_path: Path) -> None:
    """arm64 names its part by number; the last of two levels of cache is the last level."""
    info = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n"
    lay(tmp_path, {"proc/cpuinfo": info})
    for index, (level, kind, size) in enumerate((("1", "Data", "64K"), ("2", "Unified", "1M"))):
        folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
        lay(tmp_path, {f"{folder}/level": level, f"{folder}/type": kind, f"{folder}/size": size})

    found = topology.read(root=tmp_path, affinity=[0])

    assert (found.model, found.vendor) == ("Neoverse N1", "ARM")
    assert (found.l3_bytes, found.llc_bytes, found.llc_core_bytes) == (None, MIB, MIB)


def test_the_name_before_linux_5_3(tmp_path: Path) -> None:
    """thread_siblings_list says what core_cpus_list says since."""
    for cpu in (0, 1):
        lay(tmp_path, {f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": "0-1\n"})

    found = topology.read(root=tmp_path, affinity=[0, 1])

    assert (found.cores, found.smt_siblings) == (1, 2)


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8\n", (0, 1, 2, 3, 8)), ("5", (5,)), ("", ()), ("0,2-3", (0, 2, 3)), ("none", ())]
)
def test_kernel_lists(text: str, cpus: tuple[int, ...]) -> None:
    """The kernel's list format, and nothing from what is none."""
    assert topology.cpu_list(text) == cpus


def test_this_machine() -> None:
    """What is read here can be used: CPUs of the mask, at least one thread."""
    found = topology.read()

    assert found.cpus
    assert 1 <= found.useful_threads <= found.cores <= len(found.cpus)
