"""What a policy is, and what it may know of the nodes it ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

import scheduler.placement.policies
from qualify.registry import load
from scheduler.market.columns import Columns, Mask, Numbers
from scheduler.market.fields import Fields
from scheduler.market.parse import read
from scheduler.market.syntax import names
from scheduler.records import JobSpec

Values = NDArray[np.float64]
S_PER_H = 3600
UH_PER_USD = 1_000_000
#: benchmarks that load the whole of what they measure, so that a part of it is as much slower; a disk or a link is
#: shared by all jobs of a node and its figure is taken as it stands
DIVIDED = frozenset({"matmul", "memory", "stress"})
_CAPABILITY = "capability."
#: what rests on a measurement is known to some per cent; within that the market, not the figure, may decide
TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Term:
    """One thing nodes are ranked by; the lowest is best unless more is better, NaN (unknown) the worst either way."""

    name: str  #: with its unit, as people see it: "cost_usd"
    values: Numbers  #: one per candidate
    more_is_better: bool = False
    tolerance: float = 0.0  #: nodes that are worse by no more than this part of the value are as good

    def no_worse(self, value: float) -> Mask:
        """Where it is as good as `value`, or better."""
        if math.isnan(value):
            return np.ones(self.values.shape, dtype=np.bool_)
        values = self.values.astype(np.float64)
        return values >= self.bound(value) if self.more_is_better else values <= self.bound(value)

    def bound(self, value: float) -> float:
        """The worst that is as good as `value`."""
        allowed = abs(value) * self.tolerance
        return value - allowed if self.more_is_better else value + allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The nodes that can take a job, as columns of one length."""

    spec: JobSpec
    columns: Columns  #: of all nodes
    fields: Fields
    slots: NDArray[np.intp]  #: places of the candidates in those columns
    price_uh: NDArray[np.int64]  #: of the share the job takes, micro-dollars per hour

    def column(self, name: str) -> Numbers:
        """A column of the candidates only."""
        found: Numbers = self.columns.numbers(name)[self.slots]
        return found

    @property
    def price_usd_per_h(self) -> Values:
        """Of the share the job takes."""
        return self.price_uh / UH_PER_USD

    @property
    def portion(self) -> Values:
        """The part of the node's measured speed that the job gets.

        Of a node measured as a CPU it is the job's part of the CPUs; of one measured on its GPUs, whose figures are of
        one GPU, it is the number of GPUs; a job that takes none of them gets none of that speed: NaN.
        """
        resources = self.spec.resources
        gpus = resources.gpus + resources.gpu_milli / 1000
        of_cpus = ratio(resources.cpu_milli, self.column("cpu_milli"))
        kinds = self.columns.texts("kind")
        on_gpu = kinds.holding([code for code, kind in enumerate(kinds.values) if kind == "cuda"])[self.slots]
        return np.where(on_gpu, gpus or np.nan, of_cpus)

    @property
    def seconds(self) -> Values | None:
        """How long the job's work takes at the measured rate; None for a job that does not say how much it is."""
        work = self.spec.work
        if work is None or work.metric not in self.fields:
            return None if work is None else np.full(self.slots.size, np.nan)
        value = self.column(work.metric).astype(np.float64)
        if self.fields[work.metric].is_time:
            return work.amount * value
        rate = value * self.portion if work.metric.partition(".")[0] in DIVIDED else value
        return ratio(work.amount, rate)

    @property
    def capability(self) -> Values:
        """What the job's portion of a node can do; reference node = 100.

        Of the profiles that the job's `where` names, since those are what its owner looks at; of all that the node has
        where it names none. The geometric mean where they are several.
        """
        named = _profiles_named(self.spec.where)
        profiles = named or [field.name for field in self.fields if field.name.startswith(_CAPABILITY)]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.array([self.column(name) for name in profiles], dtype=np.float64))
        known = ~np.isnan(logs)
        counts = known.sum(axis=0)
        enough = counts == len(named) if named else counts > 0
        mean = np.where(known, logs, 0.0).sum(axis=0) / np.maximum(counts, 1)
        return np.where(enough, np.exp(mean), np.nan) * self.portion


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One way to choose among nodes that can take a job."""

    name: str  #: its file's
    about: str  #: one line for people
    #: by what, the most important first; it may depend on anything of a node but on what of it is free
    rank: Callable[[Candidates], tuple[Term, ...]]
    packs: bool = False  #: how well a job packs decides first, not only among nodes that are as good


def ratio(over: float | Numbers, under: Numbers) -> Values:
    """A quotient; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(under > 0, over / under.astype(np.float64), np.nan)


@lru_cache(maxsize=1024)
def _profiles_named(where: str) -> tuple[str, ...]:
    """The capabilities that a query names."""
    return tuple(sorted(name for name in names(read(where)) if name.startswith(_CAPABILITY))) if where.strip() else ()


@cache
def policies() -> Mapping[str, Policy]:
    """Every policy there is, by name."""
    return load(scheduler.placement.policies, "POLICY")
