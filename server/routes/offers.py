"""Offers: what there is to rent. They are public, as is the listing of every node."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from scheduler.market.offers import DEFAULT_SORT
from server import offers, views
from server.deps import TheRuntime, Viewer
from server.routes.described import Limit, refusals
from server.schemas.offers import FieldsView, OfferPageView

router = APIRouter(prefix="/v1", tags=["offers"])
_TEXT = r"^[^\x00]*$"


@router.get("/offers", response_model=OfferPageView, responses=refusals("invalid-query"))
async def found(
    runtime: TheRuntime,
    account: Viewer,
    q: Annotated[str, Query(max_length=4000, pattern=_TEXT, examples=["free >= 1 and price < 2.50 $/h"])] = "",
    sort: Annotated[str, Query(max_length=400, pattern=_TEXT)] = DEFAULT_SORT,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=4000, pattern=r"^[A-Za-z0-9_-]+$")] = None,
    explain: Annotated[bool, Query(description="also where something was found")] = False,
) -> Response:
    """Nodes that match a query, sorted. Nodes that take no jobs now are left out unless the query names why.

    `sort`: a field, or a number such as `price / count`; behind a minus the highest first.
    """
    del account
    asked = offers.Asked(text=q, sort=sort, limit=limit, cursor=cursor, explain=explain)
    return views.packed(await runtime.offers(asked))


@router.get("/offers/fields", response_model=FieldsView, responses=refusals())
async def fields(runtime: TheRuntime, account: Viewer) -> Response:
    """Everything a query may name now, with its unit."""
    del account
    return views.answer(offers.of_fields(runtime.index.fields))
