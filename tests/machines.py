"""Machines built out of files: what /proc, /sys and /etc say on a server, in a container, on arm64, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

CPU = "sys/devices/system/cpu"

EPYC = """\
processor\t: {number}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9R14
bogomips\t: 5200.00
flags\t\t: fpu sse2 sse4_2 constant_tsc avx f16c fma avx2 avx512f avx512bw avx512_vnni avx512_bf16{extra}
"""
NEOVERSE = """\
processor\t: {number}
BogoMIPS\t: 2100.00
Features\t: fp asimd asimdhp asimddp sve bf16 i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""

MEMINFO = """\
MemTotal:       16000000 kB
MemFree:         1000000 kB
MemAvailable:   12000000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
"""

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw
30 27 0:30 / /tmp rw,nosuid - tmpfs tmpfs rw,size=8g
"""
V2_MOUNT = "31 27 0:28 {subtree} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


def lay(root: Path, files: Mapping[str, str | int]) -> Path:
    """Write `files` (path below root -> contents) and return the root."""
    for name, contents in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{contents}\n" if isinstance(contents, int) else contents)
    return root


def link(root: Path, name: str, target: str) -> None:
    """Make the symbolic link `name` below the root; its target need not exist (namespaces)."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def cpu_files(cpu: int, *, package: int, core: int, siblings: str) -> dict[str, str | int]:
    """One CPU with 32 KiB, 1 MiB and, shared by all of "0-3", 16 MiB of cache."""
    folder = f"{CPU}/cpu{cpu}"
    caches = ((1, "Data", "32K", siblings), (2, "Unified", "1024K", siblings), (3, "Unified", "16384K", "0-3"))
    found: dict[str, str | int] = {
        f"{folder}/topology/physical_package_id": package,
        f"{folder}/topology/core_id": core,
        f"{folder}/topology/core_cpus_list": siblings,
    }
    for place, (level, kind, size, shared) in enumerate(caches):
        found[f"{folder}/cache/index{place}/level"] = level
        found[f"{folder}/cache/index{place}/type"] = kind
        found[f"{folder}/cache/index{place}/size"] = size
        found[f"{folder}/cache/index{place}/coherency_line_size"] = 64
        found[f"{folder}/cache/index{place}/shared_cpu_list"] = shared
    return found


def stat(*, user: int = 0, idle: int = 0, iowait: int = 0, steal: int = 0) -> str:
    """The beginning of /proc/stat, in ticks of all CPUs."""
    return f"cpu  {user} 0 0 {idle} {iowait} 0 0 {steal} 0 0\ncpu0 {user} 0 0 {idle} {iowait} 0 0 {steal} 0 0\n"


def process(pid: int, name: str, *, parent: int = 1, used: int = 0, started: int = 100) -> dict[str, str | int]:
    """/proc/PID/stat of a process that has used `used` ticks, two thirds of them in user mode."""
    user = used * 2 // 3
    numbers = [parent, pid, pid, 0, -1, 0, 0, 0, 0, 0, user, used - user, 0, 0, 20, 0, 1, 0, started, 0, 0]
    return {f"proc/{pid}/stat": f"{pid} ({name}) S {' '.join(map(str, numbers))}\n"}


