"""Tables for a terminal: one row a line, nothing said by colour alone, text of strangers made harmless."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.console import stdout_console
from reports.units import plain

#: a row is never cut where no terminal shows it: the next program reads it
WIDE = 1000
TONES = {"good": "green", "warn": "yellow", "bad": "red", "muted": "dim", "": ""}
Cell = str | tuple[str, str]  #: a text, or a text and its tone


def _console() -> Console:
    return stdout_console(width=None if sys.stdout.isatty() else WIDE)


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Sequence[str] = (),
    stretch: str | None = None,
) -> None:
    """Print a table on stdout.

    Args:
        right: titles of the columns that are aligned to the right.
        stretch: the column that is cut first where the terminal is narrow.
    """
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for title in titles:
        justify: Literal["left", "right"] = "right" if title in right else "left"
        cut = title == stretch
        made.add_column(title, justify=justify, no_wrap=True, overflow="ellipsis", min_width=8 if cut else len(title))
        if cut:
            made.columns[-1].ratio = 1 if sys.stdout.isatty() else None
    for row in rows:
        made.add_row(*(_cell(cell) for cell in row))
    _print(made)


def _print(what: Table) -> None:
    """On a terminal as it is; elsewhere without the blanks that fill its lines."""
    console = _console()
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as captured:
        console.print(what)
    console.print(Text("\n".join(line.rstrip() for line in captured.get().splitlines())), soft_wrap=True)


def heading(text: str) -> None:
    """Print the title of what follows."""
    _console().print(Text(f"\n{text}", style="bold"))


def facts(pairs: Iterable[tuple[str, Cell]]) -> None:
    """Print a list of facts on stdout, their names in a column of their own."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, cell in pairs:
        made.add_row(name, _cell(cell))
    _print(made)


def _cell(cell: Cell) -> Text:
    text, tone = (cell, "") if isinstance(cell, str) else cell
    return Text(plain(text), style=TONES[tone])
