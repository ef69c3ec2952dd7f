"""scheduler.placement.index and table: columns that follow the book, for its thread and for others."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler.book import Book, Mark
from scheduler.clock import Now
from scheduler.lifecycle import AttemptState, Standing
from scheduler.placement.index import MAX_FIGURES, Index
from scheduler.placement.leftovers import NO_GPU
from scheduler.placement.place import IndexPlacer
from scheduler.placement.table import FIRST_PLACES, Table
from scheduler.records import Capacity, Figure, MarketNode, Resources
from tests.scheduler.nodes import GB, NOW_MS, attempt, cpu_node, figure, figures, gpu_node, job, market

FREE = ("cpu_milli_free", "memory_bytes_free", "disk_bytes_free", "gpus_free", "gpu_milli_free", "gpu_milli_free_most")


def free(index: Index, node: int) -> dict[str, int]:
    """What is left of a node."""
    slot = index.slot_of(node)
    assert slot is not None
    return {name: int(index.live.numbers(name)[slot]) for name in FREE}


def cell(index: Index, node: int, column: str) -> float:
    """One figure of one node."""
    slot = index.slot_of(node)
    assert slot is not None
    return float(index.live.numbers(column)[slot])


def test_a_live_attempt_holds_its_share_and_an_ended_one_nothing() -> None:
    """Two whole GPUs and a share of a third, then each goes."""
    index = market(gpu_node(1))
    untouched = free(index, 1)
    whole = attempt(1, 1, resources=Resources(gpus=2, cpu_milli=4000, memory_bytes=GB, disk_bytes=GB), gpus=(0, 1))
    share = attempt(2, 1, resources=Resources(gpu_milli=300, cpu_milli=0, memory_bytes=0, disk_bytes=0), gpus=(2,))

    index.changed(None, whole)
    index.changed(None, share)

    assert free(index, 1) == {
        "cpu_milli_free": 60_000,
        "memory_bytes_free": 511 * GB,
        "disk_bytes_free": 999 * GB,
        "gpus_free": 5,
        "gpu_milli_free": 5700,
        "gpu_milli_free_most": 1000,
    }
    assert index.gpus_free_at(0) == (0, 0, 700, 1000, 1000, 1000, 1000, 1000)
    running = replace(whole, state=AttemptState.RUNNING)
    index.changed(whole, running)
    index.changed(running, replace(running, state=AttemptState.SUCCEEDED))
    index.changed(share, None)
    assert free(index, 1) == untouched


def test_attempts_may_come_before_their_node() -> None:
    """As they do when an order of tables at start-up wills it."""
    index = Index()
    index.changed(None, attempt(1, 1))

    index.changed(None, cpu_node(1))

    assert free(index, 1)["cpu_milli_free"] == 9000


def test_a_node_that_comes_back_smaller_owes_what_its_attempts_hold() -> None:
    """Less than nothing is free, and GPUs it no longer has are nobody's."""
    index = market(gpu_node(1))
    held = attempt(1, 1, resources=Resources(gpus=8, cpu_milli=64_000), gpus=tuple(range(8)))
    index.changed(None, held)
    smaller = replace(gpu_node(1), capacity=Capacity(gpu_milli=(1000,) * 4, cpu_milli=32_000))

    index.changed(gpu_node(1), smaller)

    assert free(index, 1)["cpu_milli_free"] == -32_000
    assert index.gpus_free_at(0) == (0, 0, 0, 0)
    index.changed(held, None)
    assert free(index, 1)["gpus_free"] == 4


def test_a_figure_that_is_gone_is_unknown_again() -> None:
    """With its interval and its age."""
    index = market(cpu_node(1))
    index.changed(cpu_node(1), cpu_node(1, figures=figures({"memory.triad": 1e9})))

    for column in ("matmul.bf16", "matmul.bf16/low", "matmul.bf16/high", "matmul.bf16/at_ms"):
        assert np.isnan(cell(index, 1, column))
    assert cell(index, 1, "memory.triad/low") == pytest.approx(0.9e9)


