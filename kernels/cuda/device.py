"""Which NVIDIA GPUs this process can use, and what they are."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernels.device import Device
from kernels.spec import UnsupportedError

DRIVER = "libcuda.so.1"
PCI = Path("/sys/bus/pci/devices")


def has_driver() -> bool:
    """Whether NVIDIA's driver library can be loaded; costs nothing where there is none."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def find(
    *, driver: Callable[[], bool] = has_driver, runtime: Callable[[], Any] | None = None, pci: Path = PCI
) -> tuple[Device, ...]:
    """Every GPU that CUDA shows to this process, in CUDA's order; at least one.

    Nothing is asked that would make a context: whoever looks would hold half a gigabyte of each GPU, count as a process
    that uses it, and keep all others from one that is set to serve a single process.

    Args:
        driver: whether the driver's library is there.
        runtime: gives cupy.cuda.runtime.
        pci: where the kernel tells of PCI devices.

    Raises:
        UnsupportedError: there is none, with the reason.
    """
    if not driver():
        raise UnsupportedError(f"no GPU can be used: {DRIVER} of NVIDIA's driver was not found; use --device cpu")
    calls = runtime() if runtime else _runtime()
    try:
        count = int(calls.getDeviceCount())
        found = tuple(_device(calls, index, pci) for index in range(count))
    except RuntimeError as error:  # cupy's CUDARuntimeError is one
        raise UnsupportedError(
            f"no GPU can be used: CUDA says {str(error).strip()}; use --device cpu, or mend the driver"
        ) from error
    if not found:
        raise UnsupportedError("no GPU can be used: CUDA shows none (see CUDA_VISIBLE_DEVICES); use --device cpu")
    return found


def _runtime() -> Any:
    from kernels.cuda.library import cupy

    return cupy().cuda.runtime


def _device(calls: Any, index: int, pci: Path) -> Device:
    about = calls.getDeviceProperties(index)
    name = about["name"]
    address = f"{about['pciDomainID']:04x}:{about['pciBusID']:02x}:{about['pciDeviceID']:02x}.0"
    cpus = near_cpus(pci / address)
    return Device(
        kind="cuda",
        index=index,
        name=name.decode() if isinstance(name, bytes) else str(name),
        cpus=cpus,
        threads=len(cpus),
        llc_bytes=int(about["l2CacheSize"]),
        memory_total_bytes=int(about["totalGlobalMem"]),
        sms=int(about["multiProcessorCount"]),
        capability=(int(about["major"]), int(about["minor"])),
        pci_address=address,
    )


def near_cpus(folder: Path) -> tuple[int, ...]:
    """The CPUs next to a PCI device that this process may use; all it may use where the kernel does not tell."""
    mine = os.sched_getaffinity(0)
    try:
        near = parse_cpus((folder / "local_cpulist").read_text())
    except (OSError, ValueError):
        near = frozenset()
    return tuple(sorted(near & mine or mine))


def parse_cpus(text: str) -> frozenset[int]:
    """The numbers in the kernel's list format: "0-3,8" is 0, 1, 2, 3 and 8."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
