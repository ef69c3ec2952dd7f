"""scheduler.placement.replica: a copy of the index that is told what changed answers every query as the index does."""

from __future__ import annotations

import pickle
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis.stateful import initialize, invariant, rule

from scheduler.lifecycle import AttemptState
from scheduler.market.fields import FIXED
from scheduler.market.offers import search
from scheduler.placement.free import Free
from scheduler.placement.index import Index
from scheduler.placement.replica import TOLD, Changes, Replica, Source
from scheduler.records import Capacity, Figure, MarketNode, Resources
from server import offers
from server.offers import Asked
from tests.scheduler.nodes import GB, NOW_MS, attempt, cpu_node, figure, gpu_node, market
from tests.scheduler.placement.test_index import Following

QUERIES = (
    "",
    "count >= 2 and free < count",
    "cpus_free < cpus or memory_free < memory or disk_free < 1 GB",
    'region = "mars" or executor.process',
    "memory.triad >= 1 B/s and age(memory.triad) < 24h",
    "capability.hpc-fp64 > 1 and draining = false",
    'state != "ready"',
)


def sent(changes: Changes | None) -> Changes | None:
    """As they come out of a socket."""
    found: Changes | None = pickle.loads(pickle.dumps(changes))  # noqa: S301 - written one line before
    return found


def copied(index: Index, source: Source) -> Replica:
    """A copy that begins with the rows as they are, as a database has them."""
    replica = Replica(source.names(), [node for node in index.nodes_at(range(index.live.size)) if node is not None])
    replica.apply(sent(source.all_free()))  # type: ignore[arg-type]  # there is something to be told
    return replica


def told(replica: Replica, source: Source) -> None:
    """The copy hears what there is to be told."""
    if (changes := sent(source.take())) is not None:
        replica.apply(changes)


def pages(index: Index) -> list[bytes]:
    """What is found by all sorts of queries, as it is sent to people."""
    asked = [
        Asked(text=text, sort=sort, limit=50, cursor=None, explain=True)
        for text in QUERIES
        for sort in ("price", "-cpus_free", "price / count")
    ]
    return [offers.find(index, one, NOW_MS) for one in asked]


