"""scheduler.market.explain: what each condition rejects, and the smallest change that finds more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.market.query import Explanation, parse
from scheduler.placement.index import Index
from scheduler.records import MarketNode
from tests.scheduler.market.test_parse import LONGEST_MS
from tests.scheduler.nodes import NOW_MS, USD_UH, cpu_node, gpu_node, market


def explained(text: str, *nodes: MarketNode) -> Explanation:
    """Why `text` finds what it finds among `nodes`."""
    return of_index(text, market(*nodes))


def of_index(text: str, index: Index) -> Explanation:
    """Why `text` finds what it finds in `index`."""
    return parse(text, index.fields).explain(index.live, NOW_MS, index.live.truths("held"))


PRICES = tuple(gpu_node(number, price_uh=price) for number, price in enumerate((2_600_000, 2_608_000, 4_000_000), 1))


def test_every_condition_says_what_it_rejects_by_itself() -> None:
    """Of one GPU node and two CPU nodes: all are too dear, two have no GPU, so its model is unknown."""
    found = explained('gpu = "H100 SXM" and price < 0.5 $/h', gpu_node(1), cpu_node(2), cpu_node(3))

    assert [(one.condition, one.nodes, one.unknown) for one in found.rejections] == [
        ('gpu = "H100 SXM"', 2, 2),
        ("price < 0.5 $/h", 3, 0),
    ]
    assert (found.among, found.matches) == (3, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("price < 2.50 $/h", "price < 2.50 $/h -> price < 2.61 $/h gives 2 nodes"),
        ("price <= 2.50 $/h", "price <= 2.50 $/h -> price <= 2.60 $/h gives 1 node"),
        ("2.50 $/h >= price", "2.50 $/h >= price -> 2.60 $/h >= price gives 1 node"),
        ("price > 4 $/h", "price > 4 $/h -> price > 3.99 $/h gives 1 node"),
        ("count >= 16", "count >= 16 -> count >= 8 gives 3 nodes"),
        ("count > 16", "count > 16 -> count > 7 gives 3 nodes"),
        ("count = 16", "count = 16 -> count = 8 gives 3 nodes"),
        ("price / count < 0.2 $/h", "price / count < 0.2 $/h -> price / count < 0.326 $/h gives 1 node"),
        ("p05(matmul.bf16) >= 600 TFLOP/s", "-> p05(matmul.bf16) >= 540 TFLOP/s gives 3 nodes"),
        ('gpu = "H200 SXM"', 'gpu = "H200 SXM" -> gpu = "H100 SXM" gives 3 nodes'),
        ('gpu ~ "A100"', 'without gpu ~ "A100" gives 3 nodes'),
        ("not fresh", "without not fresh gives 3 nodes"),
        ("fresh = false", "without fresh = false gives 3 nodes"),
        ("health > 1 or price < 1 $/h", "without health > 1 or price < 1 $/h gives 3 nodes"),
        ("price < count * 1 $/h * 0.1", "without price < count * 1 $/h * 0.1 gives 3 nodes"),
        ("price > -1 $/h and price < -2 $/h", "without price < -2 $/h gives 3 nodes"),
    ],
)
def test_the_smallest_change_is_named(text: str, said: str) -> None:
    """Three nodes at 2.60, 2.608 and 4 $/h: a bound moves to its own digits or to three that count, and lets one in."""
    assert str(explained(text, *PRICES)).endswith(said)


def test_of_two_changes_the_smaller_comes_first() -> None:
    """One node costs 20 $/h, the other has no GPU: a little money before all the GPUs."""
    found = explained("price < 20 $/h and count >= 4", gpu_node(1), cpu_node(2))

    assert [one.after for one in found.relaxations] == ["price < 20.1 $/h", "count >= 0"]


def test_where_two_must_give_way_it_is_said() -> None:
    """Two nodes fail by price and number, one by all three conditions."""
    nodes = (gpu_node(1), gpu_node(2), cpu_node(3, price_uh=30 * USD_UH, region="asia"))
    found = explained('price < 5 $/h and count >= 16 and region = "eu"', *nodes)

    assert found.relaxations == ()
    assert found.together == ("price < 5 $/h", "count >= 16")
    assert str(found) == (
        "no single change is enough: without price < 5 $/h and count >= 16 together 2 nodes would match"
    )


def test_a_query_that_finds_something_can_still_be_widened() -> None:
    """One node at 2.60 $/h matches, the next one costs 2.608."""
    found = explained("price < 2.605 $/h", *PRICES)

    assert found.matches == 1
    assert str(found.relaxations[0]) == "price < 2.605 $/h -> price < 2.609 $/h gives 2 nodes"


def test_nothing_to_say_where_all_match_or_none_is_there() -> None:
    """No relaxation is made up."""
    assert str(explained("price > 0 $/h", *PRICES)) == "all 3 nodes match"
    assert str(explained("price > 0 $/h")) == "there is no node to ask"


def test_what_is_unknown_cannot_be_reached_by_a_bound() -> None:
    """A node without the figure is let in only by leaving the condition out."""
    found = explained("memlatency.dram < 90 ns", gpu_node(1))

    assert [(one.after, one.matches) for one in found.relaxations] == [(None, 1)]


@settings(max_examples=150, deadline=LONGEST_MS)
@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 2**40)), min_size=1, max_size=6),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.sampled_from(["0.5", "2.50", "7", "1e3"]),
    st.sampled_from(["<", ">="]),
)
def test_a_relaxation_asked_again_finds_what_it_promised(
    nodes: list[tuple[int, int]], sign: str, digits: str, other: str
) -> None:
    """Whatever the figures: the changed query, read from its text, matches just as many nodes as was said."""
    index = market(*(cpu_node(n, price_uh=price, vram_bytes=vram) for n, (price, vram) in enumerate(nodes, start=1)))
    parts = (f"price {sign} {digits} $/h", f"vram {other} {digits} GiB")

    found = of_index(" and ".join(parts), index)

    for relaxation in found.relaxations:
        changed = [relaxation.after if part == relaxation.before else part for part in parts]
        text = " and ".join(part for part in changed if part)
        assert int(np.sum(parse(text, index.fields).mask(index.live, NOW_MS))) == relaxation.matches
        assert relaxation.matches > found.matches
