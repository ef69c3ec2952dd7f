"""What live attempts leave of each node: a row for looking at one, beside the columns for looking at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.capacity import WHOLE_MILLI
from scheduler.placement.leftovers import Leftovers
from scheduler.placement.table import Table
from scheduler.records import Capacity, Resources

#: states of GPUs that are remembered, besides two per node
MOST_STATES = 1 << 16


class Free(NamedTuple):
    """What is left of a node; the columns have these names."""

    cpu_milli_free: int = 0
    memory_bytes_free: int = 0
    disk_bytes_free: int = 0
    gpus_free: int = 0
    gpu_milli_free: int = 0
    gpu_milli_free_most: int = 0
    leftover: int = 0  #: the number of what is left of its GPUs, see leftovers.py


_Gpus = tuple[int, int, int, int]  #: the last four of Free


class FreeRows:
    """Of every place of a table, kept by additions and subtractions; the table's thread alone changes it."""

    def __init__(self, table: Table) -> None:
        self.leftovers = Leftovers()  #: what the column `leftover` counts through
        self._table = table
        self._rows: list[Free] = []
        self._gpu_milli: list[list[int]] = []  #: thousandths left of each GPU
        self._known: dict[tuple[int, ...], _Gpus] = {}  #: by what is left of each GPU
        for name in Free._fields:
            table.add_column(name, np.int64)

    def grow(self) -> None:
        """One more place, where nothing is."""
        self._rows.append(Free())
        self._gpu_milli.append([])

    def clear(self, slot: int) -> None:
        """Nothing is there any more; the table's own columns are cleared by the caller."""
        self._rows[slot] = Free()
        self._gpu_milli[slot] = []

    def at(self, slot: int) -> Free:
        """What is left of a node."""
        return self._rows[slot]

    def gpus_at(self, slot: int) -> tuple[int, ...]:
        """Thousandths left of each of its GPUs."""
        return tuple(self._gpu_milli[slot])

    def reset(self, slot: int, capacity: Capacity) -> None:
        """All that a node has is free."""
        self._gpu_milli[slot] = list(capacity.gpu_milli)
        left = (capacity.cpu_milli, capacity.memory_bytes, capacity.disk_bytes)
        self._put(slot, Free(*left, *self._gpus_left(slot)))

    def occupy(self, slot: int, resources: Resources, gpus: tuple[int, ...], sign: int) -> None:
        """Take resources (sign -1) or give them back (+1)."""
        was = self._rows[slot]
        if gpus:
            each_milli = sign * (resources.gpu_milli or WHOLE_MILLI)
            milli = self._gpu_milli[slot]
            for gpu in gpus:
                if gpu < len(milli):  # a node may have come back with fewer
                    milli[gpu] += each_milli
        left = Free(
            was.cpu_milli_free + sign * resources.cpu_milli,
            was.memory_bytes_free + sign * resources.memory_bytes,
            was.disk_bytes_free + sign * resources.disk_bytes,
            *(self._gpus_left(slot) if gpus else was[3:]),
        )
        self._put(slot, left)

    def _gpus_left(self, slot: int) -> _Gpus:
        """What `Free` says of the GPUs of a node."""
        milli = tuple(self._gpu_milli[slot])
        known = self._known.get(milli)
        if known is not None:
            return known
        if len(self.leftovers) > MOST_STATES + 2 * len(self._rows):  # most of them no node is in any more
            self._known, self.leftovers = {}, Leftovers()
            for place, left in enumerate(self._gpu_milli):
                self._put(place, self._rows[place]._replace(leftover=self.leftovers.code(left)))
        if len(self._known) > MOST_STATES:  # the same in many orders
            self._known.clear()
        whole = sum([one >= WHOLE_MILLI for one in milli])
        found = self._known[milli] = whole, sum(milli), max(milli, default=0), self.leftovers.code(milli)
        return found

    def _put(self, slot: int, left: Free) -> None:
        self._table.replace(slot, Free._fields, self._rows[slot], left)
        self._rows[slot] = left
