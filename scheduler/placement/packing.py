"""How well a job packs onto each node: fragmentation, then the scarcity of its GPUs, then how little is left.

One number per node, in millionths of a point, the more the better:

- whole points of fragmentation gradient (fgd.py), so that near-equals tie;
- less the scarcity price: one point where fewer GPUs are free of a kind of nodes than the demand insists on. A job that
  would do with any GPU then leaves those alone that others cannot do without, but while there are enough it need not;
- less the larger of the parts of CPUs and GPUs that would be left. It is below one point and decides between equals:
  the node that is nearest to full in its larger part, each by its own size. A node is full when either runs out, so
  neither is run down before the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Columns, Mask, Part
from scheduler.market.fields import Fields
from scheduler.market.query import QueryError, parse
from scheduler.placement.demand import Demand, Mix, Terms
from scheduler.placement.fgd import WHOLE_MILLI, Ask, Fragments, Places
from scheduler.placement.filters import held_nodes, share_price_uh, terms_filters
from scheduler.placement.leftovers import Rows
from scheduler.records import JobSpec, Resources

if TYPE_CHECKING:
    from scheduler.placement.index import Index

MICRO = 1_000_000
#: The smallest step of the fragmentation score, so that the price decides between near-equals and nothing else. One
#: value for all workloads. That it is asked only while less is free than is insisted on was settled on the earlier half
#: (by creation time) of openb's gpuspec10 and held on the later half, 100 / 130 % asked for: 93.8 / 94.0 % allocated,
#: without it 93.5 / 93.7 %, and 91.5 / 91.8 % with one in proportion to the demand at all times.
SCARCITY_POINTS = 1
#: no packing is below
LEAST = -MICRO * (SCARCITY_POINTS + 1)


class Packing:
    """Follows the index and its demand; for the book's thread only."""

    def __init__(self, index: Index, demand: Demand) -> None:
        self._index, self._demand = index, demand
        self._fields: Fields | None = None
        self._terms_seen = 0
        self._pattern_of: Rows = np.zeros(0, dtype=np.int64)  #: by slot
        self._whole: Rows = np.zeros(0, dtype=np.int64)  #: by slot: thousandths of GPUs there are
        self._kinds: Rows = np.zeros(0, dtype=np.int64)
        self._free_milli: Rows = np.zeros(0, dtype=np.int64)  #: by slot, as counted in `_left`
        self._counted: Mask = np.zeros(0, dtype=np.bool_)
        self._left: list[int] = []  #: by kind: thousandths of GPUs free
        self._insisted: list[float] = []  #: by kind: thousandths of GPUs that the demand insists on
        self._scarce: list[bool] = []
        self._prices: Rows = np.zeros(0, dtype=np.int64)  #: by kind, millionths of a point
        self._seen = 0
        self._patterns: tuple[int, ...] = ()
        self._mix: Mix | None = None
        self._leftovers = index.leftovers
        self._fragments = Fragments((), (), self._leftovers)
        self.version = 0  #: raised when scores change that no change of a node's free capacity explains

    def follow(self, now_ms: int) -> None:
        """Bring the mix, the kinds of nodes and their scarcity up to date."""
        index = self._index
        if (
            self._demand.refresh()
            or self._fields is not index.fields
            or self._leftovers is not index.leftovers
            or self._pattern_of.size != index.places
        ):
            self._sort_by_kind(now_ms)
        else:
            changed_terms = index.terms_trail.since(self._terms_seen)
            if changed_terms is None or (changed_terms and not self._are_the_same(np.array(changed_terms), now_ms)):
                self._sort_by_kind(now_ms)
            else:
                changed = index.trail.since(self._seen)
                if changed is None:
                    self._count_all()
                else:
                    self._count([*changed, *changed_terms])
        self._fields = index.fields
        self._seen, self._terms_seen = index.trail.end, index.terms_trail.end

    def _are_the_same(self, slots: NDArray[np.intp], now_ms: int) -> bool:
        """Whether these nodes are of the kind they were, and have the GPUs they had."""
        part = Part(self._index.live, slots)
        same = (self._patterns_of(part, now_ms) == self._pattern_of[slots]) & (whole_milli(part) == self._whole[slots])
        return bool(same.all())

    def _patterns_of(self, columns: Columns, now_ms: int) -> Rows:
        """Of each node, a bit for each of the mix's terms it fulfils."""
        patterns = np.zeros(columns.size, dtype=np.int64)
        for bit, terms in enumerate(self._demand.mix.terms):
            patterns |= self._fulfil(columns, terms, now_ms).astype(np.int64) << bit
        return patterns

    def _sort_by_kind(self, now_ms: int) -> None:
        mix, columns = self._demand.mix, self._index.live
        self._pattern_of = self._patterns_of(columns, now_ms)
        self._whole = whole_milli(columns)
        found, kinds = np.unique(self._pattern_of, return_inverse=True)
        told = tuple(found.tolist())
        leftovers = self._index.leftovers
        if mix is not self._mix or told != self._patterns or leftovers is not self._leftovers:
            self._fragments, self._leftovers = Fragments(mix.typical, told, leftovers), leftovers
            self.version += 1
        elif not np.array_equal(kinds, self._kinds):
            self.version += 1
        self._kinds, self._patterns, self._mix = kinds.astype(np.int64), told, mix
        self._insisted = self._demanded(mix)
        self._count_all()

    def _count_all(self) -> None:
        columns = self._index.live
        self._counted = held_nodes(columns)
        self._free_milli = columns.integers("gpu_milli_free") * self._counted
        left = np.bincount(self._kinds, self._free_milli, minlength=len(self._patterns))
        self._left = [int(milli) for milli in left]
        self._price(range(len(self._left)))

    def _count(self, changed: list[int]) -> None:
        touched = set()
        for slot in changed:
            more = self._index.free_at(slot).gpu_milli_free - self._free_milli.item(slot)
            if more and self._counted[slot]:
                kind = self._kinds.item(slot)
                self._free_milli[slot] += more
                self._left[kind] += more
                touched.add(kind)
        self._price(touched)

    def _price(self, kinds: Iterable[int]) -> None:
        if len(self._scarce) != len(self._left):
            self._scarce = [False] * len(self._left)
        same = self._prices.size == len(self._scarce)
        for kind in kinds:
            scarce = self._left[kind] < self._insisted[kind]
            if scarce is not self._scarce[kind]:
                self._scarce[kind], same = scarce, False
        if not same:
            self._prices = np.array(self._scarce, dtype=np.int64) * (SCARCITY_POINTS * MICRO)
            self.version += 1

    def scores(self, ask: Ask, slots: NDArray[np.intp]) -> Rows:
        """Of nodes that the job fits on, millionths of a point; for others the numbers mean nothing.

        `follow` must have been called since the index last changed but for attempts that came and went.
        """
        live = self._index.live
        places = self._places(slots)
        score = self._fragments.points(ask, places) * MICRO
        cpus = live.integers("cpu_milli")[slots]
        left = (places.cpu_milli_free - ask.cpu_milli) / np.maximum(cpus, 1)
        if ask.gpus:
            score -= self._prices[places.kind]
        gpus = live.integers("gpus")[slots] * WHOLE_MILLI
        gpus_left = live.integers("gpu_milli_free")[slots] - ask.gpus * ask.each_milli
        left = np.maximum(left, gpus_left / np.maximum(gpus, 1))
        found: Rows = score - (np.clip(left, 0.0, 1.0) * (MICRO - 1)).astype(np.int64)
        return found

    def score_at(self, ask: Ask, slot: int) -> int:
        """The same for one node, without arrays."""
        free, has = self._index.free_at(slot), self._index.node_at(slot).capacity
        kind = self._kinds.item(slot)
        score = MICRO * self._fragments.points_at(ask, free.leftover, kind, free.cpu_milli_free)
        if ask.gpus and self._scarce[kind]:
            score -= SCARCITY_POINTS * MICRO
        left = (free.cpu_milli_free - ask.cpu_milli) / (has.cpu_milli or 1)
        gpus_left = (free.gpu_milli_free - ask.gpus * ask.each_milli) / (len(has.gpu_milli) * WHOLE_MILLI or 1)
        left = max(left, gpus_left)
        return score - int(min(max(left, 0.0), 1.0) * (MICRO - 1))

    def gpu_milli_to_take(self, ask: Ask, slot: int) -> int:
        """For a part of a GPU: what is left of the GPU of that node it should come from."""
        return self._fragments.gpu_milli_to_take(ask, self._places(np.array([slot])))

    def _places(self, slots: NDArray[np.intp]) -> Places:
        live = self._index.live
        return Places(live.integers("leftover")[slots], self._kinds[slots], live.integers("cpu_milli_free")[slots])

    def _fulfil(self, columns: Columns, terms: Terms, now_ms: int) -> Mask:
        """The nodes that such jobs will have."""
        nobody = np.zeros(columns.size, dtype=np.bool_)
        try:
            query = parse(terms.where, self._index.fields) if terms.where else None
        except QueryError:
            return nobody
        resources = terms.priced or Resources(gpu_milli=int(terms.share))
        spec = JobSpec(
            name="",
            command=(),
            image=None if terms.process else "any",
            region=terms.region,
            max_price_uh=terms.max_price_uh,
            resources=resources,
        )
        price_uh = share_price_uh(columns, resources) if terms.priced else np.zeros(columns.size, dtype=np.int64)
        passes = [one.passes for one in terms_filters(columns, spec, now_ms=now_ms, price_uh=price_uh, query=query)]
        found: Mask = np.logical_and.reduce([held_nodes(columns), *passes])
        return found

    def _demanded(self, mix: Mix) -> list[float]:
        """By kind, thousandths of GPUs: the demand that insists on some nodes, spread over their GPUs.

        As if jobs asked for all the GPUs there are: a window tells the proportions of the demand, not its height.
        """
        every = int(self._whole.sum())
        insisted = np.zeros(self._whole.size)
        for bit, part in enumerate(mix.gpu_parts):
            theirs = (self._pattern_of >> bit & 1) * self._whole
            whole = int(theirs.sum())
            if 0 < whole < every:  # who takes any GPU insists on nothing
                insisted += theirs * (part * every / whole)
        return [float(milli) for milli in np.bincount(self._kinds, insisted, minlength=len(self._patterns))]


def whole_milli(columns: Columns) -> Rows:
    """Of each node there is, thousandths of GPUs."""
    found: Rows = (columns.numbers("gpus") * held_nodes(columns)).astype(np.int64) * WHOLE_MILLI
    return found