def test_a_figure_in_another_unit_than_the_first_does_not_count() -> None:
    """Columns hold one unit; what came first is right."""
    index = market(cpu_node(1, figures={"disk.read": Figure(value=5.0, low=4.0, high=6.0, n=1, at_ms=1, unit="B/s")}))

    index.changed(
        None, cpu_node(2, figures={"disk.read": Figure(value=5.0, low=4.0, high=6.0, n=1, at_ms=1, unit="IO/s")})
    )

    assert cell(index, 1, "disk.read") == 5.0
    assert np.isnan(cell(index, 2, "disk.read"))


def test_figures_beyond_what_any_benchmark_names_get_no_column() -> None:
    """A report with a thousand made-up names does not fill the memory, and those before it stay."""
    index = market(cpu_node(1, figures={"memory.triad": figure("memory.triad", 1e9)}))
    one = figure("memory.triad", 1e9)

    index.changed(None, cpu_node(2, figures={f"peerlink.{n}-{n}": one for n in range(MAX_FIGURES)}))

    made_up = [field.name for field in index.fields if field.name.startswith("peerlink.") and "-" in field.name]
    assert len(made_up) == MAX_FIGURES - 1
    assert cell(index, 1, "memory.triad") == 1e9


def test_fields_are_replaced_when_something_new_can_be_asked_and_only_then() -> None:
    """A new figure, profile or executor; not a new value."""
    index = market(cpu_node(1))
    fields = index.fields

    index.changed(cpu_node(1), cpu_node(1, price_uh=5, figures=figures({"matmul.bf16": 1.0})))
    assert index.fields is fields
    index.changed(None, cpu_node(2, figures={"peerlink.0-1": Figure(value=1, low=1, high=1, n=1, at_ms=1, unit="B/s")}))
    assert index.fields is not fields
    assert "peerlink.0-1" in index.fields
    index.changed(None, cpu_node(3, capability={"rendering": 5.0}, executors=("firecracker",)))
    assert {"capability.rendering", "executor.firecracker"} <= {field.name for field in index.fields}


def test_a_place_that_was_given_up_is_used_again_and_remembers_nothing() -> None:
    """An addition that is undone leaves no trace for the next node in its place."""
    index = market(cpu_node(1))
    index.changed(None, gpu_node(2, region="mars", capability={"general": 7.0}))
    index.changed(gpu_node(2), None)

    assert not index.live.truths("held")[1]
    bare = cpu_node(3, figures={}, capability={}, region="", executors=(), health=None)
    index.changed(None, bare)
    assert index.slot_of(3) == 1
    assert index.nodes_at([1]) == [bare]
    assert np.isnan([cell(index, 3, name) for name in ("matmul.bf16", "capability.general", "health")]).all()
    assert index.live.texts("region").codes[1] == 0
    assert not index.live.truths("executor.container")[1]


def test_columns_grow_with_the_nodes() -> None:
    """Past two doublings, figures of the first included."""
    count = 4 * FIRST_PLACES + 1
    index = market(*(cpu_node(number, price_uh=number) for number in range(1, count + 1)))

    assert index.live.size == count
    assert index.live.numbers("price_uh").tolist() == list(range(1, count + 1))
    assert np.all(index.live.numbers("matmul.bf16") == 2e12)


def test_a_change_is_stamped_on_its_node_only() -> None:
    """What was ranked once need be ranked again only where the stamp is younger."""
    index = market(cpu_node(1), cpu_node(2))
    before = index.version
    stamps = index.live.numbers("changed").copy()

    index.changed(None, attempt(1, 2))

    assert index.live.numbers("changed")[0] == stamps[0]
    assert index.live.numbers("changed")[1] > before
    assert index.version >= index.live.numbers("changed")[1]
    same = index.version
    index.changed(cpu_node(1), replace(cpu_node(1), boot_id="of no interest here"))
    assert index.version == same


def test_a_snapshot_does_not_change_and_costs_nothing_twice() -> None:
    """The copy is shared until its column changes."""
    index = market(cpu_node(1, price_uh=5))
    first = index.snapshot(["price_uh", "region"])
    again = index.snapshot(["price_uh"])

    index.changed(cpu_node(1, price_uh=5), cpu_node(1, price_uh=6))

    assert first.numbers("price_uh") is again.numbers("price_uh")
    assert first.numbers("price_uh").tolist() == [5]
    assert index.snapshot(["price_uh"]).numbers("price_uh").tolist() == [6]
    assert index.snapshot(["region"]).texts("region").codes is first.texts("region").codes
    with pytest.raises(ValueError, match="read-only"):
        first.numbers("price_uh")[0] = 7


