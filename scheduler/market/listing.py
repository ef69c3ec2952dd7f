"""What the market takes over from a report, and which reports it cannot believe."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import kernels.benches
from kernels.spec import Bench
from qualify.records import Gpu, Measurement, Node, Report, Verdict
from qualify.reference import DTYPES, Reference, cpu_peak, load
from qualify.registry import load as load_plugins
from qualify.rules_expected import PHYSICS_PART
from qualify.score import score
from scheduler.market.gpu_peak import beyond_peak as beyond_gpu_peak
from scheduler.market.gpu_peak import bf16_most
from scheduler.records import Capacity, Figure, Remark

#: of memory and of free disk, kept back for the operating system, the agent and caches: 1 part in 16
SPARE_PARTS = 16
#: no core that was ever sold runs faster; an overclocking record with liquid helium stands at 9.1 GHz
CLOCK_MOST_HZ = 10e9
#: figures that may be 0: a part of something that did not happen
MAY_BE_ZERO = frozenset({"ratio"})
UNITS = frozenset({"FLOP/s", "OP/s", "B/s", "IO/s", "s", "ratio"})
FIGURE_NAME = re.compile(r"[a-z][a-z0-9]*\.(?:[a-z0-9_]+|[0-9]+-[0-9]+)", re.ASCII)
#: figures whose work is counted against the peak of a data type
COUNTED_AS = {"matmul.fp32_numba": "fp32", "stress.sustained": "fp32", **{f"matmul.{dtype}": dtype for dtype in DTYPES}}
#: NVML's names that do not say what people call the part; all others only lose the maker's name
MARKET_NAMES = {
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H200": "H200 SXM",
    "NVIDIA A100-SXM4-80GB": "A100 SXM 80GB",
    "NVIDIA A100-SXM4-40GB": "A100 SXM 40GB",
    "NVIDIA A100 80GB PCIe": "A100 PCIe 80GB",
    "NVIDIA A100-PCIE-40GB": "A100 PCIe 40GB",
}
#: findings that others were at work on the machine, or on its host, while it was measured
OTHERS = frozenset({"NOISY_NEIGHBOUR", "CPU_STEAL", "GPU_FOREIGN_PROCESS"})
#: kept of what a device calls itself
DEVICE_CHARS = 64
MAKERS = ("NVIDIA ", "Tesla ", "GeForce ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """What of a report becomes part of the node's row."""

    report_id: str
    machine: str  #: Node.id: who it says it is
    boot_id: str | None
    device_kind: Literal["cpu", "cuda"]
    model: str  #: of its GPUs as the market calls them, or of its CPU; "" = unknown
    vram_bytes: int  #: of the GPU with the least; 0 without GPUs or unknown
    devices: tuple[str, ...] = ()  #: who its GPUs say they are; of a CPU its machine
    bf16_most_flops: float | None = None  #: of one of its GPUs, by the part it names; None = unknown
    capacity: Capacity
    figures: Mapping[str, Figure] = field(default_factory=dict)
    capability: Mapping[str, float] = field(default_factory=dict)
    health: float | None = None
    verdict: Verdict
    reasons: tuple[str, ...] = ()  #: why this verdict
    remarks: tuple[Remark, ...] = ()  #: findings, the worst first
    profile: str = ""
    partial: bool = False
    measured_ms: int  #: when the run began, by the node's clock

    @property
    def warnings(self) -> tuple[Remark, ...]:
        """What makes a qualified node a degraded one."""
        return tuple(remark for remark in self.remarks if remark.severity == "warning")

    @property
    def disturbance(self) -> str:
        """What others did meanwhile, where that alone may be why it did not qualify; "" otherwise."""
        told = [remark for remark in self.remarks if remark.severity != "info"]
        of_its_own = any(remark.severity == "failure" and remark.code not in OTHERS for remark in told)
        if self.verdict == "qualified" or of_its_own:
            return ""
        return next((remark.text for remark in told if remark.code in OTHERS), "")


