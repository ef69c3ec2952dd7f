"""What hardware can do by formula, and the node that counts as 100: the table in reference.toml, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from qualify import reference_gpu
from qualify.records import Cpu, Node

DTYPES = ("fp64", "fp32", "bf16", "int8")
TABLES = frozenset(
    {"version", "reference_node", "cpu", "isa", "floor", "figure", "gpu_figure", "profile"}
    | {"gpu", "gpu_class", "gpu_link"}
)
WEIGHT_SLACK = 1e-9
HIDDEN_SMT = 0.5  #: of a core's units, what a virtual CPU has when it is one of two threads and nobody says so


class ReferenceTableError(ValueError):
    """The table contradicts itself; only its author can mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Operations per cycle and core that an instruction set gives."""

    needs: str  #: the flag of Cpu.vector that must be visible
    per_cycle: Mapping[str, float]  #: data type -> operations; a fused multiply-add counts 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A micro-architecture."""

    name: str
    vendor: str
    family: int
    models: tuple[tuple[int, int], ...]  #: inclusive ranges of model numbers
    rates: tuple[Rate, ...]
    least: Mapping[str, float]  #: of the slowest part with these numbers, where they differ
    l1_cycles: float | None
    l2_cycles: float | None
    source: str

    def covers(self, cpu: Cpu) -> bool:
        """Whether `cpu` is one of these: vendor, family and model number, nothing else."""
        if cpu.model_number is None or (cpu.vendor, cpu.family) != (self.vendor, self.family):
            return False
        return any(low <= cpu.model_number <= high for low, high in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What the cores in use could do at most, in operations per second."""

    expected: float | None  #: the formula's; None when the part is unknown or has no such unit
    least: float | None  #: of the slowest part sold under the same numbers: limits are drawn from it
    ceiling: float | None  #: what cannot be exceeded whatever the part is
    basis: str  #: the formula with its figures, or why there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of a reference node."""

    value: float
    unit: str
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a kind of work is made of."""

    name: str
    device_kind: str  #: only nodes of this kind have the capability
    title: str
    weights: Mapping[str, float]  #: metric -> weight, summing to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The table."""

    version: str
    parts: tuple[Part, ...]
    isa: tuple[Rate, ...]
    floor: Mapping[str, float]
    figures: Mapping[str, Figure]  #: of the reference node of the CPU class
    workloads: tuple[Workload, ...]
    gpus: tuple[reference_gpu.Part, ...] = ()
    gpu_figures: Mapping[str, Figure] = field(default_factory=dict)  #: of the one of the GPU class, for one GPU
    nodes: Mapping[str, str] = field(default_factory=dict)  #: device kind -> its reference node in words

    def figures_of(self, device_kind: str) -> Mapping[str, Figure]:
        """What counts as 100 in a class of nodes; classes never mix."""
        return self.gpu_figures if device_kind == "cuda" else self.figures

    def part(self, cpu: Cpu) -> Part | None:
        """The micro-architecture of `cpu`, or None when no row names it."""
        return next((part for part in self.parts if part.covers(cpu)), None)

    def ceiling_per_cycle(self, cpu: Cpu, dtype: str) -> float | None:
        """Operations per cycle that no core with the flags of `cpu` can exceed."""
        return _best(self.isa, cpu, dtype)


def load() -> Reference:
    """The table that was installed with this package.

    Raises:
        ReferenceTableError: it contradicts itself.
    """
    return parse(resources.files("qualify").joinpath("reference.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Reference:
    """The table in `text`.

    Raises:
        ReferenceTableError: not TOML, an unknown table or field, two rows for one core, weights that do not sum to 1.
    """
    try:
        data = tomllib.loads(text)
        unknown = data.keys() - TABLES
        if unknown:
            raise ReferenceTableError(f"unknown tables {sorted(unknown)}")
        reference = Reference(
            version=str(data["version"]),
            parts=tuple(_part(row) for row in data["cpu"]),
            isa=tuple(Rate(needs=row["needs"], per_cycle=_rates(row["rates"])) for row in data["isa"]),
            floor=dict(data["floor"]),
            figures={key: Figure(**row) for key, row in data["figure"].items()},
            workloads=tuple(Workload(name=name, **row) for name, row in data["profile"].items()),
            gpus=reference_gpu.parse(data),
            gpu_figures={key: Figure(**row) for key, row in data.get("gpu_figure", {}).items()},
            nodes=dict(data.get("reference_node", {})),
        )
    except reference_gpu.GpuTableError as error:
        raise ReferenceTableError(str(error)) from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ReferenceTableError(f"reference.toml cannot be read: {error}") from error
    _check(reference)
    return reference


def is_virtual(node: Node) -> bool:
    """Whether a hypervisor stands between us and the hardware, as far as is known."""
    return node.hypervisor not in (None, "none")


def loaded_cores(node: Node, threads: int) -> int:
    """Cores behind `threads` threads: two hardware threads of a core share its vector units.

    A virtual CPU counts as a core unless the hypervisor says otherwise.
    """
    return min(threads, node.cpu.cores) if node.cpu.smt and node.cpu.cores else threads


def cpu_peak(reference: Reference, node: Node, dtype: str, *, clock_hz: float, threads: int) -> Peak:
    """The peak of `threads` threads at `clock_hz` for a data type: cores x clock x operations per cycle.

    In a virtual machine the part is what the hypervisor calls it, so the ceiling there is that of the instruction sets
    that are visible; and a virtual CPU may be one thread of a core that it shares, so the least is halved where the
    hypervisor shows no threads of cores. A cgroup's quota leaves only its part of the peak, but not of the ceiling:
    it stops threads for part of each period, and a sample may fall between two stops.
    """
    cpu, quota = node.cpu, node.cgroup.cpu_quota_cpus
    cores: float = loaded_cores(node, threads)
    part, most = reference.part(cpu), reference.ceiling_per_cycle(cpu, dtype)
    free_scale = cores * clock_hz
    cores = cores if quota is None else min(cores, quota)
    scale = cores * clock_hz
    ceiling = None if most is None else most * free_scale
    if part is None:
        return Peak(
            expected=None,
            least=None,
            ceiling=ceiling,
            basis=f"no row of reference {reference.version} names this CPU ({_identity(cpu)})",
        )
    rate = _best(part.rates, cpu, dtype)
    if rate is None:
        basis = f"{part.name} shows no instructions for {dtype}: the library emulates them"
        return Peak(expected=None, least=None, ceiling=None, basis=basis)
    virtual = is_virtual(node)
    shared = HIDDEN_SMT if virtual and not cpu.smt else 1.0
    return Peak(
        expected=rate * scale,
        least=min(rate, part.least.get(dtype, rate)) * scale * shared,
        ceiling=max(rate, most or rate) * free_scale if virtual else rate * free_scale,
        basis=f"{cores:g} cores x {clock_hz / 1e9:.2f} GHz x {rate:g} {dtype} operations per cycle "
        f"({part.name}{', as the hypervisor calls it' if virtual else ''})",
    )


def _identity(cpu: Cpu) -> str:
    return f"{cpu.vendor or 'unknown vendor'}, family {cpu.family}, model {cpu.model_number}"


def _best(rates: Sequence[Rate], cpu: Cpu, dtype: str) -> float | None:
    visible = [rate.per_cycle[dtype] for rate in rates if rate.needs in cpu.vector and dtype in rate.per_cycle]
    return max(visible, default=None)


def _part(row: dict[str, Any]) -> Part:
    rates = tuple(
        Rate(needs=rate["needs"], per_cycle=_rates({k: v for k, v in rate.items() if k != "needs"}))
        for rate in row["rates"]
    )
    models = tuple((m[0], m[1]) if isinstance(m, list) else (m, m) for m in row["models"])
    known = {"rates": rates, "models": models, "least": _rates(row.get("least", {}))}
    return Part(**{"l1_cycles": None, "l2_cycles": None, **row, **known})


def _rates(row: Mapping[str, Any]) -> dict[str, float]:
    unknown = row.keys() - set(DTYPES)
    if unknown:
        raise ReferenceTableError(f"unknown data types {sorted(unknown)}")
    return {dtype: float(rate) for dtype, rate in row.items()}


def _check(reference: Reference) -> None:
    taken: dict[tuple[str, int, int], str] = {}
    for part in reference.parts:
        for low, high in part.models:
            for model in range(low, high + 1):
                other = taken.setdefault((part.vendor, part.family, model), part.name)
                if other != part.name:
                    raise ReferenceTableError(f"{part.name} and {other} both claim model {model:#x}")
    for workload in reference.workloads:
        if abs(sum(workload.weights.values()) - 1) > WEIGHT_SLACK:
            raise ReferenceTableError(
                f"the weights of {workload.name} sum to {sum(workload.weights.values())}, not to 1"
            )
        missing = workload.weights.keys() - reference.figures_of(workload.device_kind).keys()
        if missing:
            raise ReferenceTableError(f"{workload.name} weighs {sorted(missing)}, which the reference node lacks")
