"""Checks of the machine: what makes figures slow, noisy or doubtful before anything is measured."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qualify import cgroup, hardware, history, identity, nvml, timekeeping
from qualify.doctor import Check
from qualify.files import Files
from qualify.installation import is_writable
from qualify.nvml import NvmlError
from qualify.records import Cgroup, ClockState, Cpu, Gpu, Memory

REPORTS_BYTES = 256 << 20  #: room for the reports a node keeps of itself
OPEN_FILES_MIN = 1024
SWAP_USED_MAX = 0.01  #: of main memory; a little of it is old pages that nobody wants back
REPORT_AGE_MAX_S = 24 * 3600.0
NVIDIA = 0x10DE  #: PCI vendor
DISPLAY_CLASS = 0x03  #: PCI base class of GPUs, 3D controllers among them
PCI = "/sys/bus/pci/devices"


@dataclass(frozen=True, slots=True)
class Ulimits:
    """Soft limits of the process; None = unlimited."""

    open_files: int | None
    locked_bytes: int | None


def checks(files: Files, environment: Mapping[str, str], *, now_unix_s: float) -> tuple[Check, ...]:
    """Every check of the machine."""
    memory, cpu = hardware.memory(files), hardware.cpu(files, affinity=os.sched_getaffinity(0), architecture="")
    folder = history.folder(environment)
    return (
        check_data_folder(folder, free_bytes=_free_bytes(folder), writable=is_writable(folder)),
        check_gpu(*_gpus(), nvidia_devices=nvidia_devices(files)),
        check_hugepages(memory),
        check_governor(cpu, driver=files.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver")),
        check_clock(timekeeping.clock_state(files, ask=timekeeping.ask_kernel, unixtime_s=now_unix_s)),
        check_swap(memory),
        check_cgroup(cgroup.read(files)),
        *check_ulimits(ulimits(), rdma_devices=len(files.names("/sys/class/infiniband"))),
        check_last_report(_last_report_age_s(folder, now_unix_s)),
    )


def check_data_folder(folder: Path, *, free_bytes: int | None, writable: bool) -> Check:
    """Whether reports can be kept."""
    remedy = "Set GRIDMARK_DATA to a folder that can be written and has 256 MiB free."
    if not writable:
        return Check("data folder", ok=False, found=f"{folder} cannot be written", remedy=remedy)
    if free_bytes is None:
        return Check("data folder", ok=None, found=f"{folder} can be written; its free space is unknown")
    found = f"{folder} can be written, {_size(free_bytes)} free"
    return Check("data folder", ok=free_bytes >= REPORTS_BYTES, found=found, remedy=remedy)


def check_gpu(gpus: tuple[Gpu, ...], reason: str | None, *, nvidia_devices: int) -> Check:
    """Whether every NVIDIA device on the bus can be looked at; `reason` says why none could."""
    if gpus and len(gpus) >= nvidia_devices:
        names = ", ".join(f"{gpu.index}: {gpu.name or 'unknown'}" for gpu in gpus)
        return Check("gpu", ok=True, found=names)
    if nvidia_devices == 0:
        return Check("gpu", ok=None, found="no NVIDIA device on the PCI bus" + (f"; {reason}" if reason else ""))
    return Check(
        "gpu",
        ok=False,
        found=f"{nvidia_devices} NVIDIA devices on the PCI bus, {len(gpus)} seen" + (f": {reason}" if reason else ""),
        remedy="Install NVIDIA's driver and nvidia-ml-py, load the kernel module, then try nvidia-smi.",
    )


def nvidia_devices(files: Files) -> int:
    """GPUs of NVIDIA on the PCI bus, whether a driver runs or not."""
    found = 0
    for device in files.names(PCI):
        vendor, kind = files.text(f"{PCI}/{device}/vendor"), files.text(f"{PCI}/{device}/class")
        found += _hex(vendor) == NVIDIA and _hex(kind) >> 16 == DISPLAY_CLASS
    return found


def check_hugepages(memory: Memory) -> Check:
    """Whether benchmarks get 2 MiB pages when they ask."""
    mode = memory.transparent_hugepages
    if mode is None:
        return Check("huge pages", ok=None, found="the kernel does not tell its mode; it may have none")
    return Check(
        "huge pages",
        ok=mode in ("always", "madvise"),
        found=f"transparent huge pages: {mode}",
        remedy="As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    )


def check_governor(cpu: Cpu, *, driver: str | None) -> Check:
    """Whether the clock follows the load; `driver` is cpufreq's."""
    if cpu.governor is None:
        return Check("governor", ok=None, found="no cpufreq here: the host or the firmware sets the clock")
    remedy = "As root: cpupower frequency-set -g performance"
    found = f"{cpu.governor}" + (f" ({driver})" if driver else "")
    if cpu.governor == "performance":
        return Check("governor", ok=True, found=found)
    # under intel_pstate and amd-pstate "powersave" follows the load; elsewhere it means the lowest clock for good
    stuck = "powersave" in cpu.governor and not (driver or "").startswith(("intel_pstate", "amd-pstate", "amd_pstate"))
    return Check("governor", ok=False if stuck else None, found=found, remedy=remedy)


