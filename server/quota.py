"""How much an account may keep here: what it uploaded and what its jobs left, uploads under way included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.problems import ProblemError


class Quotas:
    """Of all accounts.

    Args:
        most: bytes each may keep.
        used: bytes that an account keeps by now; waits for the disk.
    """

    def __init__(self, most: int, used: Callable[[int], int]) -> None:
        self._most = most
        self._used = used
        self._under_way: Counter[int] = Counter()

    def check(self, owner: int, size: int) -> None:
        """Refuse what does not fit. Waits for the disk.

        Raises:
            ProblemError: `size` bytes more would be too many.
        """
        left = self._most - self._used(owner) - self._under_way[owner]
        if size > left:
            text = f"{size} bytes do not fit: {max(0, left)} of the {self._most} of this account are left"
            raise ProblemError("too-large", text, headers={"Connection": "close"})

    @contextmanager
    def reserved(self, owner: int, size: int) -> Iterator[None]:
        """Count an upload while it is under way."""
        self._under_way[owner] += size
        try:
            yield
        finally:
            self._under_way[owner] -= size
            if not self._under_way[owner]:
                del self._under_way[owner]
