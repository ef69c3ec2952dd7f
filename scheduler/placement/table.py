"""Columns of one length that grow together: written by one thread, copied out for the others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Mask, Numbers, Texts

FIRST_PLACES = 64

_Array = NDArray[Any]
_Words = tuple[tuple[str, ...], tuple[str, ...]]  #: as they are, and without regard to case


class _Interned:
    """The texts of one column, each once; code 0 is the unknown one."""

    def __init__(self) -> None:
        self.values = [""]
        self.folded = [""]
        self.codes = {"": 0}
        self._fixed: _Words = ((), ())

    def code(self, text: str) -> int:
        code = self.codes.get(text)
        if code is None:
            code = self.codes[text] = len(self.values)
            self.values.append(text)
            self.folded.append(text.casefold())
        return code

    def fixed(self) -> _Words:
        """The texts so far, in a form that no longer grows."""
        if len(self._fixed[0]) != len(self.values):
            self._fixed = (tuple(self.values), tuple(self.folded))
        return self._fixed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Columns as they stood at one moment, for any thread; nothing in it changes any more."""

    size: int
    arrays: Mapping[str, _Array]
    tables: Mapping[str, _Words]
    origin: object  #: the table's, nobody else's
    versions: Mapping[str, int]

    def state(self, columns: Iterable[str]) -> tuple[object, ...]:
        """Equal for as long as none of these columns changes."""
        return (self.origin, self.size, *map(self.versions.get, columns))

    def numbers(self, column: str) -> Numbers:
        """A column of numbers; all NaN when nobody has such a figure."""
        found = self.arrays.get(column)
        return np.full(self.size, np.nan) if found is None else found

    def truths(self, column: str) -> Mask:
        """A column of truths; all false when nobody has such a thing."""
        found = self.arrays.get(column)
        return np.zeros(self.size, dtype=np.bool_) if found is None else found

    def texts(self, column: str) -> Texts:
        """A column of texts."""
        values, folded = self.tables[column]
        return Texts(self.arrays[column], values, folded)


