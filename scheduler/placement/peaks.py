"""The largest of many numbers that change one at a time, without looking at all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
#: numbers whose largest is kept; two looks at some hundreds of numbers are quicker than one at a hundred thousand
BLOCK = 256
#: of a place that is out of the running
OUT = -1


class Peaks:
    """Numbers >= 0, or OUT, with the largest of each block beside them."""

    def __init__(self, values: Numbers) -> None:
        """Take over `values`, shape (places,)."""
        blocks = max(1, -(-values.size // BLOCK))
        padded = np.full(blocks * BLOCK, OUT, dtype=np.int64)
        padded[: values.size] = values
        self.values = padded[: values.size]
        self._blocks = padded.reshape(blocks, BLOCK)
        self._peaks: Numbers = self._blocks.max(axis=1)

    def put(self, places: Numbers | list[int], values: Numbers) -> None:
        """Other numbers at these places."""
        self.values[places] = values
        if len(places) == 1:
            block = int(places[0]) // BLOCK
            self._peaks[block] = self._blocks[block].max()
        else:
            touched = np.unique(np.asarray(places) // BLOCK)
            self._peaks[touched] = self._blocks[touched].max(axis=1)

    def first(self) -> int | None:
        """The place of the largest; the lowest of several; None when all are OUT."""
        block = int(self._peaks.argmax())
        if self._peaks[block] == OUT:
            return None
        return block * BLOCK + int(self._blocks[block].argmax())

    def second(self, first: int) -> int | None:
        """The place that would be first were it not for `first`."""
        block = first // BLOCK
        value, peak = self.values[first], self._peaks[block]
        self.values[first] = OUT
        self._peaks[block] = self._blocks[block].max()
        found = self.first()
        self.values[first], self._peaks[block] = value, peak
        return found
