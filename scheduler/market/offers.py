"""Offers: the nodes a query finds, sorted, a page at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np

from scheduler.lifecycle import shown
from scheduler.market.columns import Columns, Mask, Part
from scheduler.market.fields import REPORTED_MS, STALE_AFTER_MS, Fields
from scheduler.market.paging import CursorError, Place, page
from scheduler.market.query import Explanation, Query, QueryError, Sorting, parse, parse_sorting
from scheduler.proofs.claims import LOCALITY, is_proved
from scheduler.records import Figure, MarketNode

MAX_LIMIT = 500
DEFAULT_SORT = "price"
#: fields that a query names in order to see what is hidden otherwise
UNHIDDEN_BY: Mapping[str, frozenset[str]] = {
    "admitted": frozenset({"state"}),
    "online": frozenset({"state", "online"}),
    "draining": frozenset({"state", "draining"}),
    "fresh": frozenset({"state", "fresh"}),
}
#: a query that finds fewer than this is explained
FEW = 1


class Market(Protocol):
    """What is searched: the placement index."""

    @property
    def fields(self) -> Fields:
        """What a query may name."""
        ...

    def snapshot(self, columns: Iterable[str]) -> Columns:
        """Some columns at one moment."""
        ...

    def nodes_at(self, slots: Iterable[int]) -> list[MarketNode | None]:
        """The rows at these places."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A node as renters see it. Ages are at `OfferPage.at_ms`."""

    node: int
    name: str
    device_kind: Literal["cpu", "cuda"]
    model: str
    count: int  #: GPUs
    free: int  #: GPUs of which nothing is in use
    vram_bytes: int
    cpus: float
    cpus_free: float
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    price_uh: int  #: micro-dollars per hour of the whole node
    region: str
    standing: str  #: the word people see: ready, degraded, offline …
    why: str  #: why it stands so
    is_fresh: bool
    shares_gpus: bool
    executors: tuple[str, ...]
    health: float | None
    capability: Mapping[str, float]
    figures: Mapping[str, Figure]
    age_s: float | None  #: of its newest report; None = never measured
    is_proved: bool  #: its figures `proved.…` hold, and what it claims is cut to them
    proof_age_s: float | None  #: None = nothing was ever proved
    locality: Literal["unproven"] = LOCALITY
    #: of what is proved, and of the figures that the query or the order names
    ages_s: Mapping[str, float] = field(default_factory=dict)


class Found(NamedTuple):
    """A node that was found, and what was free of it then."""

    node: MarketNode
    gpus: int  #: of which nothing is in use
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPage:
    """Some of the offers that were found."""

    found: tuple[Found, ...]
    count: int  #: found in all
    cursor: str | None  #: gives the next page; None = this was the last
    at_ms: int
    named: tuple[str, ...] = ()  #: figures that the query or the order names: what a table shows
    explanation: Explanation | None = field(default=None)  #: of a query that found nothing, or on request

    @property
    def offers(self) -> tuple[Offer, ...]:
        """In the order asked for."""
        return tuple([offer_of(one, self.named, self.at_ms) for one in self.found])


