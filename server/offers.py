"""Pages of offers as JSON: the one list that must come within milliseconds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from scheduler.market.fields import FUNCTIONS, Fields
from scheduler.market.offers import CursorError, Market, OfferPage, QueryError, search
from scheduler.market.query import Explanation, parse
from server import offer_text
from server.problem import Fault, ProblemError


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
    items = ",".join([offer_text.of_offer(found, page.named, page.at_ms) for found in page.found])
    return f'{{"items":[{items}],{offer_text.inside(about)}}}'.encode("ascii")


def of_fields(fields: Fields) -> dict[str, Any]:
    """What a query may name."""
    items = [
        {"name": one.name, "kind": one.kind, "about": one.about, "unit": one.unit, "is_figure": one.is_figure}
        for one in fields
    ]
    return {"items": items, "functions": dict(FUNCTIONS)}


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
