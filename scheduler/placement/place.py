"""Where a job goes: filter, rank, choose, and say why."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qualify.records import Json
from scheduler.clock import Now
from scheduler.market.fields import Fields
from scheduler.market.query import Query, QueryError, parse
from scheduler.placement.filters import PRICED_BY, WHOLE_MILLI, filters, share_price_uh
from scheduler.placement.index import Index
from scheduler.placement.policy import Candidates, Policy, Term, policies
from scheduler.placement.refusal import Situation, reason, rejected
from scheduler.records import JobSpec, Resources

#: a refusal is remembered while no node changes, but not longer: figures grow older, and a query may ask for that
REFUSAL_MS = 5_000
MAX_REMEMBERED = 4096
#: shapes of jobs whose prices are kept, one number per node each
MAX_PRICES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A node for a job, or why there is none."""

    node: int | None
    gpus: tuple[int, ...] = ()  #: which of the node's
    price_uh: int = 0  #: micro-dollars per hour of the share the job takes
    why: Mapping[str, Json] = field(default_factory=dict)  #: the policy's terms, the runner-up, rejections per filter
    reason: str = ""  #: of an unplaced job, one sentence: what stops it and the nearest miss


class Placer(Protocol):
    """Chooses a node; changes nothing."""

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """The best node for `spec` as the market stands, reservations of the same batch included.

        Args:
            avoid: nodes that are taken only when no other will do: they lost this job, or it crashed there.
        """
        ...


class IndexPlacer:
    """Places by the index. For the book's thread only."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._fields: Fields | None = None
        self._queries: dict[str, Query] = {}  #: by text, under these fields
        self._refused: dict[Hashable, tuple[int, Decision]] = {}  #: when, and what was said
        self._refused_version = -1
        self._prices: dict[Resources, tuple[tuple[int, ...], NDArray[np.int64]]] = {}

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """The best node for `spec`: those that can take it, ranked by its policy, the lowest number among equals."""
        policy = policies().get(spec.policy)
        if policy is None:
            return Decision(node=None, reason=f"there is no policy {spec.policy!r}; there are {', '.join(policies())}")
        known = self._remembered(spec, now)
        if known is not None:
            return known
        try:
            query = self._query(spec.where)
        except QueryError as error:
            return Decision(node=None, reason=f"where: {error}")
        columns = self._index.live
        price_uh = self._price_uh(spec.resources)
        held = columns.truths("held") & ~columns.truths("retired")
        masks = filters(columns, spec, now_ms=now.unix_ms, price_uh=price_uh, query=query)
        fitting = np.logical_and.reduce([held, *(one.passes for one in masks)])
        situation = Situation(
            columns=columns,
            spec=spec,
            filters=masks,
            held=held,
            price_uh=price_uh,
            query=query,
            now_ms=now.unix_ms,
        )
        if not fitting.any():
            return self._refuse(situation, now)
        slots = np.flatnonzero(fitting)
        kept = self._without(slots, avoid)
        candidates = Candidates(
            spec=spec, columns=columns, fields=self._index.fields, slots=kept, price_uh=price_uh[kept]
        )
        return self._choose(candidates, policy, situation, avoided=slots.size - kept.size)

    def _choose(self, candidates: Candidates, policy: Policy, situation: Situation, *, avoided: int) -> Decision:
        terms = policy.rank(candidates)
        ids = candidates.column("id")
        every = np.arange(candidates.slots.size)
        best = first(terms, ids, every)
        others = np.delete(every, best)
        why: dict[str, Json] = {
            "policy": policy.name,
            "terms": _told(terms, best),
            "candidates": int(candidates.slots.size),
            "nodes": int(np.count_nonzero(situation.held)),
            "rejected": dict(rejected(situation)),
        }
        if others.size:
            second = first(terms, ids, others)
            why["runner_up"] = {"node": int(ids[second]), "terms": _told(terms, second)}
        if avoided:
            why["avoided"] = avoided
        slot = int(candidates.slots[best])
        return Decision(
            node=int(ids[best]),
            gpus=choose_gpus(self._index.gpus_free_at(slot), candidates.spec.resources),
            price_uh=int(candidates.price_uh[best]),
            why=why,
        )

    def _refuse(self, situation: Situation, now: Now) -> Decision:
        why: dict[str, Json] = {
            "policy": situation.spec.policy,
            "nodes": int(np.count_nonzero(situation.held)),
            "rejected": dict(rejected(situation)),
        }
        decision = Decision(node=None, why=why, reason=reason(situation))
        if len(self._refused) < MAX_REMEMBERED:
            self._refused[_shape(situation.spec)] = (now.mono_ms, decision)
        return decision

    def _remembered(self, spec: JobSpec, now: Now) -> Decision | None:
        """What was said of such a job, while nothing has changed since; a long queue of equals costs one look."""
        if self._refused_version != self._index.version:
            self._refused.clear()
            self._refused_version = self._index.version
        at_ms, decision = self._refused.get(_shape(spec), (0, None))
        return decision if decision is not None and now.mono_ms - at_ms < REFUSAL_MS else None

    def _price_uh(self, resources: Resources) -> NDArray[np.int64]:
        """The price of the share on every node; worked out again when a price or a capacity has changed."""
        columns = self._index.live
        state = columns.table.state(*PRICED_BY)
        wanted = replace(resources, disk_bytes=0)
        known, prices = self._prices.get(wanted, (None, None))
        if prices is None or known != state:
            if len(self._prices) >= MAX_PRICES:
                self._prices.clear()
            prices = share_price_uh(columns, resources)
            self._prices[wanted] = (state, prices)
        return prices

    def _query(self, text: str) -> Query | None:
        if not text.strip():
            return None
        fields = self._index.fields
        if self._fields is not fields or len(self._queries) > MAX_REMEMBERED:
            self._queries.clear()
            self._fields = fields
        if text not in self._queries:
            self._queries[text] = parse(text, fields)
        return self._queries[text]

    def _without(self, slots: NDArray[np.intp], avoid: frozenset[int]) -> NDArray[np.intp]:
        """The nodes that need not be avoided; all when there is no other."""
        if not avoid:
            return slots
        kept = slots[~np.isin(self._index.live.numbers("id")[slots], list(avoid))]
        return kept if kept.size else slots


def first(terms: tuple[Term, ...], ids: NDArray[np.generic], among: NDArray[np.intp]) -> int:
    """The best of `among`: by each term in turn, unknown last, then the lowest node number."""
    for term in terms:
        values = term.values[among].astype(np.float64)
        values = np.where(np.isnan(values), np.inf, -values if term.more_is_better else values)
        among = among[values == values.min()]
    return int(among[np.argmin(ids[among])])


def choose_gpus(free_milli: tuple[int, ...], resources: Resources) -> tuple[int, ...]:
    """Whole GPUs: the lowest numbers that are free. A share: the fullest GPU that still has room (best fit)."""
    if resources.gpu_milli:
        room = [(free, gpu) for gpu, free in enumerate(free_milli) if free >= resources.gpu_milli]
        return (min(room)[1],) if room else ()
    return tuple(gpu for gpu, free in enumerate(free_milli) if free >= WHOLE_MILLI)[: resources.gpus]


def _shape(spec: JobSpec) -> Hashable:
    """All of a job that a refusal depends on; which nodes it avoids does not, as it takes them for want of others."""
    return (spec.resources, spec.image is None, spec.where, spec.region, spec.max_price_uh, spec.policy)


def _told(terms: tuple[Term, ...], place: int) -> dict[str, Json]:
    values = {term.name: float(term.values[place]) for term in terms}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
