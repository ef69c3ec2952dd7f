"""The first page: what there is to rent, asked for in the offers' language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from scheduler.market.explain import Explanation
from scheduler.market.fields import FUNCTIONS, Fields
from scheduler.market.offers import DEFAULT_SORT, CursorError, Offer, OfferPage, QueryError, search
from scheduler.market.paging import MAX_CURSOR_CHARACTERS
from scheduler.market.parse import MAX_CHARACTERS
from scheduler.market.query import parse
from scheduler.market.syntax import conjuncts, show
from scheduler.placement.index import Index
from server.web import figures, words
from server.web.figures import Cell
from server.web.site import Site, to

ROWS = 50
EXAMPLES = (
    "count >= 1",
    "memory.triad >= 20 GB/s",
    "p05(matmul.bf16) >= 500 GFLOP/s and age(matmul.bf16) < 24 h",
    "price < 0.50 $/h and cpus_free >= 4",
    'state != "ready"',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's head."""

    name: str
    href: str  #: orders by it
    number: bool = False
    sorted: str = ""  #: "ascending", "descending", or empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One offer, worded."""

    node: int
    name: str
    place: str
    hardware: str
    free: str
    price: str
    cells: Sequence[tuple[str, Cell | None]]
    state: str
    tone: str
    age: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A query that can be followed; `text` is what it does, or the query itself."""

    text: str
    href: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadQuery:
    """What is wrong with a query or an order, and where."""

    what: str  #: "query", "order"
    text: str
    before: str = ""
    spot: str | None = None
    after: str = ""
    place: int = 0  #: counted from 1
    suggestion: str = ""
    fixed: Link | None = None


def routes(site: Site, router: APIRouter) -> None:
    """Serve the page at /."""
    runtime = site.runtime

    @router.get("/")
    async def inventory(
        request: Request,
        q: Annotated[str, Query(max_length=4 * MAX_CHARACTERS)] = "",
        sort: Annotated[str, Query(max_length=200)] = "",
        cursor: Annotated[str, Query(max_length=MAX_CURSOR_CHARACTERS)] = "",
    ) -> Response:
        try:
            found = await runtime.read(asked, runtime.index, q.strip(), sort, cursor, runtime.now().unix_ms)
        except CursorError:  # of a query that was changed since
            return to(address(q, sort))
        return await site.page(request, "inventory.html", here="/", text=q, sort=sort, **found)


def asked(index: Index, text: str, sort: str, cursor: str, now_ms: int) -> dict[str, Any]:
    """What the page shows for a query.

    Raises:
        CursorError: the cursor is of another query.
    """
    page, error = None, None
    try:
        page = search(
            index, text=text, sort=sort or DEFAULT_SORT, limit=ROWS, cursor=cursor or None, now_ms=now_ms
        )  # fmt: skip
    except QueryError as fault:
        error = bad_query(text, sort, fault, index.fields)
    shown = figures.columns(page.named if page else (), [offer.figures for offer in page.offers] if page else [])
    return {
        "error": error,
        "examples": [Link(text=one, href=address(one)) for one in EXAMPLES],
        "most_chars": MAX_CHARACTERS,
        "columns": heads(text, sort, shown, index.fields),
        "rows": [row(offer, shown, now_ms) for offer in page.offers] if page else [],
        "counted": counted(page) if page else "",
        "explained": explained(page.explanation, text, sort, index.fields) if page and page.explanation else [],
        "first_href": address(text, sort) if cursor else "",
        "next_href": address(text, sort, page.cursor) if page and page.cursor else "",
        "fields": [field for field in index.fields if not field.is_figure],
        "figures": figures.by_bench([field.name for field in index.fields if field.is_figure]),
        "functions": FUNCTIONS,
    }


def address(text: str, sort: str = "", cursor: str = "") -> str:
    """Where the page for a query is."""
    parts = {name: value for name, value in (("q", text), ("sort", sort), ("cursor", cursor)) if value}
    return f"/?{urlencode(parts)}" if parts else "/"


def counted(page: OfferPage) -> str:
    """How many there are: "12 nodes", "50 of 214 nodes"."""
    every = words.count(page.count, "node")
    return every if len(page.offers) == page.count else f"{len(page.offers)} of {every}"


def row(offer: Offer, shown: Sequence[str], now_ms: int) -> Row:
    """An offer as a line of the table."""
    return Row(
        node=offer.node,
        name=offer.name,
        place=", ".join(part for part in (offer.region, *offer.executors) if part),
        hardware=hardware(offer.device_kind, offer.count, offer.model),
        free=free(offer),
        price=words.money(offer.price_uh),
        cells=[(key, figures.cell(key, offer.figures[key], now_ms) if key in offer.figures else None) for key in shown],
        state=offer.standing,
        tone=words.standing_tone(offer.standing),
        age=", ".join(_ages(offer, now_ms)),
    )


def _ages(offer: Offer, now_ms: int) -> Iterator[str]:
    if offer.age_s is not None:
        yield f"measured {words.ago(now_ms - round(offer.age_s * 1000), now_ms)}"
    if offer.is_proved and offer.proof_age_s is not None:
        yield f"proved {words.ago(now_ms - round(offer.proof_age_s * 1000), now_ms)}"
    else:
        yield "unproven"


def hardware(device_kind: str, count: int, model: str) -> str:
    """What a node is: "8 × H100 SXM", "AMD EPYC 9354P"."""
    name = model or ("unknown GPU" if device_kind == "cuda" else "unknown processor")
    return f"{count} × {name}" if device_kind == "cuda" else name


def free(offer: Offer) -> str:
    """What of it can be had now."""
    if offer.device_kind == "cuda":
        return f"{offer.free} of {words.count(offer.count, 'GPU')} free"
    return f"{offer.cpus_free:g} of {offer.cpus:g} CPUs free"


def heads(text: str, sort: str, shown: Sequence[str], fields: Fields) -> list[Column]:
    """The columns; the one that the rows are in order of says so, and its link turns the order round."""

    def column(name: str, field: str, *, number: bool = True, downwards: bool = False) -> Column:
        order = {field: "ascending", f"-{field}": "descending"}.get(sort or DEFAULT_SORT, "")
        turned = order == "ascending" if order else downwards
        return Column(name=name, number=number, href=address(text, f"-{field}" if turned else field), sorted=order)

    return [
        column("Node", "name", number=False),
        column("Hardware", "model", number=False),
        column("Price", "price"),
        *(column(key, key, downwards=not (key in fields and fields[key].less_is_better)) for key in shown),
        column("State", "state", number=False),
    ]


def bad_query(text: str, sort: str, error: QueryError, fields: Fields) -> BadQuery:
    """An error with the place it is about marked, and the query mended where a suggestion says how."""
    try:
        if text:
            parse(text, fields)
        return BadQuery(what="order", text=error.message, suggestion=error.suggestion or "")
    except QueryError:
        pass
    place = min(max(error.position, 0), len(text))
    end = place
    while end < len(text) and (text[end].isalnum() or text[end] in "._-"):
        end += 1
    end = max(end, min(place + 1, len(text)))
    fixed = None
    if error.suggestion and text[place:end]:
        mended = text[:place] + error.suggestion + text[end:]
        fixed = Link(text=mended, href=address(mended, sort)) if _is_query(mended, fields) else None
    return BadQuery(
        what="query", text=error.message, before=text[:place], spot=text[place:end], after=text[end:],
        place=place + 1, suggestion=error.suggestion or "", fixed=fixed,
    )  # fmt: skip


def _is_query(text: str, fields: Fields) -> bool:
    try:
        parse(text, fields)
    except QueryError:
        return False
    return True


def explained(found: Explanation, text: str, sort: str, fields: Fields) -> list[Link]:
    """Why nothing matches, and the smallest changes of the query after which something does."""
    parts = [show(part) for part in conjuncts(parse(text, fields).tree)]
    lines = []
    for change in found.relaxations:
        into = f"{change.after} instead of {change.before}" if change.after else f"without {change.before}"
        kept = [change.after if part == change.before else part for part in parts]
        mended = " and ".join(f"({part})" if " or " in part else part for part in kept if part)
        href = address(mended, sort) if change.before in parts else ""
        lines.append(Link(text=f"{words.count(change.matches, 'node')} with {into}.", href=href))
    return lines or [Link(text=f"{str(found)[:1].upper()}{str(found)[1:]}.")]
