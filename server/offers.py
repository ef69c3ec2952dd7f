"""Offers as JSON: the one list that must come within milliseconds, so it is put together by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scheduler.market.fields import FUNCTIONS, Fields
from scheduler.market.offers import CursorError, Offer, OfferPage, QueryError, search
from scheduler.market.query import Explanation, parse
from scheduler.proofs.claims import PREFIX
from scheduler.records import Figure
from server.problems import Fault, ProblemError
from server.runtime import Runtime


def find(runtime: Runtime, *, text: str, sort: str, limit: int, cursor: str | None, explain: bool) -> dict[str, Any]:
    """A page of offers, as `OfferPageView` says.

    Raises:
        ProblemError: the query, the order or the cursor cannot be understood.
    """
    try:
        page = search(
            runtime.index,
            text=text,
            sort=sort,
            limit=limit,
            cursor=cursor,
            now_ms=runtime.now().unix_ms,
            explain=explain,
        )
    except QueryError as error:
        raise bad_query(error, runtime.index.fields, text) from None
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


def of_page(page: OfferPage) -> dict[str, Any]:
    """A page."""
    return {
        "items": [_of_offer(offer) for offer in page.offers],
        "next_cursor": page.cursor,
        "count": page.count,
        "at_ms": page.at_ms,
        "named": list(page.named),
        "explanation": None if page.explanation is None else _of_explanation(page.explanation),
    }


def of_fields(fields: Fields) -> dict[str, Any]:
    """What a query may name."""
    items = [
        {"name": one.name, "kind": one.kind, "about": one.about, "unit": one.unit, "is_figure": one.is_figure}
        for one in fields
    ]
    return {"items": items, "functions": dict(FUNCTIONS)}


def _of_offer(offer: Offer) -> dict[str, Any]:
    return {
        "node": offer.node,
        "name": offer.name,
        "device_kind": offer.device_kind,
        "model": offer.model,
        "count": offer.count,
        "free": offer.free,
        "vram_bytes": offer.vram_bytes,
        "cpus": offer.cpus,
        "cpus_free": offer.cpus_free,
        "memory_bytes": offer.memory_bytes,
        "memory_free_bytes": offer.memory_free_bytes,
        "disk_bytes": offer.disk_bytes,
        "disk_free_bytes": offer.disk_free_bytes,
        "price_uh": offer.price_uh,
        "region": offer.region,
        "standing": offer.standing,
        "why": offer.why,
        "is_fresh": offer.is_fresh,
        "shares_gpus": offer.shares_gpus,
        "executors": offer.executors,
        "health": offer.health,
        "capability": dict(offer.capability),
        "figures": _of_figures(offer.figures),
        "age_s": offer.age_s,
        "proved": _of_proofs(offer),
        "proof_age_s": offer.proof_age_s,
        "locality": offer.locality,
        "ages_s": dict(offer.ages_s),
    }


def _of_proofs(offer: Offer) -> dict[str, Any]:
    """What is proved, with its age; nothing while that does not hold."""
    proofs = {key: one for key, one in offer.figures.items() if offer.is_proved and key.startswith(PREFIX)}
    return {
        key.removeprefix(PREFIX): {**figure, "age_s": offer.ages_s[key]} for key, figure in _of_figures(proofs).items()
    }


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