def check_clock(state: ClockState) -> Check:
    """Whether the kernel takes its clock for synchronised."""
    source = f"source {state.source or 'unknown'}"
    if state.synchronized is None:
        return Check("clock", ok=None, found=f"the kernel does not say whether it is synchronised, {source}")
    if state.synchronized:
        error = "unknown" if state.max_error_s is None else f"{state.max_error_s * 1e3:.1f} ms"
        return Check("clock", ok=True, found=f"synchronised, error at most {error}, {source}")
    return Check(
        "clock",
        ok=False,
        found=f"not synchronised, {source}",
        # chrony disciplines the clock without rtcsync too, but then leaves the kernel's mark as it is
        remedy="Run chrony (with rtcsync in its configuration) or systemd-timesyncd: timedatectl set-ntp true",
    )


def check_swap(memory: Memory) -> Check:
    """Whether memory has been pushed out to a disk."""
    used, total = memory.swap_used_bytes, memory.total_bytes
    if used is None or not total:
        return Check("swap", ok=None, found="the use of swap could not be read")
    return Check(
        "swap",
        ok=used <= SWAP_USED_MAX * total,
        found=f"{_size(used)} in use",
        remedy="End what fills the memory, then as root: swapoff -a && swapon -a",
    )


def check_cgroup(limits: Cgroup) -> Check:
    """Whether a control group holds us below what the machine has."""
    found = []
    if limits.cpu_quota_cpus is not None:
        found.append(f"{limits.cpu_quota_cpus:g} CPUs of time")
    if limits.cpuset_cpus is not None:
        found.append(f"{limits.cpuset_cpus} CPUs to run on")
    if limits.memory_max_bytes is not None:
        found.append(f"{_size(limits.memory_max_bytes)} of memory")
    if not found:
        return Check("cgroup", ok=True, found="no limit")
    return Check(
        "cgroup",
        ok=None,
        found=f"limited to {', '.join(found)}",
        remedy="To measure the whole machine, run outside of the container or slice, or raise its limits.",
    )


def check_ulimits(limits: Ulimits, *, rdma_devices: int) -> tuple[Check, Check]:
    """Whether the process may open enough files and, with RDMA, lock memory."""
    open_files, locked = limits.open_files, limits.locked_bytes
    enough = open_files is None or open_files >= OPEN_FILES_MIN
    shown = "unlimited" if locked is None else _size(locked)
    return (
        Check(
            "open files",
            ok=enough,
            found="unlimited" if open_files is None else f"at most {open_files}",
            remedy=f"Raise the limit to {OPEN_FILES_MIN} or more: ulimit -n, or LimitNOFILE= of the service.",
        ),
        Check(
            "locked memory",
            ok=locked is None or not rdma_devices,
            found=shown if rdma_devices else f"{shown}; there is no RDMA device that would need it",
            remedy="RDMA pins its buffers: ulimit -l unlimited, or LimitMEMLOCK=infinity of the service.",
        ),
    )


def check_last_report(age_s: float | None) -> Check:
    """How old this node's newest report is; None = there is none."""
    remedy = "gridmark qualify --if-older-than 24h"
    if age_s is None:
        return Check("last report", ok=None, found="none is kept of this node", remedy=remedy)
    found = f"{age_s / 3600:.1f} hours old"
    return Check("last report", ok=True if age_s <= REPORT_AGE_MAX_S else None, found=found, remedy=remedy)


def ulimits() -> Ulimits:
    """The limits of the calling process."""

    def soft(kind: int) -> int | None:
        value, _ = resource.getrlimit(kind)
        return None if value == resource.RLIM_INFINITY else value

    return Ulimits(open_files=soft(resource.RLIMIT_NOFILE), locked_bytes=soft(resource.RLIMIT_MEMLOCK))


def _gpus() -> tuple[tuple[Gpu, ...], str | None]:
    try:
        library = nvml.open_nvml()
    except NvmlError as error:
        return (), str(error)
    try:
        return nvml.gpus(library)[0], None
    except NvmlError as error:
        return (), str(error)
    finally:
        library.close()


def _last_report_age_s(folder: Path, now_unix_s: float) -> float | None:
    newest = history.recent(folder, identity.node_id(), limit=1)
    return now_unix_s - newest[0].started_unix_s if newest else None


def _free_bytes(folder: Path) -> int | None:
    present = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    try:
        return shutil.disk_usage(present).free if present else None
    except OSError:
        return None


def _hex(text: str | None) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0


def _size(amount: float) -> str:
    """A size as people write it: "1.5 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"
