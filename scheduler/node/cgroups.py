"""Control groups of attempts: made where the kernel lets us, in v1, v2 and hybrid hierarchies, and removed whole."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from kernels.cpu import cgroup
from scheduler.records import Resources

FOLDER = "gridmark"
CONTROLLERS = ("memory", "cpu", "pids")
CPU_PERIOD_US = 100_000
#: of one attempt; a fork bomb ends here, a data loader for each of a hundred cores does not
PIDS_MAX = 8192
REMOVE_WAIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The groups of one attempt."""

    join: tuple[str, ...]  #: folders that its first process enters
    freezer: str  #: the one that can freeze it; "" = none can
    limits_memory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Where groups can be made on this machine; none of the folders where the kernel allows nothing."""

    bases: tuple[Path, ...] = ()

    def make(self, name: str, resources: Resources) -> Group:
        """A group for one attempt, with the limits that this kernel lets us set.

        Raises:
            OSError: a folder that was writable at the start is not any more.
        """
        join = []
        for base in self.bases:
            folder = base / name
            folder.mkdir(exist_ok=True)
            for file, value in _limits(resources).items():
                if (folder / file).exists():
                    with contextlib.suppress(OSError):  # a swap limit where the kernel does not count swap
                        (folder / file).write_text(value)
            join.append(folder)
        freezers = [one for one in join if (one / "cgroup.freeze").exists() or (one / "freezer.state").exists()]
        limits = [one for one in join if (one / "memory.max").exists() or (one / "memory.limit_in_bytes").exists()]
        return Group(
            join=tuple(map(str, join)), freezer=str(freezers[0]) if freezers else "", limits_memory=bool(limits)
        )

    def names(self) -> frozenset[str]:
        """The groups that are there."""
        return frozenset(one.name for base in self.bases for one in _folders(base))

    def remove(self, name: str) -> None:
        """End every process in the groups of this name, and remove them; no error when there are none."""
        for base in self.bases:
            folder = base / name
            end = time.monotonic() + REMOVE_WAIT_S
            while folder.exists() and time.monotonic() < end:
                _kill(folder)
                with contextlib.suppress(OSError):  # a process is still on its way out
                    folder.rmdir()
                    break
                time.sleep(0.002)


def find(root: Path = Path("/")) -> Groups:
    """Where attempts can have groups: beside or below our own, so that limits set above us hold for them too."""
    unified = [folder for folder in cgroup.folders("freezer", root=root) if (folder / "cgroup.controllers").exists()]
    base = _unified_base(unified[:2])
    bases = [] if base is None else [base]
    served = _words(base / "cgroup.subtree_control") if base else set()
    for controller in (*CONTROLLERS, "freezer"):
        if controller in served or (controller == "freezer" and base is not None):
            continue
        own = next((one for one in cgroup.folders(controller, root=root) if one not in unified), None)
        if own is not None and (made := _made(own)) is not None and made not in bases:
            bases.append(made)
    return Groups(bases=tuple(bases))


def _unified_base(path: list[Path]) -> Path | None:
    """Below the first group of `path` (ours, then its parent) that hands its controllers on, or below ours without.

    Our own hands none on while we are in it, unless it is the root (cgroups(7), "no internal processes").
    """
    for folder in path:
        _enable(folder)
        if "memory" in _words(folder / "cgroup.subtree_control") and (made := _made(folder)) is not None:
            _enable(made)
            return made
    return _made(path[0]) if path else None


def _enable(folder: Path) -> None:
    for controller in CONTROLLERS:
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _made(parent: Path) -> Path | None:
    folder = parent / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().split())
    except OSError:
        return set()


def _limits(resources: Resources) -> dict[str, str]:
    """File -> value, of both versions; in this order: a v1 group's swap limit may not be below its memory limit."""
    memory = str(resources.memory_bytes)
    quota_us = max(1000, resources.cpu_milli * CPU_PERIOD_US // 1000)
    return {
        "memory.max": memory,
        "memory.swap.max": "0",
        "memory.oom.group": "1",  # half a job is of no use
        "memory.limit_in_bytes": memory,
        "memory.memsw.limit_in_bytes": memory,
        "cpu.max": f"{quota_us} {CPU_PERIOD_US}",
        "cpu.cfs_period_us": str(CPU_PERIOD_US),
        "cpu.cfs_quota_us": str(quota_us),
        "pids.max": str(PIDS_MAX),
    }


def _kill(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
    with contextlib.suppress(OSError, ValueError):
        for pid in map(int, (folder / "cgroup.procs").read_text().split()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    if (folder / "freezer.state").exists():  # a frozen process dies when it is thawed
        with contextlib.suppress(OSError):
            (folder / "freezer.state").write_text("THAWED")


def _folders(base: Path) -> list[Path]:
    try:
        return [one for one in base.iterdir() if one.is_dir()]
    except OSError:
        return []
