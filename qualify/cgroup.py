"""The limits of the control groups this process lives in, and how often they bit: v1, v2 and hybrid."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kernels.cpu import cgroup as limits
from kernels.cpu.topology import cpu_list
from qualify import mounts
from qualify.files import Files, number, pairs
from qualify.records import Cgroup

Version = Literal["v1", "v2", "hybrid", "none"]
Counts = tuple[int, int]  #: periods that ran, periods in which the group was stopped


def read(files: Files) -> Cgroup:
    """The tightest limits on the path to the root; counters are of the group that was stopped most often."""
    found = limits.read(root=files.root)
    periods, throttled = max(throttling(files).values(), key=lambda counts: counts[1], default=(None, None))
    return Cgroup(
        version=version(files),
        cpu_quota_cpus=found.quota_cpus,
        memory_max_bytes=found.memory_max_bytes,
        cpuset_cpus=_cpuset_cpus(files),
        throttled_periods=throttled,
        periods=periods,
        oom_kills=_oom_kills(files),
    )


def version(files: Files) -> Version:
    """Which hierarchies are mounted; a v1 hierarchy without a controller (systemd's own) does not count."""
    v1 = v2 = False
    for mount in mounts.read(files):
        v2 = v2 or mount.filesystem == "cgroup2"
        # the options of a v1 file system are its controllers, plus "name=…" and flags of the mount
        controllers = {"cpu", "memory", "cpuset", "cpuacct", "blkio", "pids", "devices", "freezer"}
        v1 = v1 or (mount.filesystem == "cgroup" and not controllers.isdisjoint(mount.super_options))
    if v1 and v2:
        return "hybrid"
    if v1:
        return "v1"
    return "v2" if v2 else "none"


def throttling(files: Files) -> dict[Path, Counts]:
    """The counters of every group on the path that has them, innermost first; a quota above us stops us too."""
    return {folder: counts for folder in _folders(files, "cpu") if (counts := counts_of(folder)) is not None}


def counts_of(folder: Path) -> Counts | None:
    """The counters of one group; None where it has none (the root) or is gone."""
    values = pairs(tuple((Files(folder).head("cpu.stat") or "").splitlines()))
    periods, throttled = number(values.get("nr_periods")), number(values.get("nr_throttled"))
    return None if periods is None or throttled is None else (periods, throttled)


def _cpuset_cpus(files: Files) -> int | None:
    """CPUs of our cpuset, when they are fewer than those online."""
    online = len(cpu_list(files.text("/sys/devices/system/cpu/online") or ""))
    for folder in _folders(files, "cpuset"):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
            found = len(cpu_list(Files(folder).text(name) or ""))
            if found:
                return found if found < online else None
    return None


def _oom_kills(files: Files) -> int | None:
    for folder in _folders(files, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            found = number(_values(folder, name).get("oom_kill"))
            if found is not None:
                return found
    return None


def _folders(files: Files, controller: str) -> tuple[Path, ...]:
    return limits.folders(controller, root=files.root)


def _values(folder: Path, name: str) -> dict[str, str]:
    return pairs(Files(folder).lines(name))