class Copying(Following):
    """The same book; somebody follows its index and tells a copy, now and then."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.source = Source(self.index)
        self.index.know(market(gpu_node(1), cpu_node(2)).names)  # what the queries name
        self.replica = copied(self.index, self.source)

    @rule()
    def tell(self) -> None:
        told(self.replica, self.source)

    @rule()
    def gather(self) -> None:
        self.source.gather()

    @rule()
    def begin_anew(self) -> None:
        """Another copy, of the rows as they stand, takes the place of the first."""
        self.source.close()
        self.source = Source(self.index)
        self.replica = copied(self.index, self.source)

    @rule()
    def compare(self) -> None:
        told(self.replica, self.source)

        assert pages(self.replica.index) == pages(self.index)

    @invariant()
    def is_what_a_fresh_index_would_be(self) -> None:
        """Told in test_index; here it would take most of the time."""

    def teardown(self) -> None:
        if hasattr(self, "source"):
            self.compare()


Copying.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCopying = Copying.TestCase


def test_every_free_column_that_a_query_may_name_is_told() -> None:
    """One that is added to the fields would be full for ever in a copy that nobody tells of it."""
    named = {field.column for field in FIXED.values()}

    assert named & set(Free._fields) <= set(TOLD)


def test_only_the_newest_state_of_a_node_is_told_and_once() -> None:
    """A hundred attempts come and go on one of two nodes; of the other nothing is told."""
    index = market(cpu_node(1), cpu_node(2))
    source = Source(index)
    for token in range(1, 101):
        index.changed(None, attempt(token, 2))
        if token > 1:
            index.changed(attempt(token - 1, 2), replace(attempt(token - 1, 2), state=AttemptState.SUCCEEDED))
    source.gather()

    assert len(source) == 1
    changes = source.take()
    assert changes is not None
    assert (changes.rows, changes.gone) == ((), ())
    assert changes.nodes == (2).to_bytes(8, sys.byteorder)
    assert (len(source), source.take()) == (0, None)


def test_a_node_whose_addition_was_undone_leaves_the_copy() -> None:
    """And its place is taken by the next, with nothing left of the first."""
    index = market(cpu_node(1))
    source = Source(index)
    replica = copied(index, source)
    index.changed(None, cpu_node(2))
    index.changed(None, attempt(1, 2))
    told(replica, source)
    index.changed(attempt(1, 2), None)
    index.changed(cpu_node(2), None)
    told(replica, source)
    assert pages(replica.index) == pages(index)

    index.changed(None, gpu_node(3))
    told(replica, source)

    assert pages(replica.index) == pages(index)


def test_a_smaller_node_keeps_what_its_attempts_hold() -> None:
    """A new row begins with everything free; what is free is told with it."""
    before = gpu_node(1)
    index = market(before)
    index.changed(None, attempt(1, 1, resources=Resources(gpus=2, memory_bytes=GB), gpus=(0, 1)))
    source = Source(index)
    replica = copied(index, source)

    index.changed(before, replace(before, capacity=Capacity(gpu_milli=(1000,) * 3, cpu_milli=9000, memory_bytes=GB)))
    told(replica, source)

    assert pages(replica.index) == pages(index)
    (found,) = search(replica.index, now_ms=NOW_MS, default_filters=False).offers
    assert (found.count, found.free, found.memory_free_bytes) == (3, 1, 0)


def test_a_figure_has_the_unit_the_index_met_first() -> None:
    """Whatever the order in which the copy gets to know the nodes, and though the first one's figure is gone."""
    odd = Figure(value=1.0, low=None, high=None, n=1, at_ms=NOW_MS, unit="B/s")
    even = replace(odd, value=2.0, unit="FLOP/s")
    first = cpu_node(2, figures={"made.up": odd})
    index = market(first, cpu_node(1, figures={"made.up": even}))
    index.changed(first, replace(first, figures={}))
    source = Source(index)

    replica = copied(index, source)

    asked = Asked(text="made.up > 1 MB/s", sort="price", limit=9, cursor=None, explain=True)
    assert replica.index.fields["made.up"].unit == index.fields["made.up"].unit == "GB/s"
    assert offers.find(replica.index, asked, NOW_MS) == offers.find(index, asked, NOW_MS)


def test_a_new_figure_is_known_with_the_row_that_brings_it() -> None:
    """A query that names it is understood as soon as the index understands it."""
    before = cpu_node(1)
    index = market(before)
    source = Source(index)
    replica = copied(index, source)
    brought = {**before.figures, "made.up": Figure(value=3e9, low=None, high=None, n=1, at_ms=NOW_MS, unit="B/s")}

    index.changed(before, replace(before, figures=brought))
    told(replica, source)

    found = search(replica.index, text="made.up > 2 GB/s", now_ms=NOW_MS)
    assert [offer.node for offer in found.offers] == [1]


@pytest.mark.parametrize("is_row", [False, True])
def test_who_follows_no_more_is_told_nothing(*, is_row: bool) -> None:
    """And whoever followed anew meanwhile goes on following."""
    node = cpu_node(1)
    index = market(node)
    old, new = Source(index), Source(index)
    old.close()
    index.changed(*((node, replace(node, region="mars")) if is_row else (None, attempt(1, 1))))
    assert (len(old), len(new)) == (0, 1)

    new.close()
    index.changed(None, attempt(2, 1))

    assert len(new) == 1


def test_changes_are_told_while_another_thread_makes_them() -> None:
    """The reader never waits and misses nothing: when the writer is done the copy is as the index is."""
    node_list: list[MarketNode] = [cpu_node(number) for number in range(1, 21)]
    index = market(*node_list)
    source = Source(index)
    replica = copied(index, source)

    def write() -> None:
        for token in range(1, 2001):
            index.changed(None, attempt(token, token % 20 + 1))
            if token % 50 == 0:
                at = token // 50 % 20
                after = replace(node_list[at], figures={"memory.triad": figure("memory.triad", float(token))})
                index.changed(node_list[at], after)
                node_list[at] = after
            if token > 30:
                ended = attempt(token - 30, (token - 30) % 20 + 1)
                index.changed(ended, replace(ended, state=AttemptState.LOST))

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        told(replica, source)
    writer.join()
    told(replica, source)

    assert pages(replica.index) == pages(index)
