"""Offers as JSON: the one list that must come within milliseconds, so it is put together by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from scheduler.lifecycle import shown
from scheduler.market.fields import FUNCTIONS, Fields
from scheduler.market.offers import CursorError, Found, Market, OfferPage, QueryError, search
from scheduler.market.query import Explanation, parse
from scheduler.proofs.claims import LOCALITY, PREFIX, is_proved
from scheduler.records import Figure, MarketNode
from server.problem import Fault, ProblemError

#: rows whose text is kept, some 2 kB each: those that people find are found again and again
WRITTEN = 2048
#: members of an offer that its row alone does not decide, in their order
MOVING = ("free", "cpus_free", "memory_free_bytes", "disk_free_bytes", "is_fresh", "age_s", "proved", "proof_age_s",
          "ages_s")  # fmt: skip
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class Asked(NamedTuple):
    """What a request for offers says."""

    text: str
    sort: str
    limit: int
    cursor: str | None
    explain: bool


def find(market: Market, asked: Asked, now_ms: int) -> bytes:
    """A page of offers as JSON, as `OfferPageView` says.

    Raises:
        ProblemError: the query, the order or the cursor cannot be understood.
    """
    try:
        page = search(
            market,
            text=asked.text,
            sort=asked.sort,
            limit=asked.limit,
            cursor=asked.cursor,
            now_ms=now_ms,
            explain=asked.explain,
        )
    except QueryError as error:
        raise bad_query(error, market.fields, asked.text) from None
    except CursorError as error:
        raise ProblemError("invalid", str(error), [Fault("query.cursor", str(error))]) from None
    return of_page(page)


def bad_query(error: QueryError, fields: Fields, text: str) -> ProblemError:
    """Where a query or an order is wrong, and what was probably meant."""
    more: dict[str, int | str | None] = {"position": error.position, "suggestion": error.suggestion}
    at = "query.sort"  # the query is read first
    try:
        if text.strip():
            parse(text, fields)
    except QueryError:
        at = "query.q"
    return ProblemError("invalid-query", str(error), [Fault(at, error.message)], more=more)


def of_page(page: OfferPage) -> bytes:
    """A page."""
    about = {
        "next_cursor": page.cursor,
        "count": page.count,
        "at_ms": page.at_ms,
        "named": list(page.named),
        "explanation": None if page.explanation is None else _of_explanation(page.explanation),
    }
    items = ",".join([_text(found) for found in page.found])
    return f'{{"items":[{items}],{_inside(about)}}}'.encode("ascii")


def _text(found: Found) -> str:
    """An offer as JSON: what its row says was written before, most likely."""
    pieces, moving = _written(_Row(found.node)), found.moving
    ages = ",".join([f"{_named(key)}{age_s!r}" for key, age_s in moving.ages_s.items()])
    return (
        f"{pieces[0]}{moving.free}{pieces[1]}{moving.cpus_free!r}{pieces[2]}{moving.memory_free_bytes}"
        f"{pieces[3]}{moving.disk_free_bytes}{pieces[4]}{'true' if moving.is_fresh else 'false'}"
        f"{pieces[5]}{'null' if moving.age_s is None else repr(moving.age_s)}"
        f"{pieces[6]}{_encode(_of_proofs(found)) if is_proved(found.node) else '{}'}"
        f"{pieces[7]}{'null' if moving.proof_age_s is None else repr(moving.proof_age_s)}"
        f"{pieces[8]}{{{ages}}}{pieces[9]}}}"
    )


@lru_cache(maxsize=WRITTEN)
def _named(key: str) -> str:
    """A member's name as JSON, with its colon."""
    return f"{_encode(key)}:"


class _Row:
    """A node's row as a key: the same row, not an equal one."""

    __slots__ = ("node",)

    def __init__(self, node: MarketNode) -> None:
        self.node = node

    def __hash__(self) -> int:
        return id(self.node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Row) and self.node is other.node


@lru_cache(maxsize=WRITTEN)
def _written(row: _Row) -> tuple[str, ...]:
    """An offer's text in pieces: up to each of what moves, and what is behind the last."""
    pieces, before = [], "{"
    fixed: dict[str, Any] = {}
    for name, value in _of_node(row.node).items():
        if name not in MOVING:
            fixed[name] = value
            continue
        pieces.append(f'{before}{_inside(fixed)}{"," if fixed else ""}"{name}":')
        before, fixed = ",", {}
    return (*pieces, f"{before}{_inside(fixed)}" if fixed else "")


def _inside(members: Mapping[str, Any]) -> str:
    """An object without its braces."""
    return _encode(members)[1:-1]


def of_fields(fields: Fields) -> dict[str, Any]:
    """What a query may name."""
    items = [
        {"name": one.name, "kind": one.kind, "about": one.about, "unit": one.unit, "is_figure": one.is_figure}
        for one in fields
    ]
    return {"items": items, "functions": dict(FUNCTIONS)}


def _of_node(node: MarketNode) -> dict[str, Any]:
    """The members of an offer in their order; those that move are put in later."""
    return {
        "node": node.id,
        "name": node.name,
        "device_kind": node.device_kind,
        "model": node.model,
        "count": len(node.capacity.gpu_milli),
        "free": None,
        "vram_bytes": node.vram_bytes,
        "cpus": node.capacity.cpu_milli / 1000,
        "cpus_free": None,
        "memory_bytes": node.capacity.memory_bytes,
        "memory_free_bytes": None,
        "disk_bytes": node.capacity.disk_bytes,
        "disk_free_bytes": None,
        "price_uh": node.price_uh,
        "region": node.region,
        "standing": shown(node.standing, online=node.online, draining=node.draining),
        "why": node.why,
        "is_fresh": None,
        "shares_gpus": node.shares_gpus,
        "executors": node.executors,
        "health": node.health,
        "capability": dict(node.capability),
        "figures": _of_figures(node.figures),
        "age_s": None,
        "proved": None,
        "proof_age_s": None,
        "locality": LOCALITY,
        "ages_s": None,
    }


def _of_proofs(found: Found) -> dict[str, Any]:
    """What is proved, with its age."""
    proofs = {key: one for key, one in found.node.figures.items() if key.startswith(PREFIX)}
    ages_s = found.moving.ages_s
    return {key.removeprefix(PREFIX): {**figure, "age_s": ages_s[key]} for key, figure in _of_figures(proofs).items()}


def _of_figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {
        key: {
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "n": one.n,
            "at_ms": one.at_ms,
            "unit": one.unit,
        }
        for key, one in figures.items()
    }


def _of_explanation(found: Explanation) -> dict[str, Any]:
    return {
        "sentence": str(found),
        "among": found.among,
        "matches": found.matches,
        "rejections": [
            {"condition": one.condition, "nodes": one.nodes, "unknown": one.unknown} for one in found.rejections
        ],
        "relaxations": [
            {
                "before": one.before,
                "after": one.after,
                "matches": one.matches,
                "change": one.change if math.isfinite(one.change) else None,
            }
            for one in found.relaxations
        ],
        "together": list(found.together),
        "together_matches": found.together_matches,
    }
