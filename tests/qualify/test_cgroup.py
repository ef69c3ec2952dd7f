"""The limits of control groups in every layout that is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from qualify import cgroup
from qualify.files import Files
from qualify.records import Cgroup
from tests.machines import CPU, V2_MOUNT, lay

GIB = 1 << 30
V1_MOUNTS = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""


def stat(periods: int, throttled: int) -> str:
    return f"usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods {periods}\nnr_throttled {throttled}\n"


def v2(root: Path) -> Files:
    """A service in a slice: the slice has the tighter quota, the service the tighter memory."""
    return Files(
        lay(
            root,
            {
                f"{CPU}/online": "0-7\n",
                "proc/self/mountinfo": V2_MOUNT.format(subtree="/"),
                "proc/self/cgroup": "0::/batch.slice/job.service\n",
                "sys/fs/cgroup/cpu.stat": "usage_usec 100\n",
                "sys/fs/cgroup/batch.slice/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/batch.slice/cpu.stat": stat(1000, 400),
                "sys/fs/cgroup/batch.slice/memory.max": 8 * GIB,
                "sys/fs/cgroup/batch.slice/memory.events": "oom_kill 9\n",
                "sys/fs/cgroup/batch.slice/job.service/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/batch.slice/job.service/cpu.stat": stat(500, 10),
                "sys/fs/cgroup/batch.slice/job.service/cpuset.cpus.effective": "0-3\n",
                "sys/fs/cgroup/batch.slice/job.service/memory.max": 4 * GIB,
                "sys/fs/cgroup/batch.slice/job.service/memory.events": "low 0\noom 2\noom_kill 2\n",
            },
        )
    )


def test_v2_the_tightest_limit_on_the_path_wins(tmp_path: Path) -> None:
    """1.5 CPUs from the slice, 4 GiB from the service; the slice stops us most, the service's kills are ours."""
    assert cgroup.read(v2(tmp_path)) == Cgroup(
        version="v2",
        cpu_quota_cpus=1.5,
        memory_max_bytes=4 * GIB,
        cpuset_cpus=4,
        throttled_periods=400,
        periods=1000,
        oom_kills=2,
    )


def test_v2_without_limits_says_none(tmp_path: Path) -> None:
    """ "max" is no number, and a cpuset of every CPU is no limit."""
    files = v2(tmp_path)
    lay(
        tmp_path,
        {
            "sys/fs/cgroup/batch.slice/cpu.max": "max 100000\n",
            "sys/fs/cgroup/batch.slice/job.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/batch.slice/memory.max": "max\n",
            "sys/fs/cgroup/batch.slice/job.service/memory.max": "max\n",
            "sys/fs/cgroup/batch.slice/job.service/cpuset.cpus.effective": "0-7\n",
        },
    )

    found = cgroup.read(files)

    assert (found.cpu_quota_cpus, found.memory_max_bytes, found.cpuset_cpus) == (None, None, None)


def test_v1_reads_each_controller_in_its_own_hierarchy(tmp_path: Path) -> None:
    """Half a CPU, 2 GiB, CPUs 2 and 3."""
    lay(
        tmp_path,
        {
            f"{CPU}/online": "0-3\n",
            "proc/self/mountinfo": V1_MOUNTS,
            "proc/self/cgroup": "4:memory:/jobs\n3:cpuset:/pinned\n1:cpu,cpuacct:/jobs\n9:name=systemd:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": 50000,
            "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/cpu/jobs/cpu.stat": "nr_periods 20\nnr_throttled 7\nthrottled_time 12345\n",
            "sys/fs/cgroup/cpuset/pinned/cpuset.cpus": "2-3\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": 2 * GIB,
            "sys/fs/cgroup/memory/jobs/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        },
    )

    assert cgroup.read(Files(tmp_path)) == Cgroup(
        version="v1",
        cpu_quota_cpus=0.5,
        memory_max_bytes=2 * GIB,
        cpuset_cpus=2,
        throttled_periods=7,
        periods=20,
        oom_kills=1,
    )


def test_hybrid_finds_limits_on_either_side(tmp_path: Path) -> None:
    """The quota is v1's, the memory limit v2's."""
    lay(
        tmp_path,
        {
            "proc/self/mountinfo": V1_MOUNTS.splitlines()[0]
            + "\n"
            + V2_MOUNT.format(subtree="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            "proc/self/cgroup": "1:cpu,cpuacct:/jobs\n0::/jobs\n",
            "sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": 300000,
            "sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": 100000,
            "sys/fs/cgroup/unified/jobs/memory.max": GIB,
        },
    )

    found = cgroup.read(Files(tmp_path))

    assert (found.version, found.cpu_quota_cpus, found.memory_max_bytes) == ("hybrid", 3.0, GIB)


def test_a_container_sees_its_own_subtree_as_the_whole(tmp_path: Path) -> None:
    """Without a cgroup namespace /proc names a path of the host, of which only the end is mounted."""
    lay(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT.format(subtree="/docker/abc"),
            "proc/self/cgroup": "0::/docker/abc\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/cpu.stat": stat(10, 3),
        },
    )

    found = cgroup.read(Files(tmp_path))

    assert (found.cpu_quota_cpus, found.throttled_periods, found.periods) == (2.0, 3, 10)


@pytest.mark.parametrize(
    ("mountinfo", "version"),
    [
        ("", "none"),
        (V1_MOUNTS, "v1"),
        (V2_MOUNT.format(subtree="/"), "v2"),
        (V1_MOUNTS + V2_MOUNT.format(subtree="/"), "hybrid"),
        (V1_MOUNTS.splitlines()[3] + "\n" + V2_MOUNT.format(subtree="/"), "v2"),
    ],
    ids=["none", "v1", "v2", "hybrid", "v2 beside systemd's own"],
)
def test_the_version_is_told_by_what_is_mounted(tmp_path: Path, mountinfo: str, version: str) -> None:
    """systemd's hierarchy has no controller and so limits nothing."""
    assert cgroup.version(Files(lay(tmp_path, {"proc/self/mountinfo": mountinfo}))) == version


def test_without_control_groups_nothing_is_known(tmp_path: Path) -> None:
    """No counter is zero that was never read."""
    assert cgroup.read(Files(tmp_path)) == Cgroup(version="none")
