"""Limits of control groups: both versions, hybrid mounts, nesting, containers."""

from __future__ import annotations

from pathlib import Path

from kernels.cpu import cgroup
from tests.machines import lay

GIB = 1 << 30
V1 = (
    "31 25 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "32 25 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)
V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


def test_v2_takes_the_tightest_on_the_path(tmp_path: Path) -> None:
    """A parent's limit holds for its children, whatever they say themselves."""
    lay(tmp_path, {"proc/self/cgroup": "0::/slice/job\n", "proc/self/mountinfo": V2})
    lay(tmp_path, {"sys/fs/cgroup/slice/job/cpu.max": "400000 100000", "sys/fs/cgroup/slice/cpu.max": "50000 25000"})
    lay(tmp_path, {"sys/fs/cgroup/slice/job/memory.max": "max", "sys/fs/cgroup/slice/memory.max": str(GIB)})
    lay(tmp_path, {"sys/fs/cgroup/slice/memory.current": str(GIB // 4)})

    found = cgroup.read(root=tmp_path)

    assert found == cgroup.Limits(quota_cpus=2.0, memory_max_bytes=GIB, memory_left_bytes=GIB * 3 // 4)


def test_memory_high_limits_as_well(tmp_path: Path) -> None:
    """Whoever passes memory.high is throttled, which a measurement must not be."""
    lay(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2})
    lay(tmp_path, {"sys/fs/cgroup/memory.max": str(4 * GIB), "sys/fs/cgroup/memory.high": str(3 * GIB)})

    assert cgroup.read(root=tmp_path).memory_max_bytes == 3 * GIB


def test_v1(tmp_path: Path) -> None:
    """The files of version 1; no quota is -1, no memory limit is nearly 2^63."""
    lay(tmp_path, {"proc/self/cgroup": "3:cpu,cpuacct:/job\n2:memory:/job\n", "proc/self/mountinfo": V1})
    lay(tmp_path, {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "150000\n"})
    lay(tmp_path, {"sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n"})
    lay(tmp_path, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"})
    lay(tmp_path, {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2 * GIB)})
    lay(tmp_path, {"sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(GIB)})
    lay(tmp_path, {"sys/fs/cgroup/memory/job/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n"})
    lay(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"})

    found = cgroup.read(root=tmp_path)

    assert found == cgroup.Limits(quota_cpus=1.5, memory_max_bytes=2 * GIB, memory_left_bytes=GIB * 3 // 2)


def test_hybrid_reads_both_versions(tmp_path: Path) -> None:
    """systemd's hybrid mode: the controllers in version 1, an empty version 2 beside them."""
    mounts = V1 + "33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    lay(tmp_path, {"proc/self/cgroup": "3:cpu:/\n2:memory:/\n0::/\n", "proc/self/mountinfo": mounts})
    lay(tmp_path, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000"})
    lay(tmp_path, {"sys/fs/cgroup/unified/cgroup.procs": ""})

    assert cgroup.read(root=tmp_path) == cgroup.Limits(quota_cpus=0.5)
    both = {tmp_path / "sys/fs/cgroup/cpu", tmp_path / "sys/fs/cgroup/unified"}
    assert set(cgroup.folders("cpu", root=tmp_path)) == both


def test_container_that_sees_host_paths(tmp_path: Path) -> None:
    """Without a cgroup namespace the path is the host's, and only the container's own subtree is mounted."""
    mounts = "31 25 0:27 /docker/ab12 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
    lay(tmp_path, {"proc/self/cgroup": "3:cpu:/docker/ab12\n", "proc/self/mountinfo": mounts})
    lay(tmp_path, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"})

    assert cgroup.read(root=tmp_path).quota_cpus == 3.0


def test_rubbish_is_no_limit(tmp_path: Path) -> None:
    """Empty, cut short or absent files say nothing; they do not raise."""
    lay(tmp_path, {"proc/self/cgroup": "garbage\n0::/\n", "proc/self/mountinfo": "x\n30 25 - cgroup2\n" + V2})
    lay(tmp_path, {"sys/fs/cgroup/cpu.max": "", "sys/fs/cgroup/memory.max": "lots", "sys/fs/cgroup/memory.stat": "a"})

    assert cgroup.read(root=tmp_path) == cgroup.Limits()
    assert cgroup.read(root=tmp_path / "nowhere") == cgroup.Limits()
