"""scheduler.market.query: what is found, what can be compared, and what is unknown."""

from __future__ import annotations

import re
from dataclasses import fields as members
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.lifecycle import Standing
from scheduler.market.columns import Numbers
from scheduler.market.errors import QueryError
from scheduler.market.fields import Fields
from scheduler.market.parse import MAX_DEPTH
from scheduler.market.query import parse, parse_sorting
from scheduler.market.syntax import Expression, show, walk
from scheduler.placement.table import Snapshot
from scheduler.records import Capacity, MarketNode
from tests.scheduler.market.row_by_row import ask
from tests.scheduler.market.test_parse import LONGEST_MS
from tests.scheduler.market.trees import conditions, trees
from tests.scheduler.nodes import GB, HOUR_MS, NOW_MS, USD_UH, cpu_node, figure, figures, gpu_node, known_fields, market

FIELDS = known_fields()


def found(text: str, *nodes: MarketNode) -> list[int]:
    """The numbers of the nodes that match."""
    index = market(*nodes)
    query = parse(text, index.fields)
    mask = query.mask(index.snapshot(query.columns), NOW_MS)
    return [node.id for node, matches in zip(nodes, mask, strict=True) if matches]


def test_the_design_s_example_finds_its_node() -> None:
    """GPUs by name and number, a pessimistic figure, its age, and money."""
    text = (
        'gpu = "H100 SXM" and count >= 8 and p05(matmul.bf16) >= 540 TFLOP/s and age(memory.triad) < 6h '
        "and price < 20.01 $/h"
    )

    assert found(text, gpu_node(1), cpu_node(2), gpu_node(3, price_uh=21 * USD_UH)) == [1]


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("price = 2.50 $/h", True),
        ("price <= 2.50 $/h", True),
        ("price < 2.50 $/h", False),
        ("price * 2h = 5 $", True),
        ("price / cpus < 0.26 $/h", True),
        ("cpus = 10", True),
        ("memory = 100 GB", True),
        ("memory >= 93.2 GiB", False),
        ("memory / cpus = 10 GB", True),
        ("health >= 90 %", True),
        ("matmul.bf16 = 2 TFLOP/s", True),
        ("p05(matmul.bf16) = 1.8 TFLOP/s", True),
        ("p95(matmul.bf16) > 2.19 TFLOP/s", True),
        ("p05(memlatency.dram) > 109 ns", True),
        ("p95(memlatency.dram) < 91 ns", True),
        ("age(matmul.bf16) = 60 min", True),
        ("age(health) <= 1h", True),
        ("capability.general > 9.9", True),
        ('model ~ "epyc"', True),
        ('model = "amd epyc 9354"', True),
        ('model = "AMD EPYC"', False),
        ('region in ("eu", "US")', True),
        ("region not in ('eu')", True),
        ('kind != "cuda"', True),
        ("count = 0", True),
        ("fresh and executor.process and not draining", True),
        ("fresh = false", False),
        ("(price < 1 $/h) = false", True),
        ("-price < -2.49 $/h", True),
        ("1 < 2 and 'us' = region", True),
    ],
)
def test_figures_and_units_mean_what_they_say(text: str, matches: bool) -> None:
    """A node of ten CPUs and 100 GB at 2.50 $/h, with figures known to a tenth."""
    assert found(text, cpu_node(1, price_uh=2_500_000)) == [1] * matches


