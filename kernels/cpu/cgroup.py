"""What the control groups of this process leave it: CPU quota and memory, v1, v2 and hybrid mounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# v1 says "no limit" with LONG_MAX rounded down to a page; nothing real comes near 2^60 bytes
UNLIMITED_BYTES = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The tightest limits on the path from the group of this process to the root; None = no limit was found."""

    quota_cpus: float | None = None  #: CPU seconds per second
    memory_max_bytes: int | None = None
    memory_left_bytes: int | None = None  #: before the tightest group must reclaim more than its inactive file pages


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy: `subtree` of it is visible at `folder`; no controllers named = v2."""

    folder: Path
    subtree: str
    controllers: frozenset[str]
    unified: bool


def read(*, root: Path = Path("/")) -> Limits:
    """The limits of the calling process; `root` is where /proc and /sys are looked for."""
    mounts = tuple(_mounts(root))
    groups = _groups(root)
    quotas = [quota for folder in _folders(mounts, groups, "cpu") if (quota := _quota(folder)) is not None]
    memory = [limit for folder in _folders(mounts, groups, "memory") if (limit := _memory(folder)) is not None]
    return Limits(
        quota_cpus=min(quotas, default=None),
        memory_max_bytes=min((most for most, _ in memory), default=None),
        memory_left_bytes=min((left for _, left in memory), default=None),
    )


def folders(controller: str, *, root: Path = Path("/")) -> tuple[Path, ...]:
    """The folders of this process's groups that may limit `controller`, innermost first; both versions if hybrid."""
    return tuple(_folders(tuple(_mounts(root)), _groups(root), controller))


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _text(root / "proc/self/mountinfo").splitlines():
        # "36 35 0:31 /docker/ab12 /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct" (proc(5))
        head, _, tail = line.partition(" - ")
        fields, kind = head.split(), tail.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        folder = root / fields[4].replace("\\040", " ").lstrip("/")
        yield _Mount(folder, fields[3].rstrip("/"), frozenset(kind[2].split(",")), kind[0] == "cgroup2")


def _groups(root: Path) -> dict[str, str]:
    """Controller -> path of the group in its hierarchy; "" stands for v2."""
    groups: dict[str, str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            groups.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return groups


def _folders(mounts: tuple[_Mount, ...], groups: dict[str, str], controller: str) -> Iterator[Path]:
    for mount in mounts:
        if not mount.unified and controller not in mount.controllers:
            continue
        path = groups.get("" if mount.unified else controller)
        if path is None:
            continue
        # a container without a cgroup namespace sees host paths, but only its own subtree is mounted
        inside = path.removeprefix(mount.subtree) if mount.subtree else path
        parts = [part for part in inside.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            folder = mount.folder.joinpath(*parts[:depth])
            if folder.is_dir():
                yield folder


def _quota(folder: Path) -> float | None:
    fields = _text(folder / "cpu.max").split()
    if not fields:
        fields = [_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()]
    if len(fields) < 2 or not fields[0].isdecimal() or not fields[1].isdecimal() or int(fields[1]) == 0:
        return None  # "max" in v2, -1 in v1, or no such files
    return int(fields[0]) / int(fields[1])


def _memory(folder: Path) -> tuple[int, int] | None:
    """Limit and what is left of it, bytes."""
    # memory.high does not kill but throttles whoever passes it, which spoils a measurement as surely
    limits = [_count(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    most = min((limit for limit in limits if limit is not None and limit < UNLIMITED_BYTES), default=None)
    used = _count(folder / "memory.current")
    if used is None:
        used = _count(folder / "memory.usage_in_bytes")
    if most is None:
        return None
    return most, max(0, most - max(0, (used or 0) - _inactive_file(folder)))


def _inactive_file(folder: Path) -> int:
    values = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    value = values.get("total_inactive_file", values.get("inactive_file", "0"))
    return int(value) if value.isdecimal() else 0


def _count(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