def summarise(report: Report, reference: Reference | None = None) -> ReportSummary:
    """What the market takes over from `report`.

    Capability is worked out anew from the figures: nobody is asked how good he is. Health is the report's, because it
    may compare with nodes of the same kind that the table does not know.

    Args:
        reference: None = the table installed with this package.
    """
    node = report.node
    measurements = {m.key: m for m in report.measurements}
    began_s = report.started_unix_s
    reference = reference or installed_reference()
    worked_out = score(node, measurements, reference, now_unix_s=began_s, measured_unix_s=began_s).capability
    order = {"failure": 0, "warning": 1, "info": 2}
    remarks = [Remark(code=f.code, severity=f.severity, text=f.text, remedy=f.remedy) for f in report.findings]
    return ReportSummary(
        report_id=report.id,
        machine=node.id,
        boot_id=node.boot_id,
        device_kind=node.device_kind,
        model=_model(node),
        vram_bytes=_vram_bytes(node),
        devices=_devices(node),
        bf16_most_flops=bf16_most(node, reference.gpus) if node.device_kind == "cuda" else None,
        capacity=capacity(node),
        figures={key: _figure(m, began_s) for key, m in sorted(measurements.items()) if _is_listed(m)},
        capability={name: value for name, value in worked_out.items() if value is not None},
        health=report.score.health if report.score else None,
        verdict=report.verdict,
        reasons=report.reasons,
        remarks=tuple(sorted(remarks, key=lambda remark: order[remark.severity])),
        profile=report.profile,
        partial=report.partial,
        measured_ms=round(began_s * 1000),
    )


def capacity(node: Node) -> Capacity:
    """What jobs may occupy: what the machine has, within the control group's limits, less what is kept back.

    A node that was measured as a CPU offers no GPU, whatever is plugged in: nobody measured it.
    """
    cpus: float = len(node.cpu.usable_cpus) or node.cpu.threads or 0
    limits = (node.cgroup.cpuset_cpus, node.cgroup.cpu_quota_cpus)
    cpus = min((limit for limit in (cpus, *limits) if limit is not None), default=0)
    memory = min((m for m in (node.memory.total_bytes, node.cgroup.memory_max_bytes) if m is not None), default=0)
    disk = node.disk.free_bytes if node.disk and not node.disk.read_only else None
    return Capacity(
        gpu_milli=(1000,) * len(_offered_gpus(node)),
        cpu_milli=int(cpus * 1000),
        memory_bytes=memory - memory // SPARE_PARTS,
        disk_bytes=(disk or 0) - (disk or 0) // SPARE_PARTS,
    )


def market_name(name: str) -> str:
    """What people call a GPU that NVML names `name`."""
    known = MARKET_NAMES.get(name)
    if known is not None:
        return known
    for maker in MAKERS:
        name = name.removeprefix(maker)
    return name


def impossible(report: Report, reference: Reference) -> str | None:
    """Why a report cannot be true, in one sentence; None when nothing in it is impossible.

    A figure must be a finite number of the right sign with at least one sample behind it and an interval around it, and
    arithmetic must not exceed 103 % of what the node's cores can do at the fastest clock that was seen anywhere in it;
    nor must a GPU's arithmetic, memory and host link exceed what its part does.
    """
    for measurement in report.measurements:
        known = reference.figures_of(report.node.device_kind).get(measurement.key)
        if measurement.status == "ok" and (reason := _nonsense(measurement)):
            return f"{measurement.key} {reason}"
        if measurement.status == "ok" and known is not None and known.unit != measurement.unit:
            return f"{measurement.key} is in {measurement.unit}, wanted {known.unit}"
    if report.node.device_kind == "cuda":
        return next(beyond_gpu_peak(report, reference.gpus), None)
    return next(_beyond_peak(report, reference), None)


