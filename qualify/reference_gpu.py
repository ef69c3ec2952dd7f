"""What a GPU can do by formula: its row in reference.toml, found by exact name and memory size, and the peaks of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: data types a rate can be given for; "_half" accumulates in 16 bits, "_vector" leaves the tensor cores out
RATES = ("fp64", "fp64_vector", "fp32", "tf32", "fp16", "fp16_half", "bf16", "fp8", "fp8_half", "int8")
#: those whose published peaks are of the vector units' clock, the tensor cores for fp64 included
AT_VECTOR_CLOCK = frozenset({"fp64", "fp64_vector", "fp32"})
#: what a part without a rate of its own for it does as fast as something else
ALIKE_ELSEWHERE = {"fp64_vector": "fp64", "fp16_half": "fp16", "fp8_half": "fp8"}
MEMORY, HOSTLINK, PEERLINK = "memory", "hostlink", "peerlink"
QUANTITIES = (*RATES, MEMORY, HOSTLINK, PEERLINK)
#: of the memory as sold, what NVML may show: error correction inside GDDR6 and the driver take up to a tenth
MEMORY_SHOWN = (0.88, 1.03)
GIB = 1 << 30
TRANSFERS = 2  #: per cycle of the memory clock as NVML counts it, whatever the memory
#: how alike names without a model number in common must be to suggest one
ALIKE = 0.7


class GpuTableError(ValueError):
    """The rows of GPUs contradict themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuClass:
    """Parts whose SMs do the same per cycle."""

    name: str
    compute_capability: str
    rates: Mapping[str, float]  #: data type -> operations per SM and cycle, dense; a fused multiply-add counts 2
    most: Mapping[
        str, float
    ]  #: where sources disagree, or libraries may accumulate in 16 bits: ceilings are drawn from it
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Lanes or links that work together."""

    kind: str  #: "pcie5", "nvlink4", "c2c"
    links: int
    bytes_per_s: float  #: of all of them, one direction

    def __str__(self) -> str:
        return f"{self.kind} x {self.links}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A GPU as sold."""

    name: str  #: as NVML gives it
    group: GpuClass
    sms: int
    clock_hz: float  #: behind the maker's peaks of the vector units
    tensor_hz: float  #: behind those of the tensor cores
    memory_bytes: int  #: as sold
    memory_clock_hz: float  #: of the fastest board with this name
    memory_clock_least_hz: float  #: of the slowest
    memory_bits: int
    published_bytes_per_s: float | None  #: to check clock x bus, never a peak
    l2_bytes: int
    host: Link
    peer: Link | None  #: None = other GPUs are reached over the host link only
    tdp_w: float
    source: str

    def shows(self, memory_bytes: int) -> bool:
        """Whether NVML may show `memory_bytes` for this part."""
        low, high = MEMORY_SHOWN
        return low * self.memory_bytes <= memory_bytes <= high * self.memory_bytes

    def reference_hz(self, quantity: str) -> float:
        """The clock that the published peak of a data type, or of the memory, is based on."""
        if quantity == MEMORY:
            return self.memory_clock_hz
        return self.clock_hz if quantity in AT_VECTOR_CLOCK else self.tensor_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What a part does at a clock, operations or bytes per second; never a cap."""

    expected: float | None  #: None where the part has no such unit or link
    least: float | None  #: of the slowest board sold under the same name: limits are drawn from it
    ceiling: float | None  #: whatever the library does and whichever source is right
    basis: str  #: the formula with its figures, or why there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The row of a GPU, or why there is none."""

    part: Part | None
    reason: str  #: what the row is, or what is wrong and what was perhaps meant


