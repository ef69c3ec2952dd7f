"""What a history draws: by hypothesis, which makes a failing history small, or at random, which is much faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from hypothesis import strategies as st


class Draw(Protocol):
    """Something that values can be drawn from, in either way."""

    def strategy(self) -> st.SearchStrategy[Any]:
        """For hypothesis."""
        ...

    def value(self, random: Random) -> Any:
        """One of them."""
        ...


class OneOf:
    """One of some values; one that stands there twice is drawn twice as often."""

    def __init__(self, *values: Any) -> None:
        self._values = values

    def strategy(self) -> st.SearchStrategy[Any]:
        """See Draw."""
        return st.sampled_from(self._values)

    def value(self, random: Random) -> Any:
        """See Draw."""
        return self._values[int(random.random() * len(self._values))]


FLAG = OneOf(False, True)


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds, both of them included."""

    lowest: int
    highest: int

    def strategy(self) -> st.SearchStrategy[int]:
        """See Draw."""
        return st.integers(self.lowest, self.highest)

    def value(self, random: Random) -> int:
        """See Draw."""
        return random.randint(self.lowest, self.highest)


class Made:
    """What `make` makes of drawn parts."""

    def __init__(self, make: Callable[..., Any], **parts: Draw) -> None:
        self._make, self._parts = make, parts

    def strategy(self) -> st.SearchStrategy[Any]:
        """See Draw."""
        return st.builds(self._make, **strategies(self._parts))

    def value(self, random: Random) -> Any:
        """See Draw."""
        return self._make(**values(self._parts, random))


class Either:
    """One of some draws, each as likely."""

    def __init__(self, *draws: Draw) -> None:
        self._draws = draws

    def strategy(self) -> st.SearchStrategy[Any]:
        """See Draw."""
        return st.one_of(*(one.strategy() for one in self._draws))

    def value(self, random: Random) -> Any:
        """See Draw."""
        return random.choice(self._draws).value(random)


class Each:
    """A tuple, one value of each."""

    def __init__(self, *draws: Draw) -> None:
        self._draws = draws

    def strategy(self) -> st.SearchStrategy[Any]:
        """See Draw."""
        return st.tuples(*(one.strategy() for one in self._draws))

    def value(self, random: Random) -> tuple[Any, ...]:
        """See Draw."""
        return tuple(one.value(random) for one in self._draws)


def strategies(draws: dict[str, Draw]) -> dict[str, st.SearchStrategy[Any]]:
    """By name."""
    return {name: one.strategy() for name, one in draws.items()}


def values(draws: dict[str, Draw], random: Random) -> dict[str, Any]:
    """One of each, by name."""
    return {name: one.value(random) for name, one in draws.items()}
