"""The processor, the memory and the network interfaces, as /proc and /sys show them."""

from __future__ import annotations

from collections.abc import Iterable

from kernels.cpu import topology
from qualify.files import Files, number, pairs, real
from qualify.records import Cpu, Memory, Nic

CPUS = "/sys/devices/system/cpu"
NODES = "/sys/devices/system/node"
NICS = "/sys/class/net"

# vector extensions that decide how many operations a cycle can do; x86 "flags" and arm64 "Features" of /proc/cpuinfo
VECTOR_FLAGS = (
    "sse2", "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx_vnni_int8", "avx512f", "avx512bw", "avx512dq",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
    "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16", "svei8mm", "sme",
)  # fmt: skip
VECTOR_NAMES = {"asimd": "neon", "asimdhp": "neon_fp16", "asimddp": "neon_dot"}
ARPHRD_LOOPBACK = 772  # Linux, include/uapi/linux/if_arp.h


def cpu(files: Files, *, affinity: Iterable[int], architecture: str) -> Cpu:
    """The processor; `affinity` holds the CPU numbers this process may run on.

    On arm64 `family` is the implementer and `model_number` the part, which together name the core.
    """
    seen = topology.read(root=files.root, affinity=affinity)
    first = pairs(files.lines("/proc/cpuinfo"), ":")
    flags = (first.get("flags") or first.get("Features") or "").split()
    online = topology.cpu_list(files.text(f"{CPUS}/online") or "")
    sockets, cores = _sockets_and_cores(files, online)
    policies = [f"{CPUS}/cpufreq/{name}" for name in files.names(f"{CPUS}/cpufreq") if name.startswith("policy")]
    governors = sorted({text for policy in policies if (text := files.text(f"{policy}/scaling_governor"))})
    return Cpu(
        model=seen.model,
        vendor=seen.vendor,
        architecture=architecture,
        family=number(first.get("cpu family")) or _hex(first.get("CPU implementer")),
        model_number=_first_known(number(first.get("model")), _hex(first.get("CPU part"))),
        sockets=sockets,
        cores=cores,
        threads=len(online) or None,
        usable_cpus=tuple(sorted(seen.cpus)),
        base_hz=_base_hz(files, policies, first),
        max_hz=_largest_hz(files, policies, "cpuinfo_max_freq"),
        governor=", ".join(governors) or None,
        vector=tuple(VECTOR_NAMES.get(flag, flag) for flag in VECTOR_FLAGS if flag in flags),
        l1d_bytes=seen.l1d_bytes,
        l2_bytes=seen.l2_bytes,
        l3_bytes=seen.llc_bytes if seen.l3_bytes else None,
        smt=None if seen.smt_siblings is None else seen.smt_siblings > 1,
    )


def memory(files: Files) -> Memory:
    """Main memory; what a cgroup leaves of it stands elsewhere."""
    info = pairs(files.lines("/proc/meminfo"), ":")
    swap_total, swap_free = _kib(info.get("SwapTotal")), _kib(info.get("SwapFree"))
    nodes = sorted(number(name[4:]) or 0 for name in files.names(NODES) if name[4:].isdigit() and name[:4] == "node")
    sizes = [_node_bytes(files, node) for node in nodes]
    balancing = files.number("/proc/sys/kernel/numa_balancing")
    return Memory(
        total_bytes=_kib(info.get("MemTotal")),
        available_bytes=_kib(info.get("MemAvailable")),
        swap_total_bytes=swap_total,
        swap_used_bytes=None if swap_total is None or swap_free is None else swap_total - swap_free,
        transparent_hugepages=_chosen(files.text("/sys/kernel/mm/transparent_hugepage/enabled")),
        numa_nodes=len(nodes) or None,
        numa_bytes=tuple(size for size in sizes if size is not None) if None not in sizes else (),
        numa_balancing=None if balancing is None else balancing > 0,
        ecc_corrected=_edac(files, "ce_count"),
        ecc_uncorrected=_edac(files, "ue_count"),
    )


