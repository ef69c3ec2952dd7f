"""The node in words: what the probe read, section by section; what it could not read is "–"."""

from __future__ import annotations

from dataclasses import dataclass

from qualify.records import Claim, Cpu, Disk, Gpu, Json, Nic, Node, Report
from reports import context, units
from reports.units import UNKNOWN, plain

Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines of name and value."""

    title: str
    lines: Lines


def sections(report: Report) -> tuple[Section, ...]:
    """Everything that is known of the node and of how the run was asked for."""
    node = report.node
    found = [Section("Machine", _machine(node)), Section("Processor", _processor(node.cpu))]
    found += [Section(f"GPU {gpu.index}", _gpu(gpu)) for gpu in node.gpus]
    found += [Section("Memory", _memory(node)), Section("Limits of the cgroup", _limits(node))]
    found += [Section("Disk of the work folder", _disk(node.disk))] if node.disk else []
    found += [Section(f"Network {plain(nic.name)}", _nic(nic)) for nic in node.nics]
    found += [Section("Before the run", _before(node))]
    found += [Section("Claimed", _claim(report.claim))] if report.claim else []
    found += [Section("Versions", tuple((plain(name), _text(text)) for name, text in node.versions.items()))]
    asked = tuple(
        (plain(name), context.value_text(name, value)) for name, value in report.options.items() if _given(value)
    )
    found += [Section("Asked for", (*asked, ("report", plain(report.id))))]
    return tuple(section for section in found if section.lines)


def _given(value: Json) -> bool:
    return value is not None and value != [] and value != ""


def _text(text: str | None) -> str:
    return UNKNOWN if text is None else plain(text)


def _yes(value: bool | None) -> str:
    return UNKNOWN if value is None else "yes" if value else "no"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _machine(node: Node) -> Lines:
    lines = [
        ("host", plain(node.hostname)),
        ("node id", plain(node.id)),
        ("kind", "NVIDIA GPU" if node.device_kind == "cuda" else "CPU"),
        ("system", _text(node.os)),
        ("kernel", _text(node.kernel)),
        ("hypervisor", _text(node.hypervisor)),
        ("container", _text(node.container)),
        ("run by root", _yes(node.is_root)),
        ("open files", _number(node.open_files_max)),
    ]
    lines += [("GPU", plain(node.gpu_reason))] if node.gpu_reason and not node.gpus else []
    lines += [("could not be read", plain(problem)) for problem in node.problems]
    return tuple(lines)


def _processor(cpu: Cpu) -> Lines:
    model = UNKNOWN if cpu.family is None else f"family {cpu.family}, model {_number(cpu.model_number)}"
    caches = (("L1d", cpu.l1d_bytes), ("L2", cpu.l2_bytes), ("L3", cpu.l3_bytes))
    return (
        ("model", _text(cpu.model)),
        ("vendor", f"{_text(cpu.vendor)}, {model}"),
        ("architecture", _text(cpu.architecture)),
        ("sockets", _number(cpu.sockets)),
        ("cores", f"{_number(cpu.cores)}, {_number(cpu.threads)} threads"),
        ("usable CPUs", ranges(cpu.usable_cpus)),
        ("clock", f"{units.figure(cpu.base_hz, 'Hz')} base, {units.figure(cpu.max_hz, 'Hz')} most"),
        ("governor", _text(cpu.governor)),
        ("vector units", ", ".join(map(plain, cpu.vector)) or UNKNOWN),
        ("caches", ", ".join(f"{name} {units.size(size)}" for name, size in caches)),
        ("SMT", _yes(cpu.smt)),
    )


def ranges(numbers: tuple[int, ...]) -> str:
    """CPU numbers as Linux writes them: (0, 1, 2, 5) gives "0-2,5"."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found) or UNKNOWN


def _gpu(gpu: Gpu) -> Lines:
    return (
        ("name", _text(gpu.name)),
        ("uuid", _text(gpu.uuid)),
        ("memory", f"{units.size(gpu.memory_bytes)}, {units.size(gpu.memory_used_bytes)} used"),
        ("ECC", f"{_yes(gpu.ecc_enabled)}, {_number(gpu.ecc_uncorrected)} uncorrected"),
        ("power limit", f"{_number(gpu.power_limit_w)} W of {_number(gpu.power_default_w)} W"),
        ("temperature", f"{_number(gpu.temperature_c)} °C"),
        ("SM clock", units.figure(gpu.sm_clock_max_hz, "Hz")),
        ("PCIe", f"generation {_number(gpu.pcie_generation)}, {_number(gpu.pcie_width)} lanes"),
        ("MIG", _yes(gpu.mig)),
        ("processes", _number(gpu.processes)),
    )