@pytest.mark.parametrize(
    "text",
    [
        "network.udp_loss < 1 %",
        "not network.udp_loss < 1 %",
        "network.udp_loss != 0",
        "p05(matmul.bf16) > 0 FLOP/s",
        "not p05(matmul.bf16) > 0 FLOP/s",
        'gpu = "H100 SXM"',
        'gpu != "H100 SXM"',
        'not gpu ~ "H100"',
        'region not in ("eu")',
        "price / count > 0 $/h",
        "not (price / count > 0 $/h)",
        "age(network.udp_loss) > 0 s",
        "(health > 0) = (health > 0)",
    ],
)
def test_what_is_unknown_never_matches(text: str) -> None:
    """Neither a condition nor its opposite holds of a figure that was not measured, a text that is not there, x / 0."""
    assert (
        found(text, cpu_node(1, region="", health=None, figures={"matmul.bf16": figure("matmul.bf16", 1e12, spread=0)}))
        == []
    )


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("network.udp_loss > 0 or price > 0 $/h", True),
        ("not (network.udp_loss > 0 and price < 0 $/h)", True),
        ("network.udp_loss > 0 or price < 0 $/h", False),
        ("not (network.udp_loss > 0 or price < 0 $/h)", False),
    ],
)
def test_what_is_unknown_does_not_hide_what_is_known(text: str, matches: bool) -> None:
    """Kleene's logic: unknown or true is true, unknown and false is false."""
    assert found(text, cpu_node(1)) == [1] * matches


def test_the_pessimistic_end_of_a_loss_is_the_high_one() -> None:
    """A loss of 2 % that is known to a tenth: 2.2 % at worst, 1.8 % at best."""
    lossy = cpu_node(1, figures={"network.udp_loss": figure("network.udp_loss", 0.02)})

    assert found("p05(network.udp_loss) > 2.1 % and p95(network.udp_loss) < 1.9 %", lossy) == [1]


def test_a_node_that_was_never_measured_is_not_fresh() -> None:
    """That is known of it; two days are fresh, a millisecond more is not."""
    nodes = (
        cpu_node(1, reported_ms=None),
        cpu_node(2, reported_ms=NOW_MS - 48 * HOUR_MS),
        cpu_node(3, reported_ms=NOW_MS - 48 * HOUR_MS - 1),
    )

    assert found("fresh", *nodes) == [2]
    assert found("not fresh", *nodes) == [1, 3]


def test_the_state_is_the_word_people_see() -> None:
    """Offline and draining hide what a node is otherwise."""
    nodes = (cpu_node(1, online=False), cpu_node(2, draining=True), cpu_node(3, standing=Standing.QUARANTINED))

    assert [found(f'state = "{word}"', *nodes) for word in ("offline", "draining", "quarantined", "ready")] == [
        [1],
        [2],
        [3],
        [],
    ]


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("cuont >= 8", 0, "unknown field 'cuont' (character 1); did you mean count?"),
        ("fresh and matmul.bf61 > 1", 10, "did you mean matmul.bf16?"),
        ("bf16 > 1 TFLOP/s", 0, "did you mean matmul.bf16?"),
        ("zzzzzz > 1", 0, "unknown field 'zzzzzz' (character 1)"),
        ("matmul.bf16 > 600 TFLOPS", 17, "unknown unit 'TFLOPS' (character 18); did you mean TFLOP/s?"),
        ("memory > 5 s", 7, "memory is bytes, 5 s is a time: they cannot be compared"),
        (
            "price < 2.5",
            6,
            "2.5 is a pure number: they cannot be compared (character 7); did you mean 2.5 $/h?",
        ),
        ("memory + 5 s > 1 GB", 7, "they cannot be added"),
        ("matmul.int8 > 1 TFLOP/s", 12, "matmul.int8 is integer operations per time"),
        ("count", 0, "wanted a condition such as count >= 1, found count, which is a number"),
        ("not count", 4, "wanted a condition"),
        ("fresh + 1 > 2", 0, "wanted a number, found fresh, which is a condition"),
        ("region < 'eu'", 7, "a text is compared by = or !=, not by <"),
        ("region = 5", 7, "region is a text, 5 a number"),
        ("region = model", 7, "a field is compared with a text in quotes"),
        ("count ~ 'x'", 6, "~ looks for a text in a text"),
        ("'x' ~ region", 4, "stands on the right"),
        ("p05(price) > 1 $/h", 4, "price has no interval"),
        ("p05(count + 1) > 1", 10, "p05 is asked of a figure such as matmul.bf16, not of count + 1"),
        ("age(price) > 1 s", 4, "price is not measured, so it has no age"),
        ("p50(matmul.bf16) > 1", 0, "unknown function 'p50'; there are p05, p95, age"),
        ("price > 1e999 $/h", 8, "1e999 $/h is beyond what a number can be"),
        ("price > 1e99999999999 $/h", 8, "is beyond what a number can be"),
        ("count in (1, 2 GB)", 6, "they cannot be compared"),
    ],
)
def test_nonsense_is_refused_with_its_place_and_what_was_meant(text: str, position: int, said: str) -> None:
    """Before any node is asked."""
    with pytest.raises(QueryError, match=re.escape(said)) as caught:
        parse(text, FIELDS)

    assert caught.value.position == position


