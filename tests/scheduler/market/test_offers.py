"""scheduler.market.offers: what is found, in which order, a page at a time."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.lifecycle import Standing
from scheduler.market.offers import OfferPage, search
from scheduler.market.paging import CursorError
from scheduler.market.query import QueryError
from scheduler.placement.index import Index
from scheduler.records import MarketNode
from tests.scheduler.market.test_parse import LONGEST_MS
from tests.scheduler.nodes import HOUR_MS, NOW_MS, USD_UH, attempt, cpu_node, figure, gpu_node, market


def page(index: Index, **options: Any) -> OfferPage:
    """One page as of the tests' moment."""
    return search(index, now_ms=NOW_MS, **options)


def numbers(index: Index, **options: Any) -> list[int]:
    """The nodes of one page."""
    return [offer.node for offer in page(index, **options).offers]


def walked(index: Index, **options: Any) -> list[list[int]]:
    """The nodes of every page."""
    pages: list[list[int]] = []
    cursor = None
    while cursor is not None or not pages:
        one = page(index, cursor=cursor, **options)
        pages.append([offer.node for offer in one.offers])
        cursor = one.cursor
    return pages


STANDINGS = (
    cpu_node(1),
    cpu_node(2, standing=Standing.DEGRADED),
    cpu_node(3, standing=Standing.QUARANTINED),
    cpu_node(4, online=False),
    cpu_node(5, draining=True),
    cpu_node(6, reported_ms=NOW_MS - 100 * HOUR_MS),
    cpu_node(7, standing=Standing.NEW, reported_ms=None),
    cpu_node(8, online=False, reported_ms=NOW_MS - 100 * HOUR_MS),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2]),
        ("fresh = false", [6]),
        ("fresh", [1, 2]),
        ("not online", [4]),
        ("draining", [5]),
        ("not fresh and not online", [8]),
        ('state = "quarantined"', [3]),
        ('state = "new"', [7]),
        ('state = "offline"', [4, 8]),
        ('state != "retired"', [1, 2, 3, 4, 5, 6, 7, 8]),
        ("cpus > 1", [1, 2]),
    ],
)
def test_nodes_that_take_no_jobs_are_hidden_until_asked_for(text: str, expected: list[int]) -> None:
    """Not ready, offline, draining, stale: each hidden until its field is named."""
    assert numbers(market(*STANDINGS), text=text) == expected
    assert page(market(*STANDINGS), text=text).count == len(expected)


def test_nothing_is_hidden_where_the_filters_are_off() -> None:
    """For operators."""
    assert numbers(market(*STANDINGS), default_filters=False) == [1, 2, 3, 4, 5, 6, 7, 8]


PRICED = tuple(
    cpu_node(number, price_uh=price, region=region, health=health)
    for number, price, region, health in (
        (1, 3, "us", 0.5),
        (2, 1, "eu", None),
        (3, 2, "", 0.9),
        (4, 1, "asia", None),
        (5, 2, "eu", 0.7),
    )
)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("price", [2, 4, 3, 5, 1]),
        ("-price", [1, 3, 5, 2, 4]),
        ("health", [1, 5, 3, 2, 4]),
        ("-health", [3, 5, 1, 2, 4]),
        ("region", [4, 2, 5, 1, 3]),
        ("-region", [1, 2, 5, 4, 3]),
        ("-p05(matmul.bf16)", [1, 2, 3, 4, 5]),
        ("price / health", [3, 5, 1, 2, 4]),
        ("-(price * 2)", [1, 3, 5, 2, 4]),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_order_and_pages(sort: str, expected: list[int], limit: int) -> None:
    """By any number or text, either way; unknown last, equals by node number; pages of any size tell the same story."""
    pages = walked(market(*PRICED), sort=sort, limit=limit)

    assert sum(pages, []) == expected  # noqa: RUF017 - five lists
    assert all(len(one) == limit for one in pages[:-1])


def test_a_page_goes_on_behind_what_was_seen_last() -> None:
    """What came before it or went meanwhile neither repeats nor hides anything."""
    index = market(*PRICED)
    first = page(index, sort="price", limit=3)
    index.changed(PRICED[1], None)  # seen, now gone
    index.changed(None, cpu_node(6, price_uh=0))  # new, before the place
    index.changed(None, cpu_node(7, price_uh=9))  # new, behind it

    second = page(index, sort="price", limit=3, cursor=first.cursor)

    assert [offer.node for offer in first.offers] == [2, 4, 3]
    assert [offer.node for offer in second.offers] == [5, 1, 7]
    assert second.cursor is None


def test_a_page_goes_on_behind_a_text_that_is_gone() -> None:
    """The only node in "eu" moved away; the next page still begins behind "eu"."""
    index = market(PRICED[0], PRICED[1], PRICED[3])
    first = page(index, sort="region", limit=2)
    index.changed(PRICED[1], replace(PRICED[1], region="africa"))

    assert [offer.region for offer in first.offers] == ["asia", "eu"]
    assert numbers(index, sort="region", limit=2, cursor=first.cursor) == [1]


def test_a_page_goes_on_behind_a_text_that_no_node_ever_had() -> None:
    """Between "asia" and "us", whatever the node's number in the cursor: the table of texts may have been renewed."""
    index = market(PRICED[0], PRICED[3])
    mark, kind, _, _ = json.loads(base64.urlsafe_b64decode(f"{page(index, sort='region', limit=1).cursor}=="))

    assert numbers(index, sort="region", cursor=cursor_of([mark, kind, "eu", 99])) == [1]
    assert numbers(index, sort="region", cursor=cursor_of([mark, kind, "zoo", 0])) == []


