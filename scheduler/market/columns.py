"""What a query is asked of: columns with one place per node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64] | NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts as codes into a table whose first text is "", the unknown one."""

    codes: NDArray[np.int32]
    values: Sequence[str]  #: code -> text
    folded: Sequence[str]  #: code -> text without regard to case

    def holding(self, codes: Sequence[int]) -> Mask:
        """The places that hold one of `codes`."""
        wanted = np.zeros(len(self.values), dtype=np.bool_)
        wanted[np.asarray(codes, dtype=np.intp)] = True
        return wanted[self.codes]


class Columns(Protocol):
    """Nodes as columns of one length; NaN is an unknown number."""

    @property
    def size(self) -> int:
        """Places in every column."""
        ...

    def state(self, columns: Iterable[str]) -> tuple[object, ...] | None:
        """Equal for as long as none of these columns changes; None where that is not known."""
        ...

    def numbers(self, column: str) -> Numbers:
        """A column of numbers; all NaN when nobody has such a figure."""
        ...

    def truths(self, column: str) -> Mask:
        """A column of truths."""
        ...

    def texts(self, column: str) -> Texts:
        """A column of texts."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Some places of all columns, in the order of `slots`: what fewer nodes are left of costs less to ask."""

    columns: Columns
    slots: NDArray[np.intp]

    @property
    def size(self) -> int:
        """How many places."""
        return self.slots.size

    def state(self, columns: Iterable[str]) -> None:
        """Nobody asks the same places again."""

    def numbers(self, column: str) -> Numbers:
        """A column of numbers."""
        return self.columns.numbers(column).take(self.slots)

    def truths(self, column: str) -> Mask:
        """A column of truths."""
        return self.columns.truths(column).take(self.slots)

    def texts(self, column: str) -> Texts:
        """A column of texts."""
        whole = self.columns.texts(column)
        return Texts(whole.codes.take(self.slots), whole.values, whole.folded)
