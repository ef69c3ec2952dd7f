"""The market's nodes as numpy columns that follow the book: what is offered, and what of it is free.

The index hears of every change as the book makes it, before it is committed and again when it is undone, so that a
placement counts for the next one of the same batch. Another thread therefore may see a change that is taken back a few
milliseconds later: good enough for an offer, which is no promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from scheduler.capacity import Room
from scheduler.lifecycle import is_live
from scheduler.market.columns import Numbers
from scheduler.market.fields import AT_MS, HIGH, LOW, Fields, Names
from scheduler.placement.demand import Demand
from scheduler.placement.free import Free, FreeRows
from scheduler.placement.leftovers import Leftovers
from scheduler.placement.table import Live, Snapshot, Table
from scheduler.placement.terms import FLOATS, INTEGERS, TEXTS, TRUTHS
from scheduler.placement.trail import Heard, Trail
from scheduler.records import Attempt, Figure, Job, MarketNode

#: figures there may be a column for; benchmarks name some dozens, and a pair of GPUs one each
MAX_FIGURES = 1000


class Index:
    """Follows the book (as its Watcher) and answers in columns; only the book's thread changes it."""

    def __init__(self) -> None:
        self._table = Table()
        self._slots: dict[int, int] = {}
        self._nodes: list[MarketNode | None] = []  #: by slot
        self._given_up: list[int] = []  #: slots of nodes whose addition was undone
        self._attempts: dict[int, dict[int, Attempt]] = {}  #: node -> token -> live attempt
        self._units: dict[str, str] = {}  #: figure -> unit
        self._fields: Fields | None = None
        self.demand = Demand()
        self.trail = Trail()  #: slots of which more or less is free
        self.terms_trail = Trail()  #: slots of which anything has changed but what is free
        self.heard: Heard | None = None  #: told which nodes change while somebody follows from another thread
        self._free = FreeRows(self._table)
        for name in (*INTEGERS, "changed"):
            self._table.add_column(name, np.int64)
        for name in FLOATS:
            self._table.add_column(name, np.float64, np.nan)
        for name in TRUTHS:
            self._table.add_column(name, np.bool_, False)
        for name in TEXTS:
            self._table.add_text_column(name)

    def __len__(self) -> int:
        """How many nodes it holds."""
        return len(self._slots)

    @property
    def version(self) -> int:
        """Raised by every change; the column `changed` holds, per node, the version of its last one."""
        return self._table.version

    @property
    def fields(self) -> Fields:
        """What a query may name now; the same object until a new figure, profile or executor appears."""
        fields = self._fields
        if fields is None:
            with self._table.lock:
                names = self.names
                fields = self._fields = Fields(
                    figures=names.units, capabilities=names.capabilities, executors=names.executors
                )
        return fields

    @property
    def names(self) -> Names:
        """What there are columns for, from any thread."""
        with self._table.lock:
            return Names(dict(self._units), self._after("capability."), self._after("executor."))

    def know(self, names: Names) -> None:
        """Have columns for what another index has them for, so that the same queries are understood."""
        with self._table.lock:
            for key, unit in names.units.items():
                self._admit(key, unit)
            for profile in names.capabilities:
                self._ensure(f"capability.{profile}", np.float64, np.nan)
            for executor in names.executors:
                self._ensure(f"executor.{executor}", np.bool_, False)

    @property
    def leftovers(self) -> Leftovers:
        """What the column `leftover` counts through."""
        return self._free.leftovers

    @property
    def places(self) -> int:
        """In every column, those that were given up included."""
        return self._table.size

    @property
    def live(self) -> Live:
        """All columns as they stand, for the book's thread, until the next change."""
        return self._table.live()

    def snapshot(self, columns: Iterable[str]) -> Snapshot:
        """Some columns at one moment, for any thread."""
        return self._table.snapshot(columns)

    def nodes_at(self, slots: Iterable[int]) -> list[MarketNode | None]:
        """The rows at these places, as they stand now, for any thread."""
        with self._table.lock:
            return [self._nodes[slot] for slot in slots]

    def gpus_free_at(self, slot: int) -> tuple[int, ...]:
        """Thousandths left of each GPU of the node at `slot`."""
        return self._free.gpus_at(slot)

    def free_at(self, slot: int) -> Free:
        """What is left of the node at `slot`."""
        return self._free.at(slot)

    def node_at(self, slot: int) -> MarketNode:
        """The row of the node at `slot`.

        Raises:
            LookupError: the index holds none there.
        """
        if (node := self._nodes[slot]) is None:
            raise LookupError(f"there is no node at place {slot}")
        return node

    def rooms(self) -> dict[int, Room]:
        """What is counted as free of each node, for the book's thread."""
        cpu, memory, disk = (
            self.live.integers(name).tolist() for name in ("cpu_milli_free", "memory_bytes_free", "disk_bytes_free")
        )
        return {
            node: Room(list(self._free.gpus_at(slot)), cpu[slot], memory[slot], disk[slot])
            for node, slot in self._slots.items()
        }

    def slot_of(self, node: int) -> int | None:
        """The place of a node in every column; None for one the index does not hold."""
        return self._slots.get(node)

    def load(self, nodes: Sequence[MarketNode]) -> None:
        """Take in the nodes of a market that opens, a column at a time; to be called before anything else is."""
        with self._table.lock:
            for node in nodes:
                self._nodes[self._take(node.id)] = node
            for name, number in INTEGERS.items():
                self._table.fill(name, [number(node) for node in nodes])
            for name, maybe in FLOATS.items():
                self._table.fill(name, [_or_nan(maybe(node)) for node in nodes])
            for name, truth in TRUTHS.items():
                self._table.fill(name, [truth(node) for node in nodes])
            for name, text in TEXTS.items():
                self._table.fill_text(name, [text(node) for node in nodes])
            self._load_figures(nodes)
            for slot, node in enumerate(nodes):
                self._set_executors(slot, (), node.executors)
                self._set_capability(slot, {}, node.capability)
                self._free.reset(slot, node.capacity)
                self.terms_trail.add(slot)
            self._table.fill("changed", [self._table.version + 1] * len(nodes))

    def changed(self, before: object | None, after: object | None) -> None:
        """A row was added, replaced, or its addition undone; other rows than nodes, jobs and attempts say nothing."""
        match after if after is not None else before:
            case MarketNode(id=node):
                with self._table.lock:
                    self._node_changed(node, before, after)
                if (heard := self.heard) is not None:
                    heard.row(node)
            case Attempt():
                with self._table.lock:
                    self._attempt_changed(before, after)
            case Job(spec=spec, created_ms=created_ms) if before is None:
                self.demand.note(spec, created_ms)
            case Job(spec=spec, created_ms=created_ms) if after is None:
                self.demand.forget(spec, created_ms)
            case _:
                pass

    def changing(self) -> AbstractContextManager[object]:
        """Inside, no other thread takes a snapshot: it sees all changes that are made there, or none."""
        return self._table.lock

    def put_free(self, nodes: Sequence[int], free: Mapping[str, Numbers]) -> None:
        """What is left of some nodes, by column; for an index that is told so, and hears of no attempt.

        Nodes that it does not hold are passed over.
        """
        which = [number for number, node in enumerate(nodes) if node in self._slots]
        if not which:
            return
        slots = [self._slots[nodes[number]] for number in which]
        with self._table.lock:
            for name, numbers in free.items():
                self._table.fill(name, numbers.take(which), slots)

    def _node_changed(self, node: int, before: Any, after: Any) -> None:
        slot = self._slots.get(node)
        if after is None:
            if slot is not None:
                self._give_up(node, slot)
            return
        if slot is None:
            slot, before = self._take(node), None
        version = self._table.version
        self._nodes[slot] = after
        self._set_plain(slot, after)
        self._set_executors(slot, before.executors if before else (), after.executors)
        if before is None or before.figures is not after.figures:
            self._set_figures(slot, before.figures if before else {}, after.figures)
        if before is None or before.capability is not after.capability:
            self._set_capability(slot, before.capability if before else {}, after.capability)
        if before is None or before.capacity != after.capacity:
            self._count_free(slot, after)
        if self._stamp(slot, version):
            self.terms_trail.add(slot)

    def _set_plain(self, slot: int, node: MarketNode) -> None:
        for name, number in INTEGERS.items():
            self._table.set(name, slot, number(node))
        for name, maybe in FLOATS.items():
            self._table.set(name, slot, _or_nan(maybe(node)))
        for name, truth in TRUTHS.items():
            self._table.set(name, slot, truth(node))
        for name, text in TEXTS.items():
            self._table.set_text(name, slot, text(node))

    def _stamp(self, slot: int, version: int) -> bool:
        """Whether anything has changed since `version`; if so, when."""
        if self._table.version == version:
            return False
        self._table.set("changed", slot, self._table.version + 1)
        return True

    def _take(self, node: int) -> int:
        if self._given_up:
            slot = self._given_up.pop()
        else:
            slot = len(self._nodes)
            self._nodes.append(None)
            self._free.grow()
            self._table.grow(slot + 1)
        self._slots[node] = slot
        return slot

    def _give_up(self, node: int, slot: int) -> None:
        del self._slots[node]
        self._nodes[slot] = None
        self._free.clear(slot)
        self._table.clear(slot)
        self._given_up.append(slot)
        self.terms_trail.add(slot)

    def _set_executors(self, slot: int, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        for name in {*before, *after}:
            column = f"executor.{name}"
            self._ensure(column, np.bool_, False)
            self._table.set(column, slot, name in after)

    def _set_capability(self, slot: int, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        for profile in {*before, *after}:
            column = f"capability.{profile}"
            self._ensure(column, np.float64, np.nan)
            self._table.set(column, slot, after.get(profile, np.nan))

    def _set_figures(self, slot: int, before: Mapping[str, Figure], after: Mapping[str, Figure]) -> None:
        for key in {*before, *after}:
            figure = after.get(key)
            if figure is not None and not self._admit(key, figure.unit):
                figure = None
            if key not in self._units:
                continue
            self._table.set(key, slot, figure.value if figure else np.nan)
            self._table.set(f"{key}{LOW}", slot, _or_nan(figure.low if figure else None))
            self._table.set(f"{key}{HIGH}", slot, _or_nan(figure.high if figure else None))
            self._table.set(f"{key}{AT_MS}", slot, figure.at_ms if figure else np.nan)

    def _load_figures(self, nodes: Sequence[MarketNode]) -> None:
        places: dict[str, list[int]] = {}
        figures: dict[str, list[Figure]] = {}
        for slot, node in enumerate(nodes):
            for key, figure in node.figures.items():
                if self._admit(key, figure.unit):
                    places.setdefault(key, []).append(slot)
                    figures.setdefault(key, []).append(figure)
        for key, some in figures.items():
            self._table.fill(key, [figure.value for figure in some], places[key])
            self._table.fill(f"{key}{LOW}", [_or_nan(figure.low) for figure in some], places[key])
            self._table.fill(f"{key}{HIGH}", [_or_nan(figure.high) for figure in some], places[key])
            self._table.fill(f"{key}{AT_MS}", [figure.at_ms for figure in some], places[key])

    def _admit(self, key: str, unit: str) -> bool:
        """Whether a figure has a column, made for it if need be; one in another unit than the first has none."""
        if key not in self._units:
            if len(self._units) >= MAX_FIGURES:
                return False
            self._units[key] = unit
            for suffix in ("", LOW, HIGH, AT_MS):
                self._ensure(f"{key}{suffix}", np.float64, np.nan)
        return self._units[key] == unit

    def _after(self, prefix: str) -> tuple[str, ...]:
        return tuple([name.removeprefix(prefix) for name in self._table.names if name.startswith(prefix)])

    def _ensure(self, column: str, kind: type, empty: float | bool) -> None:
        if column not in self._table:
            self._table.add_column(column, kind, empty)
            self._fields = None

    def _attempt_changed(self, before: Any, after: Any) -> None:
        old = before if before is not None and is_live(before.state) else None
        new = after if after is not None and is_live(after.state) else None
        if old is not None:
            self._attempts.get(old.node, {}).pop(old.token, None)
        if new is not None:
            self._attempts.setdefault(new.node, {})[new.token] = new
        if old and new and (old.node, old.gpus, old.resources) == (new.node, new.gpus, new.resources):
            return
        version = self._table.version
        for attempt, sign in ((old, 1), (new, -1)):
            slot = self._slots.get(attempt.node) if attempt else None
            if attempt is not None and slot is not None:
                self._free.occupy(slot, attempt.resources, attempt.gpus, sign)
                if self._stamp(slot, version):
                    self.trail.add(slot)
                    if (heard := self.heard) is not None:
                        heard.free(attempt.node)

    def _count_free(self, slot: int, node: MarketNode) -> None:
        """Everything of a node's capacity, less what its live attempts hold."""
        self._free.reset(slot, node.capacity)
        for attempt in self._attempts.get(node.id, {}).values():
            self._free.occupy(slot, attempt.resources, attempt.gpus, -1)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
