"""A figure of a node: a value with its interval, and when it was obtained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured metric of a node."""

    value: float
    low: float | None  #: of the 95 % interval; None = too few samples
    high: float | None
    n: int
    at_ms: int  #: when it was measured
    unit: str = ""  #: "FLOP/s", "OP/s", "B/s", "IO/s", "s", "ratio"; of what is proved also "B"
