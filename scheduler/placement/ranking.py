"""All nodes as one shape of jobs sees them: who can take it and in which order, kept up to date change by change.

Every node is scored, and none twice for nothing: when more or less is free on a node only that node is looked at
again. Whatever else changes (terms, figures, the usual mix of jobs) is looked at for all of them at once, with numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Columns, Mask, Part
from scheduler.market.fields import REPORTED_MS, STALE_AFTER_MS, Fields
from scheduler.market.query import Query
from scheduler.placement.decision import Refusal
from scheduler.placement.fgd import Ask
from scheduler.placement.filters import FilterName, filters, fits, held_nodes, wanted_free
from scheduler.placement.free import Free
from scheduler.placement.index import Index
from scheduler.placement.order import Order, Packed, Slots
from scheduler.placement.packing import MICRO, Packing
from scheduler.placement.policy import Candidates, Policy, Term
from scheduler.records import JobSpec, Resources
from scheduler.told import quoted

#: so few are looked at one by one, without arrays
FEW = 16
FOR_EVER_MS = 1 << 62
#: nodes whose terms have changed; of more all are looked at
FEW_TERMS = 32
#: more changes than this part of the nodes are as many as all of them
MANY = 0.25


#: the price of a share on every node, per hour
Prices = Callable[[Resources], NDArray[np.int64]]


class Choice(NamedTuple):
    """The best node for a job of the shape, and the next."""

    best: Packed
    runner_up: Packed | None
    avoided: int  #: nodes that could have taken it, had they not been to be avoided


class Ranking:
    """For one shape; for the book's thread only."""

    def __init__(self, spec: JobSpec, policy: Policy, index: Index, packing: Packing, prices: Prices) -> None:
        """Nothing is looked at before `follow`."""
        self._spec, self._policy, self._index, self._packing, self._prices = spec, policy, index, packing, prices
        self.ask = Ask.of(spec.resources)
        self.query: Query | None = None  #: the job's; to be set before `follow`
        self.refusal: Refusal | None = None  #: what was last said to a job that fits nowhere
        self._wanted = wanted_free(spec.resources)
        self._wanted_at = [(Free._fields.index(name), amount) for name, amount in self._wanted]
        self._until_ms = self._from_ms = -1
        self._fields: Fields | None = None
        self._packing_version = -1
        self._seen = self._terms_seen = 0
        self.candidates = self.held = 0
        self._told: tuple[str, str] | None = None  #: what is rejected besides the busy ones, before and behind them
        self._size = -1  #: of the index

    @property
    def suitable(self) -> int:
        """Nodes that could take the job if they were free."""
        return int(np.count_nonzero(self._suitable))

    def follow(self, now_ms: int) -> None:
        """Bring everything up to date."""
        index = self._index
        if self._fields is not index.fields or not self._from_ms <= now_ms <= self._until_ms:
            changed_terms = None
        else:
            changed_terms = index.terms_trail.since(self._terms_seen)
        if changed_terms is None or len(changed_terms) > FEW_TERMS or self._size != index.places:
            self._judge_all(now_ms)
        else:
            if changed_terms:
                self._judge_some(np.array(changed_terms), now_ms)
            self._follow_free()
        self._fields = index.fields
        self._seen, self._terms_seen = index.trail.end, index.terms_trail.end
        self._packing_version = self._packing.version

    def _follow_free(self) -> None:
        if self._packing_version != self._packing.version:
            self._place_all()
            return
        changed = self._index.trail.since(self._seen)
        if changed is not None and len(changed) <= FEW:
            for slot in changed:
                self._place_one(slot)
        elif changed is None or len(changed) > MANY * self._index.places:
            self._place_all()
        else:
            self._place_some(np.array(changed))

    def rejected(self) -> dict[str, int]:
        """How many nodes each filter rejects, whatever the others say; those that reject none are left out."""
        return {name: count for name, count in self._counts.items() if count}

    def told_rejected(self) -> str:
        """The same as a JSON object; made of two pieces that stay, and the number that changes with every placement."""
        if self._told is None:
            names = [*self._counts]
            busy = names.index("busy")
            self._told = self._told_counts(names[:busy]), self._told_counts(names[busy + 1 :])
        before, after = self._told
        busy_now = self._counts["busy"]
        now = f'"busy":{busy_now}' if busy_now else ""
        return f"{{{','.join(filter(None, (before, now, after)))}}}"

    def _told_counts(self, names: Sequence[str]) -> str:
        return ",".join(f"{quoted(name)}:{count}" for name in names if (count := self._counts[name]))

    def choose(self, avoid: frozenset[int]) -> Choice:
        """The best of the candidates, of which there must be one; one to avoid only when there is no other."""
        if not avoid:
            return Choice(*self._order.best(), avoided=0)
        slots = [slot for node in avoid if (slot := self._index.slot_of(node)) is not None and self._fitting[slot]]
        if len(slots) == self.candidates:
            slots = []
        for slot in slots:
            self._order.fit_one(slot, fits=False)
        best, runner_up = self._order.best()
        for slot in slots:
            self._order.fit_one(slot, fits=True)
        return Choice(best, runner_up, avoided=len(slots))

    def told(self, one: Packed) -> str:
        """By what a candidate is ranked, as a JSON object; null is unknown."""
        packing = f'"packing":{one.score / MICRO!r}'
        terms = self._order.terms_at(one.slot)
        if not terms:
            return f"{{{packing}}}"
        return f"{{{packing},{terms}}}" if self._policy.packs else f"{{{terms},{packing}}}"

    def price_uh_at(self, slot: int) -> int:
        """Of the share the job would take there, per hour."""
        return self._price_uh.item(slot)

    def _judge_all(self, now_ms: int) -> None:
        """Everything that does not depend on what is free, then the rest."""
        self._price_uh = self._prices(self._spec.resources)
        judged = self._judge(self._index.live, self._price_uh, now_ms)
        self._held, self._suitable, self._large, self._rejects = judged
        self.held = int(np.count_nonzero(self._held))
        self._told = None
        self._counts: dict[str, int] = dict(zip(self._names, _bit_counts(self._rejects, len(self._names)), strict=True))
        self._from_ms, self._until_ms = self._valid(now_ms)
        self._rank()
        self._place_all()

    def _judge_some(self, slots: Slots, now_ms: int) -> None:
        """The same for some nodes; the order of all is worked out again only if their place in it has changed."""
        part = Part(self._index.live, slots)
        self._price_uh = self._prices(self._spec.resources)
        price_uh = self._price_uh[slots]
        held, suitable, large, rejects = self._judge(part, price_uh, now_ms)
        old, new = (_bit_counts(bits, len(self._names)) for bits in (self._rejects[slots], rejects))
        self._told = None
        for name, before, after in zip(self._names, old, new, strict=True):
            self._counts[name] += after - before
        self.held += int(np.count_nonzero(held)) - int(np.count_nonzero(self._held[slots]))
        same = np.array_equal(held, self._held[slots]) and np.array_equal(part.numbers("id"), self._ids[slots])
        self._held[slots], self._suitable[slots] = held, suitable
        self._large[slots], self._rejects[slots] = large, rejects
        self._from_ms, self._until_ms = self._valid(now_ms)
        if same and self._order.has(slots[held], self._terms(part, np.flatnonzero(held), price_uh)):
            self._place_some(slots)  # one that comes or goes has its place all the time
        else:
            self._rank()
            self._place_all()

    def _judge(
        self, columns: Columns, price_uh: NDArray[np.int64], now_ms: int
    ) -> tuple[Mask, Mask, Mask, NDArray[np.int64]]:
        """Which nodes there are, could take the job if free, are large enough; and a bit per filter that rejects."""
        held = held_nodes(columns)
        masks = filters(columns, self._spec, now_ms=now_ms, price_uh=price_uh, query=self.query)
        self._names: tuple[FilterName, ...] = tuple(one.name for one in masks)
        rejects = np.zeros(columns.size, dtype=np.int64)
        for bit, one in enumerate(masks):
            if one.name != "busy":  # counted with what is free
                rejects |= (held & ~one.passes).astype(np.int64) << bit
        return held, held & (rejects == 0), held & fits(columns, self._spec.resources), rejects

    def _valid(self, now_ms: int) -> tuple[int, int]:
        """From when to when these filters say the same: until the next report is too old; an age changes at once."""
        if self.query is not None and any(name.endswith("_ms") for name in self.query.columns):
            return now_ms, now_ms
        reported = self._index.live.numbers(REPORTED_MS)[self._held]
        fresh = reported[reported >= now_ms - STALE_AFTER_MS]
        return now_ms, int(fresh.min()) + STALE_AFTER_MS if fresh.size else FOR_EVER_MS

    def _rank(self) -> None:
        """Order all nodes by the policy's terms, then by number; those the job cannot go to never fit."""
        columns, slots = self._index.live, np.flatnonzero(self._held)
        self._size, self._ids = columns.size, columns.integers("id").copy()
        self._order = Order(
            self._terms(columns, slots, self._price_uh),
            slots,
            self._ids,
            packs=self._policy.packs,
            scores=self._scores,
            score_at=self._score_at,
        )

    def _terms(self, columns: Columns, slots: Slots, price_uh: NDArray[np.int64]) -> tuple[Term, ...]:
        """Of the nodes at these places of the columns."""
        return self._policy.rank(
            Candidates(
                spec=self._spec, columns=columns, fields=self._index.fields, slots=slots, price_uh=price_uh[slots]
            )
        )

    def _scores(self, slots: Slots) -> NDArray[np.int64]:
        return self._packing.scores(self.ask, slots)

    def _score_at(self, slot: int) -> int:
        return self._packing.score_at(self.ask, slot)

    def _place_all(self) -> None:
        columns = self._index.live
        free = np.logical_and.reduce([columns.numbers(name) >= amount for name, amount in self._wanted])
        self._busy: Mask = self._large & ~free
        self._counts["busy"] = int(np.count_nonzero(self._busy))
        self._fitting: Mask = self._suitable & free
        self.candidates = int(np.count_nonzero(self._fitting))
        self._order.fit_all(self._fitting)

    def _place_one(self, slot: int) -> None:
        free = _has(self._index.free_at(slot), self._wanted_at)
        busy = not free and self._large.item(slot)
        if busy is not self._busy.item(slot):
            self._counts["busy"] += 1 if busy else -1
            self._busy[slot] = busy
        fitting = free and self._suitable.item(slot)
        if fitting is not self._fitting.item(slot):
            self.candidates += 1 if fitting else -1
            self._fitting[slot] = fitting
        elif not fitting:
            return
        self._order.fit_one(slot, fitting)

    def _place_some(self, slots: Slots) -> None:
        columns = self._index.live
        free = np.ones(slots.size, dtype=np.bool_)
        for name, amount in self._wanted:
            free &= columns.numbers(name)[slots] >= amount
        busy, fitting = self._large[slots] & ~free, self._suitable[slots] & free
        self._counts["busy"] += int(np.count_nonzero(busy)) - int(np.count_nonzero(self._busy[slots]))
        self.candidates += int(np.count_nonzero(fitting)) - int(np.count_nonzero(self._fitting[slots]))
        self._busy[slots], self._fitting[slots] = busy, fitting
        self._order.fit_some(slots, fitting)


def _has(left: Free, wanted: list[tuple[int, int]]) -> bool:
    for place, amount in wanted:  # noqa: SIM110 - a generator takes three times as long
        if left[place] < amount:
            return False
    return True


def _bit_counts(bits: NDArray[np.int64], most: int) -> list[int]:
    """How many have each bit."""
    return [int(np.count_nonzero(bits >> bit & 1)) for bit in range(most)]