def server(root: Path) -> Path:
    """A bare-metal x86 server: 2 cores of 2 threads, 16 GB, NVMe, one NIC, cgroup v2 without limits."""
    files: dict[str, str | int] = {
        "proc/cpuinfo": "\n".join(EPYC.format(number=number, extra="") for number in range(4)),
        "proc/meminfo": MEMINFO,
        "proc/stat": stat(user=100, idle=300),
        "proc/loadavg": "0.25 0.20 0.15 1/100 4242\n",
        "proc/pressure/cpu": "some avg10=1.50 avg60=0.66 avg300=0.33 total=7378561\n",
        "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        "proc/pressure/io": "some avg10=3.07 avg60=0.00 avg300=0.09 total=4048780\n",
        "proc/sys/kernel/osrelease": "6.8.0-40-generic\n",
        "proc/sys/kernel/numa_balancing": 0,
        "proc/sys/kernel/random/boot_id": "7a3aed6e-3a79-42e6-9657-d2d916b31122\n",
        "proc/self/mountinfo": MOUNTS + V2_MOUNT.format(subtree="/"),
        "proc/self/cgroup": "0::/user.slice/session-1.scope\n",
        "etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        f"{CPU}/online": "0-3\n",
        f"{CPU}/cpu0/acpi_cppc/nominal_freq": 2600,
        f"{CPU}/cpufreq/policy0/cpuinfo_max_freq": 3700000,
        f"{CPU}/cpufreq/policy0/scaling_governor": "performance\n",
        f"{CPU}/cpufreq/policy1/cpuinfo_max_freq": 3700000,
        f"{CPU}/cpufreq/policy1/scaling_governor": "performance\n",
        "sys/devices/system/node/node0/meminfo": "Node 0 MemTotal:       16000000 kB\n",
        "sys/devices/system/edac/mc/mc0/ce_count": 3,
        "sys/devices/system/edac/mc/mc0/ue_count": 0,
        "sys/devices/system/edac/mc/mc1/ce_count": 4,
        "sys/devices/system/edac/mc/mc1/ue_count": 1,
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
        "sys/devices/system/clocksource/clocksource0/available_clocksource": "tsc hpet acpi_pm\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/class/dmi/id/sys_vendor": "Supermicro\n",
        "sys/class/dmi/id/product_uuid": "4c4c4544-0042-3510-8052-b4c04f4e4d32\n",
        "sys/fs/cgroup/user.slice/session-1.scope/cgroup.procs": "1\n",
    }
    for cpu, core in ((0, 0), (1, 1), (2, 0), (3, 1)):
        files |= cpu_files(cpu, package=0, core=core, siblings=f"{core},{core + 2}")
    files |= nic("eno1", speed=25000) | nic("lo", kind=772, state="unknown", speed=None)
    lay(root, files)
    link(root, "proc/self/ns/pid", "pid:[4026531836]")
    disk(root)
    return root


def disk(root: Path) -> None:
    """An NVMe drive with one partition, 259:1."""
    lay(root, {"sys/devices/pci0/nvme0n1/queue/rotational": 0, "sys/devices/pci0/nvme0n1/nvme0n1p1/partition": 1})
    link(root, "sys/dev/block/259:1", "../../devices/pci0/nvme0n1/nvme0n1p1")
    link(root, "sys/class/block/nvme0n1p1", "../../devices/pci0/nvme0n1/nvme0n1p1")


def nic(name: str, *, kind: int = 1, state: str = "up", speed: int | None = 1000) -> dict[str, str | int]:
    """A network interface; `kind` 772 is loopback."""
    folder = f"sys/class/net/{name}"
    found: dict[str, str | int] = {
        f"{folder}/type": kind,
        f"{folder}/operstate": f"{state}\n",
        f"{folder}/carrier": 1,
        f"{folder}/mtu": 1500,
        f"{folder}/duplex": "full\n",
        f"{folder}/address": "9c:6b:00:12:34:56\n",
        f"{folder}/addr_assign_type": 0,
        f"{folder}/statistics/rx_errors": 2,
        f"{folder}/statistics/tx_errors": 1,
        f"{folder}/statistics/rx_dropped": 7,
        f"{folder}/statistics/tx_dropped": 0,
    }
    return found if speed is None else found | {f"{folder}/speed": speed}


def arm64(root: Path) -> Path:
    """An arm64 virtual machine under KVM, told by its device tree; two cores, no firmware tables, no cpufreq."""
    server(root)
    for name in ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_uuid", f"{CPU}/cpu0/acpi_cppc/nominal_freq"):
        (root / name).unlink()
    for policy in ("policy0", "policy1"):
        for file in (root / CPU / "cpufreq" / policy).iterdir():
            file.unlink()
    lay(
        root,
        {
            "proc/cpuinfo": "\n".join(NEOVERSE.format(number=number) for number in range(4)),
            "proc/device-tree/hypervisor/compatible": "linux,kvm\0",
        },
    )
    return root


class FakeClock:
    """Seconds that pass only in `sleep`, which may change the machine meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now_s = 1000.0
        self._meanwhile = meanwhile

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self._meanwhile()
        self.now_s += seconds
