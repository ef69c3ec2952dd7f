"""What a benchmark is: the work it declares, one call, the check of its result.

A bench module defines one `BENCH`. Opened on a device it yields the things to measure, one at a time; the harness
(`kernels.timing`) measures what was yielded and only then asks for the next, so a generator may allocate before a
`yield` and free after it. A bench never times itself unless the time is not its own (the slowest rank, the far end).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kernels.device import Device

DeviceKind = Literal["cpu", "cuda"]
Profile = Literal["quick", "standard", "deep"]
Unit = Literal["FLOP/s", "OP/s", "B/s", "IO/s", "s", "ratio"]
Statistic = Literal["median", "p95", "p99", "mean"]


class BenchError(Exception):
    """Something a benchmark found out; the message says what was wanted, what was found, what to do."""


class WrongResultError(BenchError):
    """The device computed, moved or stored something wrong: its speed does not count."""


class UnsupportedError(BenchError):
    """This machine cannot run the case; becomes `skipped` with the message as its reason."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one call does, declared beforehand and never inferred from time."""

    bytes: int = 0  #: bytes moved (read plus written); for a collective, bytes each link carries
    flops: int = 0  #: arithmetic operations; a fused multiply-add counts 2
    steps: int = 0  #: dependent steps (hops of a chase, launches, I/O operations)

    def value(self, unit: Unit, seconds: float) -> float:
        """The figure in `unit` when one call lasted `seconds` (> 0)."""
        if unit == "B/s":
            return self.bytes / seconds
        if unit in ("FLOP/s", "OP/s"):
            return self.flops / seconds
        if unit == "IO/s":
            return self.steps / seconds
        if unit == "s":
            return seconds / max(self.steps, 1)
        raise ValueError(f"a timed case has a rate or a time, not a {unit!r}")


def passes() -> None:
    """The check of a call that has no result (an empty launch)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to do a case: a shape, a kind of store, a launch configuration."""

    label: str  #: "4096x4096x4096", "streaming"; unique within the case
    call: Callable[[], object]  #: does the work once and returns when it is queued (CUDA) or done (CPU)
    work: Work
    check: Callable[[], None] = passes  #: raises WrongResultError; runs after a call, outside the timed region
    clock: Callable[[int], float] | None = None  #: runs n calls, returns their seconds; only when the time is not ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The same seconds read as another figure (algbw beside busbw, p99 beside the median)."""

    key: str
    unit: Unit
    work: Work
    statistic: Statistic = "median"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One figure to measure. With several variants each is tried, the best is measured, and all are kept.

    Cases that share a key and differ in `at` become one measurement with a series over `axis`; the case with the
    largest `at` is its headline.
    """

    key: str  #: "<bench>.<case>"
    unit: Unit
    variants: tuple[Variant, ...]
    also: tuple[Reading, ...] = ()  #: further figures from the same samples (needs a single variant)
    statistic: Statistic = "median"
    at: float | None = None  #: the point's place on the axis
    axis: str = ""  #: "size_bytes"; a snake_case name that ends in its unit
    share: float = 1.0  #: of the bench's time, relative to its other cases
    min_sample_s: float = 2e-3  #: a sample is a batch of calls at least this long; 0 = every call is a sample
    max_samples: int = 5000
    context: Mapping[str, object] = field(default_factory=dict)  #: JSON values that explain the figure
    #: more of it, made after the last check of what was measured: the best variant, its seconds per call in the order
    #: taken, and how many calls made a sample
    after: Callable[[Variant, Sequence[float], int], Mapping[str, object]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Samples taken by a case's own means, already in `unit`."""

    key: str
    unit: Unit
    samples: tuple[float, ...]
    statistic: Statistic = "median"
    value: float | None = None  #: overrides the statistic where the figure is not one of the samples (loss ratio)
    ci95: tuple[float, float] | None = None  #: the interval that belongs to an overriding value
    at: float | None = None
    axis: str = ""
    context: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A case that samples by itself, because the far end or the kernel holds the clock (network, disk)."""

    keys: tuple[str, ...]  #: what `observe` will report, so that a crash can say what is missing
    observe: Callable[[float], tuple[Observation, ...]]  #: gets its seconds; checks its data; returns the figures
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A figure this machine cannot give, with the reason a reader will see."""

    key: str
    reason: str


Step = Case | Observed | Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything a bench may depend on; nothing else is read from the environment."""

    device: Device
    profile: Profile
    budget_s: float  #: wall seconds for the whole bench, process start excluded
    seed: int  #: of every generated input
    only: frozenset[str] = frozenset()  #: keys wanted; empty = all
    workdir: Path = Path()  #: where files may be written (disk)
    peer: str | None = None  #: "host:port" of the network's far end

    def wants(self, key: str) -> bool:
        """Whether `key` is to be measured in this run."""
        return not self.only or key in self.only


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One benchmark: one file in kernels/benches."""

    name: str
    version: int  #: raised whenever the way of measuring changes; figures of different versions never compare
    title: str  #: a few words for people: "Matrix product"
    keys: Mapping[DeviceKind, tuple[str, ...]]  #: every key it can report on a device, headline first
    open: Mapping[DeviceKind, Callable[[Setting], Iterator[Step]]]
    waived: Mapping[DeviceKind, str] = field(default_factory=dict)  #: why a kind of device has no such figure
    quiet: bool = False  #: it measures latencies: nobody may ask the GPU anything meanwhile, not even for telemetry
    needs: tuple[str, ...] = ()  #: import names it loads when opened ("torch", "numba")
    seconds: Mapping[Profile, float] = field(default_factory=dict)  #: budget asked for, per profile; absent = not run
    startup_s: float = 1.0  #: wall seconds before the first sample when caches are warm: imports, compilation, data
    #: the sum of `share` over what `open` will yield, or the share of each key where that is not 1
    shares: Callable[[Setting], float] | Mapping[str, float] = field(default_factory=dict)

    def wanted(self, setting: Setting) -> tuple[str, ...]:
        """The keys this bench will report with `setting`, headline first."""
        return tuple(key for key in self.keys.get(setting.device.kind, ()) if setting.wants(key))

    def total_share(self, setting: Setting) -> float:
        """What the steps' shares add up to, so that each can be given its part of the time left."""
        if isinstance(self.shares, Mapping):
            return sum(self.shares.get(key, 1.0) for key in self.wanted(setting))
        return self.shares(setting)


def is_figure(value: float) -> bool:
    """Whether a measured value can be reported at all: finite and positive."""
    return math.isfinite(value) and value > 0
