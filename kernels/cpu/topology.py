"""Which CPUs this process may use, their cores and caches, and the memory that is free for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernels.cpu import cgroup

# the MIDR fields of arm64, which names no model in /proc/cpuinfo (Linux, arch/arm64/include/asm/cputype.h)
ARM_VENDORS = {0x41: "ARM", 0x48: "HiSilicon", 0x4E: "NVIDIA", 0x51: "Qualcomm", 0x61: "Apple", 0xC0: "Ampere"}
ARM_PARTS = {
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
    (0x41, 0xD84): "Neoverse V3",
    (0x41, 0xD8E): "Neoverse N3",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}
MAX_CPU = (1 << 16) - 1  #: more than any kernel is built for
SIZE_SUFFIX = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The CPU as this process may use it; None = could not be read."""

    model: str | None
    vendor: str | None
    cpus: tuple[int, ...]  #: the affinity mask: one CPU of each core first, then their SMT siblings
    cores: int  #: physical cores with a CPU in the mask
    useful_threads: int  #: one per core, fewer where the quota allows no more; cpus[:useful_threads] spreads them
    smt_siblings: int | None  #: hardware threads of one core, whether in the mask or not
    quota_cpus: float | None  #: of the cgroup; None = unlimited
    l1d_bytes: int | None  #: of one core
    l2_bytes: int | None  #: that one core can reach
    l3_bytes: int | None  #: the instance that the first CPU reaches
    llc_core_bytes: int | None  #: the last-level instance that the first CPU reaches: level 3, or what is last
    llc_bytes: int | None  #: every last-level instance that `cpus` reach, together
    line_bytes: int | None
    available_bytes: int | None  #: the smaller of MemAvailable and what the cgroup leaves


@dataclass(frozen=True, slots=True)
class _Cache:
    level: int
    size_bytes: int
    line_bytes: int | None
    shared: tuple[int, ...]  #: the CPUs it serves


def read(*, root: Path = Path("/"), affinity: Iterable[int] | None = None) -> Topology:
    """The topology seen by the calling process.

    Args:
        root: where /proc and /sys are looked for.
        affinity: CPU numbers to confine the answer to; the mask of the calling thread if None.
    """
    mask = sorted(os.sched_getaffinity(0) if affinity is None else affinity)
    limits = cgroup.read(root=root)
    groups = {cpu: _siblings(root, cpu) for cpu in mask}
    caches = {cpu: _caches(root, cpu) for cpu in mask}
    cores = len(set(groups.values()))
    quota = math.inf if limits.quota_cpus is None else math.ceil(limits.quota_cpus)
    first = caches[mask[0]]
    model, vendor = _names(_text(root / "proc/cpuinfo"))
    return Topology(
        model=model,
        vendor=vendor,
        cpus=_one_per_core_first(groups),
        cores=cores,
        useful_threads=int(max(1, min(cores, quota))),
        smt_siblings=len(groups[mask[0]]) if _knows_siblings(root, mask[0]) else None,
        quota_cpus=limits.quota_cpus,
        l1d_bytes=_size(first, 1),
        l2_bytes=_size(first, 2),
        l3_bytes=_size(first, 3),
        llc_core_bytes=first[-1].size_bytes if first else None,
        llc_bytes=_last_level_bytes(caches),
        line_bytes=next((cache.line_bytes for cache in first if cache.line_bytes), None),
        available_bytes=_available(root, limits),
    )


def cpu_list(text: str) -> tuple[int, ...]:
    """The CPU numbers of a kernel list such as "0-3,8"; malformed parts and impossible numbers are left out."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if low.isdecimal() and (high.isdecimal() or not dash):
            numbers.extend(range(int(low), min(int(high or low), MAX_CPU) + 1))
    return tuple(numbers)


def _one_per_core_first(groups: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    rank: dict[tuple[int, ...], int] = {}
    order: list[tuple[int, int]] = []
    for cpu, group in groups.items():
        rank[group] = rank.get(group, -1) + 1
        order.append((rank[group], cpu))
    return tuple(cpu for _, cpu in sorted(order))


def _siblings(root: Path, cpu: int) -> tuple[int, ...]:
    """The hardware threads of the core of `cpu`; itself alone where the kernel does not say."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the second is the name before Linux 5.3
        found = cpu_list(_text(folder / name))
        if cpu in found:
            return found
    return (cpu,)


def _knows_siblings(root: Path, cpu: int) -> bool:
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    return any((folder / name).exists() for name in ("core_cpus_list", "thread_siblings_list"))


def _caches(root: Path, cpu: int) -> tuple[_Cache, ...]:
    """Data and unified caches of `cpu`, nearest first."""
    found = []
    for folder in (root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index*"):
        level, size = _text(folder / "level").strip(), _bytes(_text(folder / "size"))
        if not level.isdecimal() or size is None or _text(folder / "type").strip() == "Instruction":
            continue
        line = _text(folder / "coherency_line_size").strip()
        shared = cpu_list(_text(folder / "shared_cpu_list")) or (cpu,)
        found.append(_Cache(int(level), size, int(line) if line.isdecimal() and int(line) else None, shared))
    return tuple(sorted(found, key=lambda cache: cache.level))


def _size(caches: tuple[_Cache, ...], level: int) -> int | None:
    return next((cache.size_bytes for cache in caches if cache.level == level), None)


def _last_level_bytes(caches: dict[int, tuple[_Cache, ...]]) -> int | None:
    last = {found[-1] for found in caches.values() if found}
    return sum(cache.size_bytes for cache in last) or None


def _available(root: Path, limits: cgroup.Limits) -> int | None:
    known = [limits.memory_left_bytes] if limits.memory_left_bytes is not None else []
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        amount = value.split()
        if name == "MemAvailable" and amount and amount[0].isdecimal():
            known.append(int(amount[0]) << 10)  # the file says kB and means KiB
    return min(known, default=None)


def _names(cpuinfo: str) -> tuple[str | None, str | None]:
    """Model and vendor of the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    model, vendor = fields.get("model name") or fields.get("Model"), fields.get("vendor_id")
    if vendor is None:
        implementer, part = _hex(fields.get("CPU implementer")), _hex(fields.get("CPU part"))
        vendor = ARM_VENDORS.get(implementer)
        model = model or ARM_PARTS.get((implementer, part))
    return model, vendor


def _hex(text: str | None) -> int:
    try:
        return int(text or "-1", 16)
    except ValueError:
        return -1


def _bytes(text: str) -> int | None:
    """The bytes of a sysfs size such as "32K"; None for an empty, malformed or zero one."""
    text = text.strip()
    digits = text.rstrip("KMG")
    if not digits.isdecimal():
        return None
    return int(digits) * SIZE_SUFFIX.get(text[len(digits) :], 1) or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
