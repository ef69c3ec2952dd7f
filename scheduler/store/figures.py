"""The figures of nodes out of the column that holds them: as strictly as any record, in half the time."""

from __future__ import annotations

import math
from typing import Any

from scheduler.records import Figure
from scheduler.store import text

#: as they are written, by the order of the record
_FIELDS = ["value", "low", "high", "n", "at_ms", "unit"]
_MOST = 2**53  #: whole numbers up to here are read without further ado


def named_figures(column: str) -> dict[str, Figure]:
    """What `text.of_named` wrote of figures.

    Raises:
        DamagedError: the text is no such thing.
    """
    data = text.plain(column)
    found: dict[str, Figure] = {}
    for name, item in data.items():
        figure = _usual(item)
        if figure is None:  # an older form, or damaged: who reads any record judges it
            return text.named(Figure, column)
        found[name] = figure
    return found


def _usual(item: Any) -> Figure | None:
    """A figure written by this version, with its interval; None = anything else."""
    if item.__class__ is not dict or [*item] != _FIELDS:
        return None
    value, low, high, n, at_ms, unit = item.values()
    if not (value.__class__ is low.__class__ is high.__class__ is float and math.isfinite(value + low + high)):
        return None
    if not (n.__class__ is at_ms.__class__ is int and -_MOST < n < _MOST and -_MOST < at_ms < _MOST):
        return None
    if not (unit.__class__ is str and unit.isascii()):
        return None
    return Figure(value=value, low=low, high=high, n=n, at_ms=at_ms, unit=unit)