class Table:
    """The columns. One thread writes; `snapshot` may be called from any, and holds the lock for microseconds.

    A copy of a column is kept and handed out again until the column changes, so that asking often costs nothing.
    """

    def __init__(self) -> None:
        self.size = 0  #: places in use, those that were given up included
        self.version = 0  #: raised by every change of any column
        self.lock = threading.RLock()
        self._arrays: dict[str, _Array] = {}
        self._empty: dict[str, Any] = {}  #: what stands in a place nobody has written
        self._texts: dict[str, _Interned] = {}
        self._versions: dict[str, int] = {}  #: of each column: `version` when it was last changed
        self._copies: dict[str, tuple[int, int, _Array]] = {}  #: version, size, copy
        self._places = FIRST_PLACES
        self._live = Live(self)
        self._origin = object()

    def add_column(self, name: str, kind: type, empty: float | bool = 0) -> None:
        """A column of `kind` (np.float64, np.int64, np.bool_) that holds `empty` until written."""
        with self.lock:
            self._arrays[name] = np.full(self._places, empty, dtype=kind)
            self._empty[name] = empty
            self._versions[name] = self.version

    def add_text_column(self, name: str) -> None:
        """A column of texts."""
        self.add_column(name, np.int32)
        self._texts[name] = _Interned()

    @property
    def names(self) -> tuple[str, ...]:
        """Of every column."""
        return tuple(self._arrays)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return name in self._arrays

    def state(self, *names: str) -> tuple[int, ...]:
        """Equal while none of these columns changes: for what is worked out from them and kept."""
        return (self.size, *(self._versions[name] for name in names))

    def grow(self, size: int) -> None:
        """Make room for `size` places, by doubling."""
        with self.lock:
            while self._places < size:
                for name, array in self._arrays.items():
                    more = np.full(self._places, self._empty[name], dtype=array.dtype)
                    self._arrays[name] = np.concatenate((array, more))
                self._places *= 2
            self.size = max(self.size, size)

    def set(self, name: str, place: int, value: float | bool) -> None:
        """Write one number or truth; nothing happens when it stands there already."""
        array = self._arrays[name]
        old = array.item(place)
        if old == value or (old != old and value != value):  # NaN stays NaN
            return
        array[place] = value
        self._changed(name)

    def fill(self, name: str, values: Sequence[float | bool] | Numbers, places: Sequence[int] | None = None) -> None:
        """Write many numbers or truths of a column at once: at these places, or at the first ones."""
        self._arrays[name][slice(len(values)) if places is None else places] = values
        self._changed(name)

    def fill_text(self, name: str, texts: Sequence[str]) -> None:
        """Write the texts of the first places at once."""
        code = self._texts[name].code
        self.fill(name, [code(text) for text in texts])

    def replace(self, place: int, names: Sequence[str], old: Sequence[int], new: Sequence[int]) -> None:
        """Write whole numbers where they are others than the old ones, which have to be what stands there."""
        arrays, versions, version = self._arrays, self._versions, self.version
        for name, before, after in zip(names, old, new, strict=True):
            if before != after:
                arrays[name][place] = after
                version += 1
                versions[name] = version
        self.version = version

    def set_text(self, name: str, place: int, text: str) -> None:
        """Write one text."""
        interned = self._texts[name]
        if len(interned.values) > 2 * self._places + FIRST_PLACES:  # most of them are no longer held by anybody
            interned = self._renumber(name)
        self.set(name, place, interned.code(text))

    def clear(self, place: int) -> None:
        """Leave a place as if nobody had written it."""
        for name in self._arrays:
            self.set(name, place, self._empty[name])

    def get(self, name: str) -> _Array:
        """The column itself, for the thread that writes."""
        return self._arrays[name][: self.size]

    def snapshot(self, names: Iterable[str]) -> Snapshot:
        """These columns at one moment; those that nobody has are left out."""
        with self.lock:
            known = [name for name in names if name in self._arrays]
            arrays = {name: self._copy(name) for name in known}
            tables = {name: self.words(name) for name in known if name in self._texts}
            versions = {name: self._versions[name] for name in known}
            return Snapshot(self.size, arrays, tables, self._origin, versions)

    def live(self) -> Live:
        """Every column without a copy, for the thread that writes, until it writes again."""
        return self._live

    def words(self, name: str) -> _Words:
        """The texts of a column, by code."""
        return self._texts[name].fixed()

    def _copy(self, name: str) -> _Array:
        version, size, copy = self._copies.get(name, (-1, -1, None))
        if copy is None or (version, size) != (self._versions[name], self.size):
            copy = self._arrays[name][: self.size].copy()
            copy.flags.writeable = False
            self._copies[name] = (self._versions[name], self.size, copy)
        return copy

    def _changed(self, name: str) -> None:
        self.version += 1
        self._versions[name] = self.version

    def _renumber(self, name: str) -> _Interned:
        """A table of the texts that are held; earlier snapshots keep theirs."""
        old, fresh = self._texts[name], _Interned()
        array = self._arrays[name]
        self._arrays[name] = np.array([fresh.code(old.values[code]) for code in array], dtype=array.dtype)
        self._texts[name] = fresh
        self._changed(name)
        return fresh


@dataclass(frozen=True, slots=True)
class Live:
    """The columns themselves, for the thread that writes, until it writes again."""

    table: Table

    @property
    def size(self) -> int:
        """Places in every column."""
        return self.table.size

    def state(self, columns: Iterable[str]) -> None:
        """Not for long."""

    def numbers(self, column: str) -> Numbers:
        """A column of numbers; all NaN when nobody has such a figure."""
        return self.table.get(column) if column in self.table else np.full(self.size, np.nan)

    def integers(self, column: str) -> NDArray[np.int64]:
        """A column of whole numbers, which there must be."""
        return self.table.get(column)

    def truths(self, column: str) -> Mask:
        """A column of truths; all false when nobody has such a thing."""
        return self.table.get(column) if column in self.table else np.zeros(self.size, dtype=np.bool_)

    def texts(self, column: str) -> Texts:
        """A column of texts."""
        return Texts(self.table.get(column), *self.table.words(column))
