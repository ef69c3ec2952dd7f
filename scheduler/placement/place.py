"""Where a job goes: filter, rank, choose, and say why."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qualify.records import Json
from scheduler.clock import Now
from scheduler.market.fields import Fields
from scheduler.market.query import Query, QueryError, parse
from scheduler.placement.decision import Decision as Decision
from scheduler.placement.decision import Refusal
from scheduler.placement.filters import PRICED_BY, WHOLE_MILLI, filters, held_nodes, share_price_uh
from scheduler.placement.index import Index
from scheduler.placement.packing import Packing
from scheduler.placement.policy import Policy, policies
from scheduler.placement.ranking import Ranking
from scheduler.placement.refusal import Situation, reason, reason_to_wait
from scheduler.records import JobSpec, Resources
from scheduler.told import Told, quoted

#: a refusal is remembered while no node changes, but not longer: figures grow older, and a query may ask for that
REFUSAL_MS = 5_000
MAX_REMEMBERED = 4096
#: what the rankings of all shapes may hold, about so much for each node and shape; at 100,000 nodes some 30 shapes
RANKINGS_BYTES = 256 << 20
BYTES_PER_NODE = 80
LEAST_RANKINGS = 16
#: shapes of jobs whose prices are kept, one number per node each
MAX_PRICES = 64


class Placer(Protocol):
    """Chooses a node; changes nothing."""

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """The best node for `spec` as the market stands, reservations of the same batch included.

        Args:
            avoid: nodes that are taken only when no other will do: they lost this job, or it crashed there.
        """
        ...

    def suitable(self, spec: JobSpec, now: Now) -> tuple[int, ...]:
        """Nodes that could take `spec` if they were empty."""
        ...


class IndexPlacer:
    """Places by the index. For the book's thread only."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._packing = Packing(index, index.demand)
        self._rankings: dict[Hashable, Ranking] = {}  #: by shape, the one used longest ago first
        self._fields: Fields | None = None
        self._queries: dict[str, Query] = {}  #: by text, under these fields
        self._prices: dict[Resources, tuple[tuple[int, ...], NDArray[np.int64]]] = {}

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """The best node for `spec`: those that can take it, ranked by its policy.

        Among nodes that its policy finds as good it is the one that the job packs onto best, then the lowest number:
        a stable order keeps jobs together, chance would spread them.
        """
        policy = policies().get(spec.policy)
        if policy is None:
            return Decision(node=None, reason=f"there is no policy {spec.policy!r}; there are {', '.join(policies())}")
        ranking = self._ranking(spec, policy)
        try:
            ranking.query = self._query(spec.where)
        except QueryError as error:
            return Decision(node=None, reason=f"where: {error}")
        self._packing.follow(now.unix_ms)
        ranking.follow(now.unix_ms)
        return self._choose(ranking, spec, avoid) if ranking.candidates else self._refuse(ranking, spec, now)

    def suitable(self, spec: JobSpec, now: Now) -> tuple[int, ...]:
        """Nodes that could take `spec` if they were empty, by their place in the index."""
        try:
            query = self._query(spec.where)
        except QueryError:
            return ()
        columns = self._index.live
        price_uh = self._price_uh(spec.resources)
        masks = filters(columns, spec, now_ms=now.unix_ms, price_uh=price_uh, query=query)
        held = columns.truths("held") & ~columns.truths("retired")
        found = np.logical_and.reduce([held, *(one.passes for one in masks if one.name != "busy")])
        return tuple(columns.integers("id")[found].tolist())

    def _choose(self, ranking: Ranking, spec: JobSpec, avoid: frozenset[int]) -> Decision:
        choice = ranking.choose(avoid)
        slot = choice.best.slot
        why = (
            f'{{"policy":{quoted(spec.policy)},"terms":{ranking.told(choice.best)},'
            f'"candidates":{ranking.candidates - choice.avoided},"nodes":{ranking.held},'
            f'"rejected":{ranking.told_rejected()}'
        )
        if choice.runner_up is not None:
            node = self._index.node_at(choice.runner_up.slot).id
            why += f',"runner_up":{{"node":{node},"terms":{ranking.told(choice.runner_up)}}}'
        if choice.avoided:
            why += f',"avoided":{choice.avoided}'
        resources = spec.resources
        part_of = self._packing.gpu_milli_to_take(ranking.ask, slot) if resources.gpu_milli else WHOLE_MILLI
        return Decision(
            node=self._index.node_at(slot).id,
            gpus=choose_gpus(self._index.gpus_free_at(slot), resources, part_of),
            price_uh=ranking.price_uh_at(slot),
            why=Told(why + "}"),
        )

    def _refuse(self, ranking: Ranking, spec: JobSpec, now: Now) -> Decision:
        """Why it fits nowhere; said again while no node changes, so that a long queue of equals costs one look."""
        said = ranking.refusal
        if said is None or said.version != self._index.version or now.mono_ms - said.at_mono_ms >= REFUSAL_MS:
            said = ranking.refusal = self._look(ranking, spec, now)
        return said.decision

    def _look(self, ranking: Ranking, spec: JobSpec, now: Now) -> Refusal:
        counts = ranking.rejected()
        if suitable := ranking.suitable:
            text = reason_to_wait(ranking.held, counts, suitable, spec)
        else:
            columns = self._index.live
            price_uh = self._price_uh(spec.resources)
            situation = Situation(
                columns=columns,
                spec=spec,
                filters=filters(columns, spec, now_ms=now.unix_ms, price_uh=price_uh, query=ranking.query),
                held=held_nodes(columns),
                price_uh=price_uh,
                query=ranking.query,
                now_ms=now.unix_ms,
            )
            text = reason(situation)
        why: dict[str, Json] = {"policy": spec.policy, "nodes": ranking.held, "rejected": dict(counts)}
        return Refusal(self._index.version, now.mono_ms, Decision(node=None, why=why, reason=text))

    def _ranking(self, spec: JobSpec, policy: Policy) -> Ranking:
        """That of the shape, kept while there is room; the one used longest ago gives way."""
        shape = _shape(spec)
        found = self._rankings.pop(shape, None)
        if found is None:
            most = max(LEAST_RANKINGS, RANKINGS_BYTES // (BYTES_PER_NODE * max(self._index.places, 1)))
            while len(self._rankings) >= most:
                del self._rankings[next(iter(self._rankings))]
            found = Ranking(spec, policy, self._index, self._packing, self._price_uh)
        self._rankings[shape] = found
        return found

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


def choose_gpus(free_milli: tuple[int, ...], resources: Resources, part_of_milli: int) -> tuple[int, ...]:
    """Which GPUs a job gets: the lowest numbers among equals.

    Args:
        free_milli: thousandths left of each.
        part_of_milli: for a part of a GPU, what is left of the one it is to come from.
    """
    if resources.gpu_milli:
        return tuple(gpu for gpu, free in enumerate(free_milli) if free == part_of_milli)[:1]
    whole = (gpu for gpu, free in enumerate(free_milli) if free >= WHOLE_MILLI)
    return tuple(islice(whole, resources.gpus))


def _shape(spec: JobSpec) -> Hashable:
    """All of a job that its place depends on; which nodes it avoids is asked each time."""
    return (spec.resources, spec.image is None, spec.where, spec.region, spec.max_price_uh, spec.policy, spec.work)
