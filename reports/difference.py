"""A comparison as text for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports import units
from reports.compare import Answer, Compared, Comparison, Outcome, Side
from reports.units import plain

_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    "same": ("same", ""),
    "faster": ("faster", "green"),
    "slower": ("SLOWER", "bold red"),
    "unclear": ("can't tell", "yellow"),
    "lost": ("LOST", "bold red"),
    "absent": ("absent", ""),
    "refused": ("refused", "yellow"),
}
#: of remarks: by what a reader should look at first
_ORDER: tuple[Outcome, ...] = ("lost", "slower", "refused", "unclear", "faster", "same", "absent")
_ANSWERS: dict[Answer, tuple[str, str]] = {
    "no_worse": ("NO FIGURE IS WORSE", "bold green"),
    "worse": ("WORSE", "bold red"),
    "nothing_comparable": ("NOTHING COMPARABLE", "bold yellow"),
}


def table(found: Comparison, console: Console) -> None:
    """Print a comparison: the answer, what differs between the runs, a line for each figure, the reasons."""
    console.print(Text(*_ANSWERS[found.answer]))
    console.print(Text(f"first:  {_side(found.first)}"))
    console.print(Text(f"second: {_side(found.second)}"))
    for warning in found.warnings:
        console.print(Text.assemble(("  ! ", "bold yellow"), plain(warning)))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("", no_wrap=True)
    for title in ("first", "second", "ratio", "95 %"):
        grid.add_column(title, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for one in found.figures:
        if one.outcome not in ("absent", "refused", "lost"):
            grid.add_row(*_cells(one))
    if grid.row_count:
        console.print()
        console.print(grid)
        tolerance = units.percent(found.tolerance, 2)
        console.print(Text(f"ratio: how often as good the second is; tolerance {tolerance}", style="dim"))
    _remarks(found, console)


def _remarks(found: Comparison, console: Console) -> None:
    """Everything worth a word, each said once with the figures it is about; what is lost or refused comes first."""
    said: dict[str, list[str]] = {}
    for one in sorted(found.figures, key=lambda one: _ORDER.index(one.outcome)):
        word = f"{_OUTCOMES[one.outcome][0]}: " if one.outcome in ("lost", "refused", "absent") else ""
        remarks = (word + one.reason if one.reason else "", *(() if one.outcome == "same" else one.warnings))
        for text in remarks:
            if text:
                said.setdefault(plain(text), []).append(plain(one.key))
    if said:
        console.print()
    for text, keys in said.items():
        console.print(Text.assemble((text, "bold"), f": {', '.join(keys)}"))


def _side(side: Side) -> str:
    return f"{plain(side.hostname)}, {units.moment(side.started_unix_s)}, {plain(side.profile)}, {plain(side.report)}"


def _cells(one: Compared) -> tuple[Text, ...]:
    unit = plain(one.unit or "")
    word, style = _OUTCOMES[one.outcome]
    return (
        Text(plain(one.key)),
        Text(units.figure(one.first, unit)),
        Text(units.figure(one.second, unit)),
        Text(units.UNKNOWN if one.speedup is None else f"{one.speedup:.3f}", style="bold"),
        Text("" if one.speedup is None else units.plus_minus(one.speedup, one.ci95)),
        Text(word, style=style),
    )