def test_a_figure_nobody_has_yet_can_be_asked_for_in_any_unit() -> None:
    """Benchmarks bring the names, the first node that was measured brings the unit."""
    fields = Fields(figures={})

    assert parse("stress.sustained > 1 TFLOP/s", fields)
    assert parse("stress.sustained * 2 > 1 B and stress.sustained + 1 s < 2 s", fields)
    with pytest.raises(QueryError, match="cannot be compared"):
        parse("stress.sustained > 1 B", Fields(figures={"stress.sustained": "FLOP/s"}))


@pytest.mark.parametrize("text", ["fresh", "'eu'", "count > 1", "-fresh", "-'eu'"])
def test_sorting_wants_a_number_or_a_text_field(text: str) -> None:
    """A condition has no order."""
    with pytest.raises(QueryError, match="to sort by"):
        parse_sorting(text, FIELDS)


_nodes = st.builds(
    replace,
    st.sampled_from([gpu_node(1), cpu_node(1)]),
    price_uh=st.sampled_from([0, 2_500_000, 20_000_000]),
    health=st.sampled_from([None, 0.5, 1.0, 1.5]),
    region=st.sampled_from(["", "eu", "US"]),
    capability=st.sampled_from([{}, {"general": 8.0}]),
    standing=st.sampled_from(list(Standing)),
    online=st.booleans(),
    draining=st.booleans(),
    shares_gpus=st.booleans(),
    executors=st.sampled_from([(), ("container",), ("process", "container")]),
    reported_ms=st.sampled_from([None, NOW_MS, NOW_MS - 49 * HOUR_MS]),
    capacity=st.sampled_from(
        [Capacity(), Capacity(cpu_milli=1500, memory_bytes=80 * GB), Capacity(gpu_milli=(1000,) * 8, cpu_milli=8000)]
    ),
    figures=st.dictionaries(
        st.sampled_from(["matmul.bf16", "memlatency.dram", "network.udp_loss"]),
        st.sampled_from([1, 2]),
        max_size=3,
    ).map(
        lambda chosen: {
            "matmul.bf16": figure("matmul.bf16", 600e12 * chosen.get("matmul.bf16", 1), spread=0.1),
            **figures({key: 100e-9 * times for key, times in chosen.items() if key == "memlatency.dram"}),
            **{
                key: figure(key, 0.5 * times, spread=0.0, age_ms=0)
                for key, times in chosen.items()
                if key == "network.udp_loss"
            },
        }
    ),
)


@settings(max_examples=200, deadline=LONGEST_MS)
@given(conditions, st.lists(_nodes, min_size=1, max_size=6))
def test_masks_agree_with_asking_row_by_row(tree: Expression, nodes: list[MarketNode]) -> None:
    """The vectorised answer is that of a plain interpreter that knows nothing of numpy or columns."""
    numbered = [replace(node, id=number) for number, node in enumerate(nodes, start=1)]
    index = market(*numbered)
    query = parse(show(tree), known_fields())

    mask = query.mask(index.snapshot(query.columns), NOW_MS)

    assert mask.tolist() == [ask(query.tree, node, NOW_MS) is True for node in numbered]