def search(
    index: Market,
    *,
    text: str = "",
    sort: str = DEFAULT_SORT,
    limit: int = 50,
    cursor: str | None = None,
    now_ms: int,
    default_filters: bool = True,
    explain: bool = False,
) -> OfferPage:
    """The offers that match `text`, in the order of `sort` and among equals of node numbers.

    Pages hang together by the last offer seen (its value and number), not by counting, so nothing is seen twice or
    left out because something before it came or went.

    Args:
        text: a query; "" finds all.
        sort: a field or a number such as price / count; behind a minus the highest first. Unknown comes last.
        limit: offers per page, 1 to 500.
        cursor: of the page before, for the same text and order.
        default_filters: whether nodes that take no jobs (not ready, offline, draining, stale) are left out; each of
            these filters goes when the query names its field, all when it names `state`.
        explain: also a query that finds something.

    Raises:
        QueryError: in `text` or `sort`.
        CursorError: the cursor is of another search, or of none.
        ValueError: the limit is out of range.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit is 1 to {MAX_LIMIT}, got {limit}")
    fields = index.fields
    query = parse(text, fields) if text.strip() else None
    sorting = parse_sorting(sort, fields)
    mark = _mark(text, sort, default_filters)
    place = Place.read(cursor, mark=mark) if cursor is not None else None
    named = (query.names if query else frozenset()) | sorting.names
    hidden = [one for one, names in UNHIDDEN_BY.items() if default_filters and not (query and query.names & names)]
    columns = index.snapshot(_columns(query, sorting))
    base = _base(columns, hidden, now_ms)
    matching = query.among(columns, base, now_ms) if query else np.flatnonzero(base)
    slots, after = page(Part(columns, matching), sorting, place, limit, now_ms)
    figures = tuple(sorted(name for name in named if fields[name].is_figure))
    left = [columns.numbers(name)[slots].tolist() for name in _FREE]
    count = matching.size
    return OfferPage(
        found=tuple(
            [
                Found(node, *free)
                for node, number, *free in zip(index.nodes_at(slots.tolist()), *left, strict=True)
                if node is not None and node.id == number  # its addition may have been undone meanwhile
            ]
        ),
        count=count,
        cursor=after.written(mark) if after else None,
        at_ms=now_ms,
        named=figures,
        explanation=query.explain(columns, now_ms, base) if query and (explain or count < FEW) else None,
    )


_FREE = ("id", "gpus_free", "cpu_milli_free", "memory_bytes_free", "disk_bytes_free")
_ALWAYS = frozenset({*_FREE, "held", "admitted", "online", "draining", REPORTED_MS})


def _columns(query: Query | None, sorting: Sorting) -> frozenset[str]:
    return _ALWAYS | sorting.columns | (query.columns if query else frozenset())


def _base(columns: Columns, hidden: Iterable[str], now_ms: int) -> Mask:
    """The nodes that are shown when nothing is asked of them."""
    base = columns.truths("held")
    for name in hidden:
        match name:
            case "fresh":
                base = base & (now_ms - columns.numbers(REPORTED_MS) <= STALE_AFTER_MS)
            case "draining":
                base = base & ~columns.truths("draining")
            case _:
                base = base & columns.truths(name)
    return base


def _mark(text: str, sort: str, default_filters: bool) -> str:
    """What ties a cursor to its search."""
    whole = json.dumps([text, sort, default_filters]).encode()
    return hashlib.sha256(whole).hexdigest()[:16]


def offer_of(found: Found, named: Collection[str], now_ms: int) -> Offer:
    """What was found, in full, with the ages of the figures that the query names."""
    node = found.node
    reported_ms, proved_ms = node.reported_ms, node.proof.proved_ms
    return Offer(
        node=node.id,
        name=node.name,
        device_kind=node.device_kind,
        model=node.model,
        count=len(node.capacity.gpu_milli),
        free=found.gpus,
        vram_bytes=node.vram_bytes,
        cpus=node.capacity.cpu_milli / 1000,
        cpus_free=found.cpu_milli / 1000,
        memory_bytes=node.capacity.memory_bytes,
        memory_free_bytes=found.memory_bytes,
        disk_bytes=node.capacity.disk_bytes,
        disk_free_bytes=found.disk_bytes,
        price_uh=node.price_uh,
        region=node.region,
        standing=shown(node.standing, online=node.online, draining=node.draining),
        why=node.why,
        is_fresh=reported_ms is not None and now_ms - reported_ms <= STALE_AFTER_MS,
        shares_gpus=node.shares_gpus,
        executors=node.executors,
        health=node.health,
        capability=node.capability,
        figures=node.figures,
        age_s=None if reported_ms is None else (now_ms - reported_ms) / 1000,
        is_proved=is_proved(node),
        proof_age_s=None if proved_ms is None else (now_ms - proved_ms) / 1000,
        ages_s={
            key: (now_ms - node.figures[key].at_ms) / 1000
            for key in dated(named, node.proof.figures)
            if key in node.figures
        },
    )


def dated(named: Collection[str], proved: Collection[str]) -> Collection[str]:
    """The figures whose ages are told, where they are measured: those that the query names, and what is proved."""
    return sorted({*named, *proved}) if proved else named


__all__ = ["CursorError", "Found", "Offer", "OfferPage", "QueryError", "dated", "offer_of", "search"]
