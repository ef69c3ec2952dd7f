"""A JSON object that is written far more often than it is read: its text, which is a mapping when somebody looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any


class Told(Mapping[str, Any]):
    """An object by its compact JSON text; parsed at every look, and never changed."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, name: str) -> Any:
        return self._parsed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def __repr__(self) -> str:
        return f"Told({self.text!r})"

    def _parsed(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.text)
        return parsed


@lru_cache(maxsize=4096)
def quoted(name: str) -> str:
    """A text as JSON, of which the same are written again and again."""
    return json.dumps(name)


def number(value: float) -> str:
    """A figure as JSON; null where it is unknown, which is NaN, or without bounds."""
    return repr(value) if -1.7976931348623157e308 <= value <= 1.7976931348623157e308 else "null"
