"""Two ways to the same figure, asked in turn; the median of their ratios; the table of it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from kernels.spec import BenchError
from reports import units

Side = Callable[[], float]
#: against all the other programs together: of each round the best of them
BEST = "best other"


class PeerError(Exception):
    """Another program gave no figure; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Where a ratio has to lie."""

    low: float | None = None
    high: float | None = None

    def holds(self, ratio: float) -> bool:
        return (self.low is None or ratio >= self.low) and (self.high is None or ratio <= self.high)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        return f">= {self.low:g}" if self.low is not None else f"<= {self.high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A figure of ours, and other programs that measure the same."""

    key: str
    unit: str
    ours: Side
    others: Mapping[str, Side]
    goals: Mapping[str, Goal] = field(default_factory=dict)  #: by the other's name, or BEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Without a ratio it has a reason."""

    key: str
    against: str
    unit: str = ""
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None  #: ours / theirs, the median over the rounds
    ratios: tuple[float, ...] = ()
    goal: Goal | None = None
    reason: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no figure."""
        return None if self.goal is None or self.ratio is None else self.goal.holds(self.ratio)


def limit(key: str, against: str, value: float, bound: float, unit: str, goal: Goal) -> Row:
    """A figure beside a fixed number."""
    ratio = value / bound
    return Row(key=key, against=against, unit=unit, ours=value, theirs=bound, ratio=ratio, ratios=(ratio,), goal=goal)


def skipped(key: str, against: str, reason: str) -> Row:
    """A line that says why there is no figure."""
    return Row(key=key, against=against, reason=reason)


def compare(pair: Pair, rounds: int, *, now: Callable[[], float], until: float) -> Iterator[Row]:
    """Ask all sides `rounds` times, in turn from the first and from the last; a row for each other program.

    A round that would not end before `until` (seconds of `now`) is not begun, but for the first. A program that fails
    is asked no more; where ours fails there is a single row with its reason.
    """
    names = list(pair.others)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    longest_s = 0.0
    for number in range(rounds):
        start = now()
        if number and start + longest_s > until:
            break
        for name in [None, *names] if number % 2 == 0 else [*reversed(names), None]:
            try:
                if name is None:
                    ours.append(pair.ours())
                elif name not in failed:
                    theirs[name].append(pair.others[name]())
            except (PeerError, BenchError, MemoryError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                if name is None:
                    yield skipped(pair.key, "", reason)
                    return
                failed[name] = reason
        longest_s = max(longest_s, now() - start)
    yield from _rows(pair, ours, theirs, failed)


def _rows(
    pair: Pair, ours: Sequence[float], theirs: Mapping[str, Sequence[float]], failed: Mapping[str, str]
) -> Iterator[Row]:
    whole = {name: found for name, found in theirs.items() if name not in failed}
    for name in theirs:
        yield skipped(pair.key, name, failed[name]) if name in failed else _row(pair, name, ours, whole[name])
    if BEST in pair.goals and whole:
        pick = min if pair.unit == "s" else max
        yield _row(pair, BEST, ours, [pick(found) for found in zip(*whole.values(), strict=True)])


def _row(pair: Pair, name: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    ratios = tuple(mine / its for mine, its in zip(ours, theirs, strict=True))
    return Row(
        key=pair.key,
        against=name,
        unit=pair.unit,
        ours=median(ours),
        theirs=median(theirs),
        ratio=median(ratios),
        ratios=ratios,
        goal=pair.goals.get(name),
    )


def table(title: str, rows: Sequence[Row]) -> str:
    """All rows as text, each column as wide as its widest entry."""
    head = ("figure", "ours", "against", "theirs", "ratio", "rounds", "goal", "")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, *text]) + "\n"


def _cells(row: Row) -> tuple[str, str, str, str, str, str, str, str]:
    if row.ratio is None:
        return row.key, units.UNKNOWN, row.against, units.UNKNOWN, units.UNKNOWN, "0", "", f"skipped: {row.reason}"
    verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
    ours, theirs = units.figure(row.ours, row.unit), units.figure(row.theirs, row.unit)
    goal = "" if row.goal is None else str(row.goal)
    return row.key, ours, row.against, theirs, f"{row.ratio:.4f}", str(len(row.ratios)), goal, verdict
