"""The largest of many numbers that change one at a time, without looking at all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
#: numbers whose largest is kept; two looks at some hundreds are quicker than one at a hundred thousand
BLOCK = 64
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
        self._first: int | None = None  #: where the largest is; None = to be looked for

    def put(self, places: NDArray[np.intp], values: Numbers) -> None:
        """Other numbers at these places."""
        self.values[places] = values
        touched = places // BLOCK
        self._peaks[touched] = self._blocks[touched].max(axis=1)
        self._first = None

    def put_one(self, place: int, value: int) -> None:
        """Another number at one place."""
        block = place // BLOCK
        peak, old = self._peaks.item(block), self.values.item(place)
        if value == old:
            return
        self.values[place] = value
        if value >= peak:
            self._peaks[block] = value
        elif old == peak:
            self._peaks[block] = _largest(self._blocks[block])
        first = self._first
        if first is not None and (place == first or value >= self.values.item(first)):
            self._first = None

    def first(self) -> int | None:
        """The place of the largest; the lowest of several; None when all are OUT."""
        if self._first is None:
            self._first = self._find()
        return self._first

    def second(self, first: int) -> int | None:
        """The place that would be first were it not for `first`."""
        block = first // BLOCK
        value, peak = self.values.item(first), self._peaks.item(block)
        self.values[first] = OUT
        self._peaks[block] = _largest(self._blocks[block])
        found = self._find()
        self.values[first], self._peaks[block] = value, peak
        return found

    def _find(self) -> int | None:
        block = int(self._peaks.argmax())
        if self._peaks.item(block) == OUT:
            return None
        return block * BLOCK + int(self._blocks[block].argmax())


def _largest(numbers: Numbers) -> int:
    """Of a few: `max` takes three times as long."""
    return numbers.item(numbers.argmax())