def _nonsense(m: Measurement) -> str | None:
    value = m.value
    if value is None or not math.isfinite(value):
        return f"is {value}, which is no figure"
    if value < 0 or (value == 0 and m.unit not in MAY_BE_ZERO):
        return f"is {value:g} {m.unit}: it cannot be {'negative' if value < 0 else 'zero'}"
    if m.n < 1:
        return "has no sample behind it"
    if m.unit not in UNITS:
        return f"is in {m.unit!r}, which is no unit of a figure"
    if m.ci95 is not None:
        low, high = m.ci95
        if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= value <= high):
            return f"is {value:g} {m.unit} and its interval {low:g} to {high:g} does not hold it"
    return None


def _beyond_peak(report: Report, reference: Reference) -> Iterator[str]:
    node = report.node
    clock_hz = max((hz for m in report.measurements for hz in _clocks_hz(m)), default=None)
    cpus = len(node.cpu.usable_cpus) or node.cpu.threads
    if clock_hz is None or not cpus:
        return
    if clock_hz > CLOCK_MOST_HZ:
        yield f"a clock of {clock_hz / 1e9:.1f} GHz is faster than any processor runs"
    for m in report.measurements:
        dtype = COUNTED_AS.get(m.key)
        if m.value is None:
            continue
        if m.key.startswith("memlatency.") and m.value * clock_hz < 1:
            yield f"{m.key} is {m.value * 1e9:.3g} ns, less than one cycle at {clock_hz / 1e9:.2f} GHz"
        if dtype is None:
            continue
        ceiling = cpu_peak(reference, node, dtype, clock_hz=clock_hz, threads=cpus).ceiling
        if ceiling is not None and m.value > PHYSICS_PART * ceiling:
            yield (
                f"{m.key} is {m.value:.4g} {m.unit}, {m.value / ceiling:.0%} of the {ceiling:.4g} that {cpus} CPUs can "
                f"do at {clock_hz / 1e9:.2f} GHz"
            )


def _clocks_hz(measurement: Measurement) -> list[float]:
    contexts = [measurement.context, *(attempt.context for attempt in measurement.attempts)]
    found = [context.get(name) for context in contexts for name in ("clock_hz", "clock_before_hz", "clock_after_hz")]
    return [float(hz) for hz in found if isinstance(hz, int | float) and hz > 0]


def _is_listed(measurement: Measurement) -> bool:
    """Whether a measurement becomes a figure of the market: obtained, in a unit and of a benchmark that we know."""
    key = measurement.key
    return (
        measurement.status == "ok"
        and measurement.unit in UNITS
        and FIGURE_NAME.fullmatch(key) is not None
        and key.partition(".")[0] in known_benches()
    )


def _figure(m: Measurement, began_s: float) -> Figure:
    low, high = m.ci95 or (None, None)
    at_ms = round((began_s + (m.started_s or 0.0)) * 1000)
    return Figure(value=m.value or 0.0, low=low, high=high, n=m.n, at_ms=at_ms, unit=m.unit)


def _offered_gpus(node: Node) -> tuple[Gpu, ...]:
    return node.gpus if node.device_kind == "cuda" else ()


def _model(node: Node) -> str:
    gpus = _offered_gpus(node)
    if not gpus:
        return node.cpu.model or ""
    counted = Counter(market_name(gpu.name or "unknown GPU") for gpu in gpus)
    return " + ".join(name for name, _ in counted.most_common())


def _devices(node: Node) -> tuple[str, ...]:
    gpus = _offered_gpus(node)
    named = [gpu.uuid or f"{node.id}:{gpu.index}" for gpu in gpus] or [node.id]
    return tuple(re.sub(r"[^!-~]", "?", name)[:DEVICE_CHARS] for name in named)


def _vram_bytes(node: Node) -> int:
    return min((gpu.memory_bytes or 0 for gpu in _offered_gpus(node)), default=0)


@cache
def known_benches() -> Mapping[str, Bench]:
    """The benchmarks of this installation, by name."""
    return load_plugins(kernels.benches, "BENCH")


@cache
def installed_reference() -> Reference:
    """The table installed with this package, read once."""
    return load()
