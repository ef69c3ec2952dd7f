"""How often and how much at once one caller may ask: token buckets and counted slots, all in memory."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from server.problems import ProblemError

CALLERS_MAX = 100_000  #: buckets kept; the one unused longest is dropped, full or nearly so by then


class Buckets:
    """A token bucket per caller: `burst` requests at once, `per_s` in the long run."""

    def __init__(self, per_s: float, burst: float, clock_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock_s = clock_s
        self._filled: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # caller -> (tokens, at)

    def take(self, caller: Hashable) -> None:
        """Count one request.

        Raises:
            ProblemError: the caller's bucket is empty; says when it no longer is.
        """
        now = self._clock_s()
        tokens, at = self._filled.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        if tokens < 1:
            wait_s = math.ceil((1 - tokens) / self._per_s)
            text = f"more than {self._per_s:g} requests per second; ask again in {wait_s} s"
            raise ProblemError("too-many", text, headers={"Retry-After": str(wait_s)})
        self._filled[caller] = (tokens - 1, now)
        self._filled.move_to_end(caller)
        if len(self._filled) > CALLERS_MAX:
            self._filled.popitem(last=False)


class Slots:
    """Things one caller may hold open at the same time."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._held: Counter[Hashable] = Counter()

    @property
    def held(self) -> int:
        """By everybody together."""
        return self._held.total()

    def take(self, caller: Hashable) -> None:
        """Hold one more; `give_back` when done.

        Raises:
            ProblemError: the caller holds all it may.
        """
        if self._held[caller] >= self._most:
            text = f"{self._most} {self._what} are open; close one first"
            raise ProblemError("too-many", text, headers={"Retry-After": "1"})
        self._held[caller] += 1

    def give_back(self, caller: Hashable) -> None:
        """One less."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]

    @contextmanager
    def holding(self, caller: Hashable) -> Iterator[None]:
        """Hold one as long as the block runs."""
        self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)