def test_a_column_nobody_has_is_unknown_or_false() -> None:
    """In a snapshot as in the columns themselves."""
    index = market(cpu_node(1))

    for columns in (index.live, index.snapshot(["nothing", "executor.none"])):
        assert np.isnan(columns.numbers("nothing")).tolist() == [True]
        assert columns.truths("executor.none").tolist() == [False]


def test_texts_that_nobody_holds_any_more_are_forgotten() -> None:
    """A node renamed for ever does not fill the memory; an old snapshot keeps what it had."""
    table = Table()
    table.add_text_column("name")
    table.grow(1)
    table.set_text("name", 0, "first")
    old = table.snapshot(["name"]).texts("name")

    for number in range(10 * FIRST_PLACES):
        table.set_text("name", 0, f"name {number}")

    texts = table.snapshot(["name"]).texts("name")
    assert len(texts.values) <= 3 * FIRST_PLACES + 2
    assert texts.values[texts.codes[0]] == f"name {10 * FIRST_PLACES - 1}"
    assert old.values[old.codes[0]] == "first"


def test_states_of_gpus_that_no_node_is_in_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shares come and go; what is told of the nodes stays right, and placement notices."""
    monkeypatch.setattr("scheduler.placement.free.MOST_STATES", 8)
    index = market(gpu_node(1, shares_gpus=True), gpu_node(2, shares_gpus=True))
    placer = IndexPlacer(index)
    spec = job(image="x", policy="pack", resources={"gpu_milli": 7})
    index.demand.note(spec, NOW_MS)

    for milli in range(1, 100):
        share = attempt(milli, 1 + milli % 2, resources=Resources(gpu_milli=milli), gpus=(milli % 8,))
        index.changed(None, share)
        now = Now(mono_ms=0, unix_ms=NOW_MS)
        assert placer.place(spec, frozenset(), now) == IndexPlacer(index).place(spec, frozenset(), now)
        index.changed(share, None)

    assert len(index.leftovers) <= 8 + 2 * 2 + 3
    for slot in (0, 1):
        assert index.leftovers.milli[index.live.integers("leftover")[slot]].tolist() == [1000] * 8


def test_other_threads_never_see_half_a_change() -> None:
    """A node's GPUs are all taken or all free, whoever looks."""
    index = market(gpu_node(1))
    taken = attempt(1, 1, resources=Resources(gpus=8, cpu_milli=64_000), gpus=tuple(range(8)))
    halves: list[tuple[int, int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen = index.snapshot(["gpus_free", "cpu_milli_free"])
            pair = int(seen.numbers("gpus_free")[0]), int(seen.numbers("cpu_milli_free")[0])
            if pair not in ((8, 64_000), (0, 0)):
                halves.append(pair)

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(300):
        index.changed(None, taken)
        index.changed(taken, None)
    done.set()
    looker.join()

    assert halves == []


def rebuilt(book: Book) -> Index:
    """An index of the rows as they stand."""
    index = Index()
    for row in (*book.attempts.values(), *book.nodes.values()):
        index.changed(None, row)
    return index


def check_alike(index: Index, fresh: Index, nodes: Iterable[int]) -> None:
    """That both say the same of these nodes, wherever each of them has them."""
    ours, theirs = index.live, fresh.live
    for number in nodes:
        here, there = index.slot_of(number), fresh.slot_of(number)
        assert here is not None
        assert there is not None
        assert index.gpus_free_at(here) == fresh.gpus_free_at(there)
        assert index.nodes_at([here]) == fresh.nodes_at([there])
        free = sorted(max(milli, 0) for milli in index.gpus_free_at(here))
        left = index.leftovers.milli[ours.integers("leftover")[here]]
        assert left[left != NO_GPU].tolist() == free
        for name in set(ours.table.names) - {"changed", "leftover"}:
            if name in ("name", "model", "gpu", "kind", "region", "state"):
                mine, other = ours.texts(name), theirs.texts(name)
                assert mine.values[mine.codes[here]] == other.values[other.codes[there]]
            elif name in theirs.table or name not in ours.table:
                assert np.array_equal(ours.numbers(name)[here], theirs.numbers(name)[there], equal_nan=True), name
            else:
                assert not np.nan_to_num(ours.numbers(name)[here]), name


def test_nodes_taken_in_at_once_are_as_those_that_came_one_by_one() -> None:
    """Every column, the numbers of GPUs' states, and that each of them has just changed."""
    odd_unit = Figure(value=5.0, low=4.0, high=6.0, n=1, at_ms=1, unit="IO/s")
    unsure = Figure(value=5.0, low=None, high=None, n=1, at_ms=1, unit="B/s")
    nodes = [
        gpu_node(7),
        cpu_node(2, figures={"disk.read": unsure}, health=None, region="mars"),
        cpu_node(5, figures={"disk.read": odd_unit}, executors=("process", "docker")),
        gpu_node(3, online=False, capability={"hpc-fp64": 3.0}, figures={}),
        *(cpu_node(number) for number in range(100, 100 + FIRST_PLACES)),
    ]
    one_by_one = market(*nodes)
    index = Index()

    index.load(nodes)

    check_alike(index, one_by_one, [node.id for node in nodes])
    assert sorted(index.live.table.names) == sorted(one_by_one.live.table.names)
    assert index.terms_trail.since(0) == [*range(len(nodes))]
    assert set(index.live.integers("changed").tolist()) == {index.version}
    index.changed(nodes[1], replace(nodes[1], figures={}))
    assert np.isnan(cell(index, 2, "disk.read"))


class Following(RuleBasedStateMachine):
    """A book that changes, is committed and undone; its index must always be what a fresh one would be."""

    @initialize()
    def begin(self) -> None:
        self.index = Index()
        self.book = Book([self.index])
        self.marks: list[Mark] = []

    @rule(node=st.sampled_from([gpu_node, cpu_node]))
    def enrol(self, node: Any) -> None:
        self.book.add(node(self.book.number("node")))

    @precondition(lambda self: self.book.nodes)
    @rule(
        data=st.data(),
        change=st.sampled_from(
            [
                {"online": False},
                {"standing": Standing.QUARANTINED},
                {"capacity": Capacity(gpu_milli=(1000,) * 2, cpu_milli=1000)},
                {"figures": {"memory.triad": figure("memory.triad", 5.0, spread=0.0)}, "reported_ms": NOW_MS},
                {"figures": {}, "health": None, "capability": {"hpc-fp64": 3.0}},
                {"region": "mars", "executors": ("process",), "price_uh": 7},
            ]
        ),
    )
    def change(self, data: Any, change: dict[str, Any]) -> None:
        node: MarketNode = data.draw(st.sampled_from(list(self.book.nodes.values())))
        self.book.change(node, **change)

    @precondition(lambda self: self.book.nodes)
    @rule(data=st.data(), gpus=st.sampled_from([(), (0,), (0, 1)]), milli=st.sampled_from([0, 250]))
    def place(self, data: Any, gpus: tuple[int, ...], milli: int) -> None:
        node = data.draw(st.sampled_from(list(self.book.nodes)))
        share = milli if len(gpus) == 1 else 0
        resources = Resources(gpus=0 if share else len(gpus), gpu_milli=share)
        self.book.add(attempt(self.book.number("token"), node, resources=resources, gpus=gpus))

    @precondition(lambda self: self.book.attempts)
    @rule(data=st.data(), state=st.sampled_from([AttemptState.RUNNING, AttemptState.LOST, AttemptState.SUCCEEDED]))
    def end(self, data: Any, state: AttemptState) -> None:
        held = data.draw(st.sampled_from(list(self.book.attempts.values())))
        self.book.change(held, state=state)

    @rule()
    def mark(self) -> None:
        self.marks.append(self.book.mark())

    @rule()
    def commit(self) -> None:
        self.book.committed()
        self.marks.clear()

    @rule()
    def undo(self) -> None:
        self.book.undo(self.marks.pop() if self.marks else None)

    @invariant()
    def is_what_a_fresh_index_would_be(self) -> None:
        check_alike(self.index, rebuilt(self.book), self.book.nodes)
        assert int(self.index.live.truths("held").sum()) == len(self.book.nodes)


Following.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestFollowing = Following.TestCase
