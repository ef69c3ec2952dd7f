"""What a machine is, before any load: one Node, in less than a second, from whatever the kernel lets us read."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from kernels.spec import DeviceKind
from qualify import cgroup, hardware, identity, load, nvml, software, storage, timekeeping, virtual
from qualify.files import Files
from qualify.nvml import Nvml, NvmlError
from qualify.records import Gpu, Node

WINDOW_S = 0.5  #: 50 ticks of each CPU: a share of CPU time is then known to 2 % of one CPU

CPU0 = "/sys/devices/system/cpu/cpu0"
#: what should be known of any machine: the field, its name for people, the file that tells
IN_FILES = (
    ("cpu.model", "The processor's name", "/proc/cpuinfo"),
    ("cpu.threads", "The number of CPUs", "/sys/devices/system/cpu/online"),
    ("cpu.cores", "The number of cores", f"{CPU0}/topology/core_id"),
    ("cpu.sockets", "The number of sockets", f"{CPU0}/topology/physical_package_id"),
    ("cpu.smt", "Whether cores have several threads", f"{CPU0}/topology/core_cpus_list"),
    ("cpu.base_hz", "The base clock", f"{CPU0}/cpufreq/base_frequency"),
    ("cpu.max_hz", "The highest clock", f"{CPU0}/cpufreq/cpuinfo_max_freq"),
    ("cpu.governor", "The clock governor", f"{CPU0}/cpufreq/scaling_governor"),
    ("cpu.l1d_bytes", "The size of the first-level cache", f"{CPU0}/cache/index0/size"),
    ("cpu.l2_bytes", "The size of the second-level cache", f"{CPU0}/cache/index2/size"),
    ("cpu.l3_bytes", "The size of the third-level cache", f"{CPU0}/cache/index3/size"),
    ("memory.total_bytes", "The size of the memory", "/proc/meminfo"),
    ("memory.available_bytes", "The free memory", "/proc/meminfo"),
    ("memory.transparent_hugepages", "The mode of huge pages", "/sys/kernel/mm/transparent_hugepage/enabled"),
    ("memory.numa_nodes", "The number of NUMA nodes", "/sys/devices/system/node"),
    ("memory.ecc_corrected", "The count of memory errors", "/sys/devices/system/edac/mc"),
    ("disk.filesystem", "The file system of the work folder", "/proc/self/mountinfo"),
    ("load.busy_ratio", "What else runs on the CPUs", "/proc/stat"),
    ("load.load_1m", "The load average", "/proc/loadavg"),
    ("load.pressure_cpu_ratio", "The pressure on the CPUs", "/proc/pressure/cpu"),
    ("clock.source", "The kernel's clock source", "/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    ("hypervisor", "Whether the machine is virtual", "/sys/class/dmi/id/sys_vendor"),
    ("container", "Whether we are in a container", "/proc/self/ns/pid"),
    ("os", "The name of the system", "/etc/os-release"),
    ("kernel", "The version of the kernel", "/proc/sys/kernel/osrelease"),
    ("boot_id", "The id of this boot", "/proc/sys/kernel/random/boot_id"),
)

#: what the host of a virtual machine keeps to itself: no fault of this machine's that it does not know
THE_HOSTS = frozenset({"cpu.max_hz", "cpu.governor", "memory.ecc_corrected"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a probe takes from the process and not from files; the defaults of `here` are the real thing."""

    clock: Callable[[], float]  #: seconds, monotonic
    sleep: Callable[[float], None]
    now_s: Callable[[], float]  #: Unix time
    pid: int
    affinity: frozenset[int]
    architecture: str
    hostname: str
    is_root: bool
    open_files_max: int | None
    ticks_per_s: int
    ask_clock: timekeeping.Ask
    open_nvml: Callable[[], Nvml]  #: raises NvmlError with the reason when there is none


