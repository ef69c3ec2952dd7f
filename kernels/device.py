"""The devices a bench can run on, how one is picked, and the clock that times it."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from kernels.cpu import topology
from kernels.spec import DeviceKind, UnsupportedError
from kernels.timing import HostTimer, Timer


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
    memory_bytes: int | None = None  #: usable now: what the cgroup leaves; a GPU is asked by whoever opens it
    memory_total_bytes: int | None = None  #: a GPU's, as CUDA shows it
    sms: int | None = None  #: streaming multiprocessors of a GPU
    capability: tuple[int, ...] | None = None  #: CUDA's compute capability: (9, 0)
    pci_address: str | None = None  #: of a GPU: "0000:0a:00.0"


def pick(wanted: str) -> tuple[Device, ...]:
    """The device for `--device`: auto, cpu, cuda (the first GPU that CUDA shows) or cuda:N.

    auto is a GPU where one can be used, else the CPU.

    Raises:
        UnsupportedError: CUDA was asked for and there is no such GPU, with the reason.
        ValueError: `wanted` is none of these.
    """
    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdecimal())):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {wanted!r}")
    if kind == "cpu":
        return (cpu(),)
    from kernels.cuda import device as gpus

    try:
        found = gpus.find()
    except UnsupportedError:
        if kind == "auto":
            return (cpu(),)
        raise
    index = int(number or 0)
    if index >= len(found):
        raise UnsupportedError(f"there is no GPU {index}: CUDA shows {len(found)}, numbered from 0")
    return (found[index],)


def timer_for(device: Device) -> Timer:
    """The clock that its calls are timed by: the host's, or events in a GPU's stream."""
    if device.kind == "cpu":
        return HostTimer()
    from kernels.cuda.library import CupyDriver, CupyGpu
    from kernels.cuda.timer import EventTimer

    return EventTimer(CupyDriver(CupyGpu(device.index)))


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
