"""Bytes that arrived over time: what every throughput tester hands over, and how its warm-up is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: the first slices hold the connection's start whatever they show
LEAST_DROPPED = 2
#: a leading slice below this part of the later median still belongs to slow start
WARM_PART = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One direction of one test."""

    tool: str  #: "iperf3 3.12", "built-in"
    rates: tuple[float, ...]  #: bytes per second of consecutive slices of equal length, from the first byte on
    slice_s: float
    counted_by: str  #: "receiver", or "sender" where the far end told no more than its total
    context: Mapping[str, object] = field(default_factory=dict)


class Slicer:
    """Counts bytes into slices of time, which begin with the first bytes."""

    def __init__(self, slice_s: float) -> None:
        self.slice_s = slice_s
        self._start: float | None = None
        self._slices: list[int] = []

    def add(self, count: int, now_s: float) -> None:
        """`count` bytes arrived at `now_s`."""
        if self._start is None:
            self._start = now_s
        place = int((now_s - self._start) / self.slice_s)
        self._slices.extend([0] * (place + 1 - len(self._slices)))
        self._slices[place] += count

    def slices(self, now_s: float) -> list[int]:
        """Bytes in each slice that is over at `now_s`; silence at the end counts as slices of none."""
        if self._start is None:
            return []
        # a thousandth, so that slices which end exactly now are over whatever the rounding
        whole = int((now_s - self._start) / self.slice_s + 1e-3)
        return (self._slices + [0] * whole)[:whole]


def warmed(rates: Sequence[float]) -> tuple[float, ...]:
    """The rates without those of the start: two slices at least, and all that lead up to the steady rate."""
    steady = sorted(rates[len(rates) // 2 :])
    if not steady:
        return ()
    floor = WARM_PART * steady[len(steady) // 2]
    first = next((k for k, rate in enumerate(rates) if rate >= floor), 0)
    return tuple(rates[max(first, min(LEAST_DROPPED, len(rates) - 1)) :])
