"""The devices a bench can run on, and how one is picked."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from kernels.cpu import topology
from kernels.spec import DeviceKind, UnsupportedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What benches need to know of the hardware they load; plain data, so that it can cross a process border."""

    kind: DeviceKind
    index: int  #: 0 for the CPU
    name: str  #: as the hardware calls itself
    cpus: tuple[int, ...]  #: CPU numbers benches may pin to: the affinity mask
    threads: int  #: threads that load the CPU: len(cpus), less where a quota or SMT makes fewer useful
    l1d_bytes: int | None = None  #: per core
    l2_bytes: int | None = None  #: per core
    llc_bytes: int | None = None  #: last-level cache reachable from `cpus`, all instances together
    llc_core_bytes: int | None = None  #: the last-level instance that one CPU can fill
    line_bytes: int | None = None  #: of the caches
    memory_bytes: int | None = None  #: usable now: free memory, or what the cgroup leaves


def pick(wanted: str) -> tuple[Device, ...]:
    """The devices for `--device auto|cpu|cuda`.

    Raises:
        UnsupportedError: CUDA was asked for and no benchmark runs on it yet.
        ValueError: `wanted` is none of the three.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {wanted!r}")
    if wanted == "cuda":
        raise UnsupportedError("no benchmark runs on CUDA in this version; use --device cpu")
    return (cpu(),)


def cpu() -> Device:
    """This machine's CPU within the limits of its affinity mask and cgroup."""
    found = topology.read()
    return Device(
        kind="cpu",
        index=0,
        name=found.model or platform.processor() or platform.machine(),
        cpus=found.cpus,
        threads=found.useful_threads,
        l1d_bytes=found.l1d_bytes,
        l2_bytes=found.l2_bytes,
        llc_bytes=found.llc_bytes,
        llc_core_bytes=found.llc_core_bytes,
        line_bytes=found.line_bytes,
        memory_bytes=found.available_bytes,
    )
