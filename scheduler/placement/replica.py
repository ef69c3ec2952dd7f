"""A copy of the index in another process that answers the same queries: what it is told, and how it takes that in.

The index notes which nodes change, and whoever keeps the copy up takes from it, from time to time, how those nodes
stand now; what happened in between is nobody's business. A change that is undone is noted like any other, so in the
end the copy is as the index is.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from scheduler.market.fields import Names
from scheduler.placement.free import Free
from scheduler.placement.index import Index
from scheduler.placement.trail import Heard
from scheduler.records import MarketNode

#: columns of what is free that are told; the number of a state of GPUs means something in its own process only
TOLD = tuple(name for name in Free._fields if name != "leftover")


class Changes(NamedTuple):
    """How some nodes stand now; made to be sent."""

    names: Names | None  #: where there are new ones
    rows: tuple[MarketNode, ...]
    gone: tuple[int, ...]  #: nodes whose addition was undone
    nodes: bytes  #: of which `free` tells, int64
    free: bytes  #: shape (nodes, len(TOLD)), int64


class Source:
    """Follows the index that the book's thread changes; of one other thread, which waits for nobody here."""

    def __init__(self, index: Index) -> None:
        """Begin to follow; changes that were made before are not told."""
        self._index = index
        self._fields: object = None  #: as they were when they were told
        self._rows, self._free = set[int](), set[int]()  #: nodes to be told of
        self._heard = index.heard = Heard()

    def __len__(self) -> int:
        """How many changes there are to be told, some of them of the same node."""
        return len(self._heard) + len(self._rows) + len(self._free)

    def close(self) -> None:
        """Follow no more."""
        if self._index.heard is self._heard:
            self._index.heard = None

    def gather(self) -> None:
        """Keep each node once that is to be told of: whoever cannot take anything now gets no more than that later."""
        rows, free = self._heard.take()
        self._rows |= rows
        self._free |= free

    def take(self) -> Changes | None:
        """How the nodes stand that changed since the last call; None when none has."""
        self.gather()
        rows_of, free_of = self._rows, self._free
        if not rows_of and not free_of:
            return None
        self._rows, self._free = set(), set()
        index = self._index
        rows, gone = list[MarketNode](), list[int]()
        nodes, free = array("q"), list[Free]()
        for node in rows_of | free_of:
            slot = index.slot_of(node)
            if slot is None:
                gone.append(node)
                continue
            # a place may be given up and taken by another node meanwhile, which is heard of next
            if node in rows_of and (row := index.nodes_at((slot,))[0]) is not None and row.id == node:
                rows.append(row)
            nodes.append(node)
            free.append(index.free_at(slot))
        told = array("q", chain.from_iterable([left[: len(TOLD)] for left in free]))
        return Changes(self._new_names(), tuple(rows), tuple(gone), nodes.tobytes(), told.tobytes())

    def names(self) -> Names:
        """What the copy has to know before it sees a row; told before all else, from any thread."""
        self._fields = self._index.fields
        return self._index.names

    def all_free(self) -> Changes:
        """What is free of every node there is; from any thread."""
        columns = self._index.snapshot(("id", *TOLD))
        free = np.column_stack([columns.numbers(name) for name in TOLD])
        return Changes(self._new_names(), (), (), columns.numbers("id").tobytes(), free.tobytes())

    def _new_names(self) -> Names | None:
        return None if self._index.fields is self._fields else self.names()


class Replica:
    """The copy."""

    def __init__(self, names: Names, nodes: Iterable[MarketNode]) -> None:
        """Of these nodes, of which everything is free until more is told."""
        self.index = Index()
        self.index.know(names)
        self.index.load([*nodes])

    def apply(self, changes: Changes) -> None:
        """Take in what the index told; one query sees all of it or nothing."""
        with self.index.changing():
            if changes.names is not None:
                self.index.know(changes.names)
            for node in changes.gone:
                if (row := self._held(node)) is not None:
                    self.index.changed(row, None)
            for row in changes.rows:
                self.index.changed(self._held(row.id), row)
            nodes = np.frombuffer(changes.nodes, dtype=np.int64)
            free = np.frombuffer(changes.free, dtype=np.int64).reshape(nodes.size, len(TOLD))
            self.index.put_free(nodes.tolist(), dict(zip(TOLD, free.T, strict=True)))

    def _held(self, node: int) -> MarketNode | None:
        slot = self.index.slot_of(node)
        return None if slot is None else self.index.node_at(slot)