def here() -> Surroundings:
    """The surroundings of the calling process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Surroundings(
        clock=time.monotonic,
        sleep=time.sleep,
        now_s=time.time,
        pid=os.getpid(),
        affinity=frozenset(os.sched_getaffinity(0)),
        architecture=platform.machine(),
        hostname=platform.node(),
        is_root=os.geteuid() == 0,
        open_files_max=None if soft == resource.RLIM_INFINITY else soft,
        ticks_per_s=load.ticks_per_s(),
        ask_clock=timekeeping.ask_kernel,
        open_nvml=nvml.open_nvml,
    )


def probe(
    *,
    workdir: Path,
    window_s: float = WINDOW_S,
    root: Path = Path("/"),
    device_kind: DeviceKind = "cpu",
    surroundings: Surroundings | None = None,
) -> Node:
    """The node as it is now; nothing is raised for what cannot be read: it is None, with a sentence in `problems`.

    Args:
        workdir: an existing folder, where benchmarks will write; a file is made and removed there.
        window_s: how long the load is watched before anything of ours runs.
        root: where /proc, /sys and /etc are looked for.
        device_kind: what is about to be measured; a node with GPUs that is measured on its CPU is a "cpu" node.
    """
    around, files = surroundings or here(), Files(root)
    # the load comes first: it must not see our own reading
    watched = load.watch(
        files,
        window_s=window_s,
        clock=around.clock,
        sleep=around.sleep,
        pid=around.pid,
        ticks_per_s=around.ticks_per_s,
    )
    node = _read(files, around, workdir)
    node = replace(node, device_kind=device_kind, load=watched)
    return replace(node, problems=(*node.problems, *_unknowns(files, node)))


def _read(files: Files, around: Surroundings, workdir: Path) -> Node:
    engine, accelerators = virtual.container(files), _accelerators(around.open_nvml)
    named = identity.identify(
        files,
        hostname=around.hostname,
        contained=engine not in (None, "none"),
        gpu_uuids=[gpu.uuid for gpu in accelerators.gpus if gpu.uuid],
    )
    return Node(
        id=named.id,
        hostname=around.hostname,
        device_kind="cpu",
        boot_id=files.text("/proc/sys/kernel/random/boot_id"),
        cpu=hardware.cpu(files, affinity=around.affinity, architecture=around.architecture),
        memory=hardware.memory(files),
        cgroup=cgroup.read(files),
        disk=storage.disk(files, workdir),
        nics=hardware.nics(files),
        clock=timekeeping.clock_state(files, ask=around.ask_clock, unixtime_s=around.now_s()),
        gpus=accelerators.gpus,
        gpu_reason=accelerators.reason,
        hypervisor=virtual.hypervisor(files),
        container=engine,
        os=software.system_name(files),
        kernel=files.text("/proc/sys/kernel/osrelease"),
        is_root=around.is_root,
        open_files_max=around.open_files_max,
        versions={**software.versions(), "driver": accelerators.driver, "cuda": accelerators.cuda},
        problems=(*((named.problem,) if named.problem else ()), *accelerators.problems),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accelerators:
    gpus: tuple[Gpu, ...] = ()
    reason: str | None = None
    driver: str | None = None
    cuda: str | None = None
    problems: tuple[str, ...] = ()


def _accelerators(open_nvml: Callable[[], Nvml]) -> _Accelerators:
    try:
        library = open_nvml()
    except NvmlError as error:
        return _Accelerators(reason=str(error))
    try:
        gpus, problems = nvml.gpus(library)
        return _Accelerators(
            gpus=gpus,
            reason=None if gpus else "the NVIDIA driver runs but shows no GPU",
            driver=library.driver_version(),
            cuda=library.cuda_version(),
            problems=problems,
        )
    except NvmlError as error:
        return _Accelerators(reason=f"the NVIDIA driver did not answer: {error}")
    finally:
        library.close()


def _unknowns(files: Files, node: Node) -> tuple[str, ...]:
    """A sentence for everything that should be known of a machine and is not."""
    virtual = node.hypervisor not in (None, "none")
    missing = [
        f"{what} is unknown: {path} {files.why_not(path)}."
        for field, what, path in IN_FILES
        if attrgetter(field)(node) is None and not (virtual and field in THE_HOSTS)
    ]
    disk = node.disk
    if disk and disk.free_bytes is None:
        missing.append(f"The space on the disk is unknown: {disk.path} cannot be asked.")
    if disk and disk.direct_io is None:
        missing.append(f"Whether the disk can be read directly is unknown: no file can be made in {disk.path}.")
    if disk and disk.rotational is None and (disk.device or "").startswith("/dev/") and not virtual:
        missing.append(f"Whether the disk spins is unknown: /sys says nothing of {disk.device}.")
    if node.clock.synchronized is None:
        missing.append("Whether the clock is synchronised is unknown: the kernel did not answer adjtimex.")
    return tuple(missing)
