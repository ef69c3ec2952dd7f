"""What is left of a node's GPUs, whichever of them it is left on: every such state once, as rows of an array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
FIRST_ROWS = 64
#: of a place where there is no GPU
NO_GPU = -1


class Leftovers:
    """Nodes whose GPUs have the same amounts left, in any order, share a number; there are far fewer than nodes."""

    def __init__(self) -> None:
        self._codes: dict[tuple[int, ...], int] = {}
        self._milli = np.full((FIRST_ROWS, 1), NO_GPU, dtype=np.int64)

    def __len__(self) -> int:
        """How many states there were."""
        return len(self._codes)

    def code(self, free_milli: Sequence[int]) -> int:
        """The number of a state; what is owed counts as nothing left."""
        key = tuple(sorted(free_milli))
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self._codes)
            self._grow(code + 1, len(key))
            self._milli[code, : len(key)] = np.maximum(key, 0)
        return code

    @property
    def milli(self) -> Rows:
        """Shape (states, most GPUs of a node): thousandths left of each, ascending, then NO_GPU."""
        return self._milli[: len(self._codes)]

    def _grow(self, rows: int, width: int) -> None:
        have_rows, have_width = self._milli.shape
        if rows <= have_rows and width <= have_width:
            return
        larger = np.full((max(have_rows, 2 * rows), max(have_width, width)), NO_GPU, dtype=np.int64)
        larger[:have_rows, :have_width] = self._milli
        self._milli = larger