def cursor_of(parts: object) -> str:
    """A forged cursor."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


MARK = json.loads(base64.urlsafe_b64decode(str(page(market(*PRICED), limit=1).cursor) + "=="))[0]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "AAAA",
        "=" * 9,
        "A" * 5000,
        cursor_of([]),
        cursor_of(["other", "n", "0x1p0", 1]),
        cursor_of([MARK, "n", "nan", 1]),
        cursor_of([MARK, "n", "0x1p99999", 1]),
        cursor_of([MARK, "n", "rubbish", 1]),
        cursor_of([MARK, "n", 1.0, 1]),
        cursor_of([MARK, "t", "text", 1]),
        cursor_of([MARK, "u", "x", 1]),
        cursor_of([MARK, "n", "0x1p0", "1"]),
        base64.urlsafe_b64encode(b"[" * 2000).decode(),
    ],
)
def test_a_forged_or_broken_cursor_is_refused(cursor: str) -> None:
    """With one sentence, and never with another exception."""
    with pytest.raises(CursorError, match="not of this search"):
        page(market(*PRICED), cursor=cursor)


def test_a_huge_node_number_in_a_cursor_does_no_harm() -> None:
    """It stands behind every node there is."""
    assert numbers(market(*PRICED), cursor=cursor_of([MARK, "n", "0x1p0", 10**30])) == [3, 5, 1]


@settings(max_examples=150, deadline=LONGEST_MS)
@given(st.one_of(st.text(max_size=40), st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_any_text_is_a_cursor_or_an_error(cursor: str) -> None:
    """Garbage is an error of its own kind."""
    with pytest.raises(CursorError):
        page(market(*PRICED), cursor=cursor)


def test_a_cursor_belongs_to_its_search() -> None:
    """Another text, another order or other filters: refused."""
    index = market(*PRICED)
    cursor = page(index, text="cpus > 1", sort="price", limit=1).cursor

    for other in (
        {"text": "cpus > 2"},
        {"text": "cpus > 1", "sort": "-price"},
        {"text": "cpus > 1", "default_filters": False},
    ):
        with pytest.raises(CursorError):
            page(index, cursor=cursor, **other)
    assert numbers(index, text="cpus > 1", cursor=cursor, limit=1) == [4]


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_has_one_to_500_offers(limit: int) -> None:
    """Not more, so that no answer grows without bound."""
    with pytest.raises(ValueError, match=f"1 to 500, got {limit}"):
        page(market(), limit=limit)


def test_an_offer_tells_what_is_free_how_good_and_how_old() -> None:
    """One of eight GPUs taken, the named figure an hour old, the report two."""
    node = gpu_node(
        1, reported_ms=NOW_MS - 2 * HOUR_MS, figures={"matmul.bf16": figure("matmul.bf16", 600e12)}, why="a warning"
    )
    index = market(node)
    index.changed(None, attempt(1, 1, gpus=(3,)))

    found = page(index, text="p05(matmul.bf16) > 1 FLOP/s", sort="-memory.triad")
    (offer,) = found.offers

    assert (offer.count, offer.free, offer.cpus_free, offer.price_uh) == (8, 7, 63.0, 20 * USD_UH)
    assert offer.figures["matmul.bf16"].low == 540e12
    assert offer.ages_s == {"matmul.bf16": 3600.0}
    assert (offer.age_s, offer.is_fresh, offer.standing, offer.why) == (7200.0, True, "ready", "a warning")
    assert found.named == ("matmul.bf16", "memory.triad")


def test_a_query_that_finds_nothing_is_explained_among_what_is_not_hidden() -> None:
    """The offline node is cheaper, but no offer."""
    index = market(cpu_node(1, price_uh=2 * USD_UH), cpu_node(2, price_uh=USD_UH, online=False))

    found = page(index, text="price < 1 $/h")

    assert (found.count, found.offers, found.cursor) == (0, (), None)
    assert str(found.explanation) == "price < 1 $/h -> price < 2.01 $/h gives 1 node"
    assert page(index, text="price < 3 $/h").explanation is None
    assert page(index).explanation is None


def test_a_query_that_finds_something_is_explained_on_request() -> None:
    """What else there would be."""
    index = market(cpu_node(1), cpu_node(2, price_uh=2 * USD_UH))

    found = page(index, text="price <= 1 $/h", explain=True)

    assert found.explanation is not None
    assert [str(one) for one in found.explanation.relaxations] == ["price <= 1 $/h -> price <= 2 $/h gives 2 nodes"]


def test_an_error_in_text_or_order_is_raised() -> None:
    """With its place."""
    with pytest.raises(QueryError, match="did you mean price"):
        page(market(), text="prize < 1 $/h")
    with pytest.raises(QueryError, match="did you mean price"):
        page(market(), sort="-prize")


def test_a_node_whose_addition_is_undone_meanwhile_is_left_out() -> None:
    """Between the columns and the rows another thread may take it back."""

    class Undone(Index):
        def nodes_at(self, slots: Any) -> list[MarketNode | None]:
            self.changed(PRICED[0], None)
            return super().nodes_at(slots)

    index = Undone()
    for node in PRICED[:2]:
        index.changed(None, node)

    assert [offer.node for offer in page(index).offers] == [2]