@settings(max_examples=200, deadline=LONGEST_MS)
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(_nodes, min_size=1, max_size=6), st.integers(0, 63))
def test_asking_ever_fewer_finds_what_asking_all_does(
    parts: list[Expression], nodes: list[MarketNode], base: int
) -> None:
    """Whatever the conditions leave, one after another, and whichever nodes are asked at all."""
    index = market(*[replace(node, id=number) for number, node in enumerate(nodes, start=1)])
    query = parse(" and ".join(f"({show(part)})" for part in parts), known_fields())
    columns = index.snapshot(query.columns)
    asked = np.array([bool(base >> place & 1) for place in range(len(nodes))])

    assert query.among(columns, asked, NOW_MS).tolist() == np.flatnonzero(asked & query.mask(columns, NOW_MS)).tolist()


@settings(max_examples=100, deadline=LONGEST_MS)
@given(
    st.lists(conditions, min_size=1, max_size=4),
    st.lists(_nodes, min_size=2, max_size=2),
    st.lists(st.tuples(_nodes, st.integers(0, 50 * HOUR_MS)), max_size=3),
)
def test_asking_again_finds_what_asking_first_does(
    parts: list[Expression], nodes: list[MarketNode], changes: list[tuple[MarketNode, int]]
) -> None:
    """However often, whatever changes in between, and as time goes on."""
    first, second = (replace(node, id=number) for number, node in enumerate(nodes, start=1))
    index, fields = market(first, second), known_fields()
    query = parse(" and ".join(f"({show(part)})" for part in parts), fields)
    for node, later_ms in [(first, 0), *changes]:
        changed = replace(node, id=1)
        index.changed(first, changed)
        first = changed
        expected = [ask(query.tree, row, NOW_MS + later_ms) is True for row in (first, second)]
        for _ in range(3):
            columns = index.snapshot(query.columns)
            among = query.among(columns, np.ones(2, dtype=np.bool_), NOW_MS + later_ms)
            assert among.tolist() == np.flatnonzero(expected).tolist()


def test_conditions_are_not_worked_out_again_while_their_columns_stay() -> None:
    """From the third time on; a column that changes takes its own condition with it, and no other."""
    index, fields = market(gpu_node(1), gpu_node(2)), known_fields()
    query = parse("count >= 8 and price < 100 $/h and age(matmul.bf16) < 6h", fields)
    measured, price = "matmul.bf16/at_ms", "price_uh"
    asked: list[list[str]] = []

    class Noting(Snapshot):
        """Columns that note which of them are asked for."""

        def numbers(self, column: str) -> Numbers:
            asked[-1].append(column)
            return super().numbers(column)

    def columns_asked() -> set[str]:
        asked.append([])
        seen = index.snapshot(query.columns)
        query.among(Noting(*(getattr(seen, one.name) for one in members(seen))), np.ones(2, dtype=np.bool_), NOW_MS)
        return set(asked[-1])

    every = columns_asked()
    again = [columns_asked(), columns_asked()]
    index.changed(gpu_node(2), gpu_node(2, price_uh=3))
    changed = [columns_asked() for _ in range(3)]

    assert every == {measured, price, "gpus"}
    assert again == [every, {measured}]
    assert changed == [{measured, price}, {measured, price}, {measured}]


@settings(max_examples=150, deadline=LONGEST_MS)
@given(trees)
def test_any_tree_is_a_query_or_an_error(tree: Expression) -> None:
    """The check refuses what cannot be evaluated; what it lets pass can be."""
    if max(depth for _, depth in walk(tree)) > MAX_DEPTH:
        return
    index = market(gpu_node(1), cpu_node(2))
    try:
        query = parse(show(tree), index.fields)
    except QueryError:
        return
    assert query.mask(index.live, NOW_MS).shape == (2,)


def test_snapshots_hold_all_that_a_query_needs() -> None:
    """A column left out would read as unknown everywhere; everything a query can do is asked of a snapshot here."""
    text = "fresh and p05(matmul.bf16) > 1 FLOP/s and age(memory.triad) >= 1h and age(health) < 2h and executor.process"
    index = market(cpu_node(1))
    query = parse(text, index.fields)

    assert query.mask(index.snapshot(query.columns), NOW_MS).tolist() == [True]
    assert np.array_equal(query.mask(index.live, NOW_MS), query.mask(index.snapshot(query.columns), NOW_MS))