def _memory(node: Node) -> Lines:
    memory = node.memory
    per_node = ", ".join(units.size(size) for size in memory.numa_bytes)
    return (
        ("installed", units.size(memory.total_bytes)),
        ("free", units.size(memory.available_bytes)),
        ("swap", f"{units.size(memory.swap_used_bytes)} used of {units.size(memory.swap_total_bytes)}"),
        ("2 MiB pages", _text(memory.transparent_hugepages)),
        ("NUMA nodes", f"{_number(memory.numa_nodes)}{f' ({per_node})' if per_node else ''}"),
        ("NUMA balancing", _yes(memory.numa_balancing)),
        ("ECC errors", f"{_number(memory.ecc_corrected)} corrected, {_number(memory.ecc_uncorrected)} not"),
    )


def _limits(node: Node) -> Lines:
    group = node.cgroup
    none = "none found"
    return (
        ("version", plain(group.version)),
        ("CPU", none if group.cpu_quota_cpus is None else f"{group.cpu_quota_cpus:g} CPUs"),
        ("CPU set", none if group.cpuset_cpus is None else f"{group.cpuset_cpus} CPUs"),
        ("memory", none if group.memory_max_bytes is None else units.size(group.memory_max_bytes)),
        ("throttled", f"{_number(group.throttled_periods)} of {_number(group.periods)} periods"),
        ("killed for memory", _number(group.oom_kills)),
    )


def _disk(disk: Disk) -> Lines:
    return (
        ("folder", plain(disk.path)),
        ("file system", _text(disk.filesystem)),
        ("device", f"{_text(disk.device)}{', rotating' if disk.rotational else ''}"),
        ("free", f"{units.size(disk.free_bytes)} of {units.size(disk.total_bytes)}"),
        ("read only", _yes(disk.read_only)),
        ("direct I/O", _yes(disk.direct_io)),
    )


def _nic(nic: Nic) -> Lines:
    speed = None if nic.speed_bits_per_s is None else float(nic.speed_bits_per_s)
    return (
        ("speed", units.figure(speed, "bit/s")),
        ("MTU", _number(nic.mtu)),
        ("duplex", _text(nic.duplex)),
        ("errors, drops", f"{_number(nic.errors)}, {_number(nic.drops)}"),
    )


def _before(node: Node) -> Lines:
    load, clock = node.load, node.clock
    pressure = (
        ("CPU", load.pressure_cpu_ratio),
        ("memory", load.pressure_memory_ratio),
        ("I/O", load.pressure_io_ratio),
    )
    waits = ", ".join(f"{name} {units.percent(part, 2)}" for name, part in pressure)
    synchronised = {True: "set by a server", False: "not synchronised", None: UNKNOWN}[clock.synchronized]
    lines = (
        ("CPUs busy", f"{units.percent(load.busy_ratio, 2)} over {units.duration(load.window_s)}"),
        ("stolen by the host", units.percent(load.steal_ratio, 2)),
        ("waiting for I/O", units.percent(load.iowait_ratio, 2)),
        ("load average", _number(load.load_1m)),
        ("pressure", waits),
        ("clock", synchronised),
        ("clock source", f"{_text(clock.source)}, error below {units.figure(clock.max_error_s, 's')}"),
    )
    return (*lines, *(("also running", plain(process)) for process in load.foreign))


def _claim(claim: Claim) -> Lines:
    said = (
        ("cores", None if claim.cores is None else str(claim.cores)),
        ("memory", None if claim.memory_bytes is None else units.size(claim.memory_bytes)),
        ("disk", None if claim.disk_bytes is None else units.size(claim.disk_bytes)),
        ("GPU", None if claim.gpu is None else plain(claim.gpu)),
        ("GPUs", None if claim.gpus is None else str(claim.gpus)),
        ("download", None if claim.down_bytes_per_s is None else units.figure(claim.down_bytes_per_s, "B/s")),
        ("upload", None if claim.up_bytes_per_s is None else units.figure(claim.up_bytes_per_s, "B/s")),
    )
    return tuple((name, text) for name, text in said if text is not None)
