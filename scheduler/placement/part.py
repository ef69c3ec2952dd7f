"""Columns at some places only, for looking at a few nodes as one looks at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Columns, Mask, Numbers, Texts


@dataclass(frozen=True, slots=True)
class Part:
    """Some nodes as columns of their own."""

    columns: Columns
    slots: NDArray[np.intp]

    @property
    def size(self) -> int:
        """How many they are."""
        return self.slots.size

    def numbers(self, column: str) -> Numbers:
        """A column of numbers."""
        found: Numbers = self.columns.numbers(column)[self.slots]
        return found

    def truths(self, column: str) -> Mask:
        """A column of truths."""
        return self.columns.truths(column)[self.slots]

    def texts(self, column: str) -> Texts:
        """A column of texts."""
        texts = self.columns.texts(column)
        return Texts(texts.codes[self.slots], texts.values, texts.folded)


def held_nodes(columns: Columns) -> Mask:
    """Places of nodes there are, without those that are gone for good."""
    return columns.truths("held") & ~columns.truths("retired")