def nics(files: Files) -> tuple[Nic, ...]:
    """The interfaces that are up: no loopback, and no container's end of a bridge."""
    found = []
    for name in files.names(NICS):
        folder = f"{NICS}/{name}"
        bridged = files.exists(f"{folder}/brport") and not files.exists(f"{folder}/device")
        if files.number(f"{folder}/type") == ARPHRD_LOOPBACK or bridged or not _is_up(files, folder):
            continue
        speed = files.number(f"{folder}/speed")  # Mbit/s; -1 or unreadable where the driver does not know
        duplex = files.text(f"{folder}/duplex")
        found.append(
            Nic(
                name=name,
                speed_bits_per_s=speed * 1_000_000 if speed is not None and speed > 0 else None,
                mtu=files.number(f"{folder}/mtu"),
                duplex=duplex if duplex in ("full", "half") else None,
                errors=_sum(files.number(f"{folder}/statistics/{side}_errors") for side in ("rx", "tx")),
                drops=_sum(files.number(f"{folder}/statistics/{side}_dropped") for side in ("rx", "tx")),
            )
        )
    return tuple(found)


def memory_used_bytes(files: Files) -> int | None:
    """Memory of the machine that could not be had without swapping."""
    # MemTotal, MemFree and MemAvailable are the first three lines
    info = pairs(tuple((files.head("/proc/meminfo", 256) or "").splitlines()[:3]), ":")
    total, available = _kib(info.get("MemTotal")), _kib(info.get("MemAvailable"))
    return None if total is None or available is None else total - available


def _sockets_and_cores(files: Files, online: tuple[int, ...]) -> tuple[int | None, int | None]:
    places = set()
    for cpu_number in online:
        folder = f"{CPUS}/cpu{cpu_number}/topology"
        package, core = files.number(f"{folder}/physical_package_id"), files.number(f"{folder}/core_id")
        if package is None or core is None:
            return None, None
        # core ids repeat in every die and cluster of a package; the list of siblings does not
        places.add((package, files.text(f"{folder}/core_cpus_list") or core))
    packages = {package for package, _ in places if package >= 0}  # -1: the firmware does not say
    return len(packages) or None, len(places) or None


def _base_hz(files: Files, policies: list[str], first: dict[str, str]) -> float | None:
    """The clock the maker guarantees under load."""
    told = _largest_hz(files, policies, "base_frequency")  # intel_pstate
    if told is None:
        nominal = files.number(f"{CPUS}/cpu0/acpi_cppc/nominal_freq")  # MHz
        told = nominal * 1e6 if nominal else None
    if told is None and "constant_tsc" in first.get("flags", "").split():
        # an invariant time-stamp counter ticks at the base clock, and Linux prints twice its MHz as bogomips
        bogomips = real(first.get("bogomips"))
        told = bogomips / 2 * 1e6 if bogomips else None
    return told or None


def _largest_hz(files: Files, policies: list[str], name: str) -> float | None:
    known = [khz for policy in policies if (khz := files.number(f"{policy}/{name}"))]
    return max(known) * 1e3 if known else None


def _node_bytes(files: Files, node: int) -> int | None:
    for line in files.lines(f"{NODES}/node{node}/meminfo"):  # "Node 0 MemTotal:  24684084 kB"
        name, colon, value = line.partition(":")
        if colon and name.endswith("MemTotal"):
            return _kib(value)
    return None


def _edac(files: Files, name: str) -> int | None:
    """The sum over all memory controllers; None where the kernel has no driver for one: not zero errors."""
    folder = "/sys/devices/system/edac/mc"
    controllers = [entry for entry in files.names(folder) if entry.startswith("mc") and entry[2:].isdigit()]
    return _sum(files.number(f"{folder}/{controller}/{name}") for controller in controllers)


def _is_up(files: Files, folder: str) -> bool:
    state = files.text(f"{folder}/operstate")
    # tunnels and some virtual drivers never leave "unknown"; a carrier tells
    return state == "up" or (state == "unknown" and files.number(f"{folder}/carrier") == 1)


def _chosen(text: str | None) -> str | None:
    """The word in brackets of "always [madvise] never"."""
    _, bracket, rest = (text or "").partition("[")
    return rest.partition("]")[0] if bracket else None


def _kib(text: str | None) -> int | None:
    """Bytes of "24684084 kB", which means KiB."""
    amount = number(text.split()[0]) if text and text.split() else None
    return None if amount is None else amount << 10


def _hex(text: str | None) -> int | None:
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def _first_known(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum; None when there is nothing to add up or one part is unknown."""
    known = list(values)
    return None if not known or None in known else sum(value for value in known if value is not None)