def find(parts: Sequence[Part], name: str | None, memory_bytes: int | None = None) -> Found:
    """The row of the GPU that calls itself `name`, exactly, and shows `memory_bytes`; None = it does not tell."""
    if name is None:
        return Found(part=None, reason="the GPU does not tell its name")
    named = [part for part in parts if part.name == name]
    if not named:
        return Found(part=None, reason=f"no row of the reference names {name!r}{_suggestion(parts, name)}")
    sizes = ", ".join(f"{part.memory_bytes / GIB:g}" for part in named)
    if memory_bytes is None:
        if len(named) == 1:
            return Found(part=named[0], reason=f"{name}, by its name alone")
        return Found(part=None, reason=f"{name} is sold with {sizes} GiB, and this one does not tell its memory")
    fitting = [part for part in named if part.shows(memory_bytes)]
    if not fitting:
        shown = f"{memory_bytes / GIB:.1f} GiB"
        return Found(part=None, reason=f"{name} is sold with {sizes} GiB, and this one shows {shown}")
    part = min(fitting, key=lambda part: abs(part.memory_bytes - memory_bytes))
    return Found(part=part, reason=f"{name} with {part.memory_bytes / GIB:g} GiB")


def peak(part: Part, quantity: str, clock_hz: float | None = None) -> Peak:
    """The peak of one of `QUANTITIES`: SMs x rate x clock, clock x bus, links x their speed.

    Args:
        clock_hz: of the SMs, or of the memory where that is asked for; None = the one behind the published peak.
            Links have none and ignore it.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"a peak is of one of {', '.join(QUANTITIES)}, not of {quantity!r}")
    if quantity == MEMORY:
        return _memory_peak(part, clock_hz)
    if quantity in (HOSTLINK, PEERLINK):
        return _link_peak(part, quantity)
    rates = part.group.rates
    rate = rates.get(quantity, rates.get(ALIKE_ELSEWHERE.get(quantity, "")))
    hz = part.reference_hz(quantity) if clock_hz is None else clock_hz
    if rate is None:  # a library may convert to a type that there are units for, and be no faster than those
        most, basis = part.sms * max(rates.values()) * hz, f"{part.name} has no units for {quantity}"
        return Peak(expected=None, least=None, ceiling=most, basis=basis)
    fastest = max(rate, part.group.most.get(quantity, rate))
    return Peak(
        expected=part.sms * rate * hz,
        least=part.sms * rate * hz,
        ceiling=part.sms * fastest * hz,
        basis=f"{part.sms} SMs x {rate:g} {quantity} operations per cycle x {hz / 1e6:.0f} MHz "
        f"({part.name}{_whose(clock_hz)})",
    )


def _memory_peak(part: Part, clock_hz: float | None) -> Peak:
    hz = part.memory_clock_hz if clock_hz is None else clock_hz
    least_hz = part.memory_clock_least_hz if clock_hz is None else clock_hz
    bytes_per_cycle = TRANSFERS * part.memory_bits / 8
    return Peak(
        expected=bytes_per_cycle * hz,
        least=bytes_per_cycle * least_hz,
        ceiling=bytes_per_cycle * hz,
        basis=f"{TRANSFERS} x {hz / 1e6:.0f} MHz x {part.memory_bits} bits ({part.name}{_whose(clock_hz)})",
    )


def _link_peak(part: Part, quantity: str) -> Peak:
    link = part.host if quantity == HOSTLINK else part.peer
    if link is None:
        return Peak(expected=None, least=None, ceiling=None, basis=f"{part.name} has no links to other GPUs")
    basis = f"{link}, one direction, before packet headers ({part.name})"
    return Peak(expected=link.bytes_per_s, least=link.bytes_per_s, ceiling=link.bytes_per_s, basis=basis)


def _whose(clock_hz: float | None) -> str:
    return ", reference clock" if clock_hz is None else ""


def _suggestion(parts: Sequence[Part], name: str) -> str:
    """The row that shares most model numbers with `name`; among equals, and where none does, the most alike."""

    def nearness(part: Part) -> tuple[int, float]:
        return len(_numbers(part.name) & _numbers(name)), difflib.SequenceMatcher(None, part.name, name).ratio()

    nearest = max(parts, key=nearness, default=None)
    if nearest is None or (nearness(nearest)[0] == 0 and nearness(nearest)[1] < ALIKE):
        return ""
    return f"; the nearest is {nearest.name!r}"


def _numbers(name: str) -> set[str]:
    """The words of a name that tell parts apart: "a100", "80gb", "4090"."""
    return {word for word in name.lower().replace("-", " ").split() if any(char.isdigit() for char in word)}


def parse(data: Mapping[str, Any]) -> tuple[Part, ...]:
    """The rows of `gpu` with the tables they refer to; none when `data` has no such table.

    Raises:
        GpuTableError: a row names a class or link that there is none of, is there twice, or has an impossible figure.
        KeyError, TypeError: a field is missing or unknown.
    """
    classes = {name: _class(name, row) for name, row in data.get("gpu_class", {}).items()}
    speeds = {kind: float(speed) for kind, speed in data.get("gpu_link", {}).items()}
    parts = tuple(_part(dict(row), classes, speeds) for row in data.get("gpu", ()))
    _check(parts)
    return parts


def _class(name: str, row: Mapping[str, Any]) -> GpuClass:
    rates, most = row["rates"], row.get("most", {})
    unknown = (rates.keys() | most.keys()) - set(RATES)
    if unknown:
        raise GpuTableError(f"{name} has rates of unknown data types {sorted(unknown)}")
    if not {"fp64", "fp32", "fp16", "int8"} <= rates.keys():
        raise GpuTableError(f"{name} lacks a rate that every GPU has: fp64, fp32, fp16 or int8")
    known = {"rates": _floats(rates), "most": _floats(most)}
    return GpuClass(name=name, **{**row, **known})


def _floats(row: Mapping[str, Any]) -> dict[str, float]:
    return {dtype: float(rate) for dtype, rate in row.items()}


def _part(row: dict[str, Any], classes: Mapping[str, GpuClass], speeds: Mapping[str, float]) -> Part:
    name, group, clock_mhz = row.pop("name"), row.pop("class"), row.pop("clock_mhz")
    memory, host, peer = dict(row.pop("memory")), row.pop("host"), row.pop("peer", None)
    if group not in classes:
        raise GpuTableError(f"{name} is of class {group!r}, which is not in gpu_class")
    mhz, published = memory.pop("mhz"), memory.pop("published_gb_per_s", None)
    known = {
        "group": classes[group],
        "clock_hz": clock_mhz * 1e6,
        "tensor_hz": row.pop("tensor_mhz", clock_mhz) * 1e6,
        "memory_bytes": memory.pop("gib") * GIB,
        "memory_clock_hz": mhz * 1e6,
        "memory_clock_least_hz": memory.pop("least_mhz", mhz) * 1e6,
        "memory_bits": memory.pop("bits"),
        "published_bytes_per_s": None if published is None else published * 1e9,
        "l2_bytes": round(row.pop("l2_mib") * (1 << 20)),
        "host": _link(name, host, speeds),
        "peer": None if peer is None else _link(name, peer, speeds),
    }
    if memory:
        raise GpuTableError(f"{name} has unknown fields of memory {sorted(memory)}")
    return Part(name=name, **known, **row)


def _link(name: str, row: Mapping[str, Any], speeds: Mapping[str, float]) -> Link:
    kind, links = row["kind"], row["links"]
    if kind not in speeds:
        raise GpuTableError(f"{name} has a link {kind!r}, which is not in gpu_link")
    return Link(kind=kind, links=links, bytes_per_s=speeds[kind] * links)


def _check(parts: Sequence[Part]) -> None:
    seen: set[tuple[str, int]] = set()
    for part in parts:
        if (part.name, part.memory_bytes) in seen:
            raise GpuTableError(f"{part.name} with {part.memory_bytes / GIB:g} GiB is there twice")
        seen.add((part.name, part.memory_bytes))
        figures = (part.sms, part.clock_hz, part.tensor_hz, part.memory_bytes, part.memory_clock_least_hz)
        if min(*figures, part.memory_bits, part.l2_bytes, part.host.links, part.tdp_w) <= 0:
            raise GpuTableError(f"{part.name} has a figure that is not positive")
        if not part.source.strip():
            raise GpuTableError(f"{part.name} names no source")
        if part.memory_clock_least_hz > part.memory_clock_hz:
            raise GpuTableError(f"{part.name}: the slowest board's memory is faster than the fastest's")
