"""Measured figures as cells of a table: number and unit, interval, age; and which of them a table shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from reports import units
from scheduler.records import Figure
from server.web import words

#: what people look at first
USUAL = ("matmul.bf16", "memory.triad", "network.down", "disk.read")
#: of figures, in a table that fits a laptop's screen
LEAST_COLUMNS, MOST_COLUMNS = 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of one node."""

    metric: str
    number: str
    unit: str
    spread: str  #: "±0.8 %"
    low: str  #: "41.9 GB/s"; "–" when there is no interval
    high: str
    n: int
    age: str
    moment: str


def cell(metric: str, figure: Figure, now_ms: int) -> Cell:
    """A figure, worded."""
    interval = None if figure.low is None or figure.high is None else (figure.low, figure.high)
    number, shown_unit = units.split(figure.value, figure.unit)
    return Cell(
        metric=metric,
        number=number,
        unit=shown_unit,
        spread=units.plus_minus(figure.value, interval),
        low=units.figure(figure.low, figure.unit),
        high=units.figure(figure.high, figure.unit),
        n=figure.n,
        age=words.age(figure.at_ms, now_ms),
        moment=words.moment(figure.at_ms),
    )


def columns(named: Sequence[str], every: Sequence[Collection[str]]) -> tuple[str, ...]:
    """The metrics that a table shows: those that were asked for, then the usual ones that some node has.

    Args:
        every: the metrics of each node in the table.
    """
    usual = [name for name in USUAL if any(name in known for known in every)]
    return tuple(dict.fromkeys([*named[:MOST_COLUMNS], *usual]))[: max(LEAST_COLUMNS, min(len(named), MOST_COLUMNS))]


def by_bench(metrics: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Metrics under their bench, in the order given."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        found.setdefault(metric.partition(".")[0], []).append(metric)
    return list(found.items())
