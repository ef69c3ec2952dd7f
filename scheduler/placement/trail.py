"""Which places changed, in order, for readers that come by now and then and want to know what is new to them."""

from __future__ import annotations

from collections import deque

#: changes that are kept; who comes later than that has to look at every place
MOST_KEPT = 1 << 16


class Trail:
    """A log of places that forgets its older part."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._forgotten = 0
        self.end = 0  #: changes there have been

    def add(self, place: int) -> None:
        """One more change."""
        if len(self._places) >= MOST_KEPT:
            self._forgotten += MOST_KEPT // 2
            del self._places[: MOST_KEPT // 2]
        self._places.append(place)
        self.end += 1

    def since(self, end: int) -> list[int] | None:
        """The places changed since `end` was what it says, each once, in order; None when that is forgotten."""
        if end == self.end:
            return []
        if end < self._forgotten:
            return None
        places = self._places[end - self._forgotten :]
        return places if len(places) < 2 else sorted(set(places))


class Heard:
    """Numbers of nodes that changed, for one reader in another thread: appending and taking need no lock."""

    def __init__(self) -> None:
        self._rows: deque[int] = deque()
        self._free: deque[int] = deque()

    def row(self, node: int) -> None:
        """Its row was added, replaced, or its addition undone."""
        self._rows.append(node)

    def free(self, node: int) -> None:
        """More or less of it is free."""
        self._free.append(node)

    def __len__(self) -> int:
        """How many changes were not taken yet."""
        return len(self._rows) + len(self._free)

    def take(self) -> tuple[set[int], set[int]]:
        """The nodes whose rows changed, and those of which more or less is free, since the last call."""
        return _drained(self._rows), _drained(self._free)


def _drained(changes: deque[int]) -> set[int]:
    return {changes.popleft() for _ in range(len(changes))}
