"""Which waiting jobs a node could take if it were well: asked of placement's own filters, over an index of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scheduler.control import Control
from scheduler.lifecycle import JobState, Standing
from scheduler.market.errors import QueryError
from scheduler.market.fields import Fields
from scheduler.market.query import parse
from scheduler.placement.filters import filters, share_price_uh
from scheduler.placement.index import Index
from scheduler.records import JobSpec, MarketNode
from server.web.worth import Demand

#: jobs at the front of the line; beyond them the answer would be the same
MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class Market:
    """Everybody's nodes, and what waits, the first in line first."""

    nodes: Sequence[MarketNode]
    waiting: Sequence[JobSpec]

    @classmethod
    def of(cls, control: Control) -> Market:
        """The market as it stands; to be called where the book is owned."""
        queued = [job for job in control.book.jobs.values() if job.state is JobState.QUEUED and not job.cancelled]
        line = sorted(queued, key=lambda job: (-job.spec.priority, job.id))[:MOST_WAITING]
        return cls(tuple(control.book.nodes.values()), tuple(job.spec for job in line))

    def demand(self, node: MarketNode, now_ms: int) -> tuple[Demand, ...]:
        """What the waiting jobs that fit `node` would pay it, if it were idle, reachable and just measured."""
        well = replace(node, standing=Standing.READY, online=True, draining=False, reported_ms=now_ms)
        index = Index()
        index.changed(None, well)
        found = (_demand(index, spec, now_ms) for spec in self.waiting)
        return tuple(one for one in found if one is not None)


def _demand(index: Index, spec: JobSpec, now_ms: int) -> Demand | None:
    fields: Fields = index.fields
    try:
        query = parse(spec.where, fields) if spec.where.strip() else None
    except QueryError:  # it names a figure that this node does not have
        return None
    columns = index.live
    price_uh = share_price_uh(columns, spec.resources)
    fits = all(one.passes[0] for one in filters(columns, spec, now_ms=now_ms, price_uh=price_uh, query=query))
    return Demand(spec.resources, int(price_uh[0])) if fits else None
