"""What a part of the scale benchmark is told and finds, and the table in which it is shown."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.bench import market

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much of everything."""

    seconds: float = 10.0  #: of measuring, in each part
    most_s: float = 90.0  #: of a part in all, where its preparation takes long
    jobs: int = 50_000
    agents: int = 10_000
    attempts: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table."""

    what: str
    reach: str  #: "" = no figure was set
    found: str
    reached: bool | None  #: None = not comparable: smaller, or nothing to reach
    durable: bool  #: it waits for the disk


@dataclass
class Found:
    """What a part found."""

    figures: Figures
    lines: list[Line] = field(default_factory=list)

    def row(self, what: str, reach: str | None, found: str, *, reached: bool | None, durable: bool = False) -> None:
        """Add a line."""
        self.lines.append(Line(what=what, reach=reach or "", found=found, reached=reached, durable=durable))


def synced_writes() -> float:
    """Writes of 4 KiB with fdatasync per second, now: a disk that others use is slower at times."""
    return market.synced_writes()


def table(lines: Iterable[Line], *, synced_per_s: float) -> str:
    """What people read."""
    rows = [("what", "to reach", "found", "")]
    for line in lines:
        told = {True: "reached", False: "MISSED", None: "smaller" if line.reach else ""}[line.reached]
        rows.append((line.what + (" *" if line.durable else ""), line.reach, line.found, told))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    text.append(f"* durable: synchronous=FULL; this disk does {synced_per_s:,.0f} synced writes of 4 KiB a second")
    text.append(f"the load generator shared the {os.cpu_count()} cores with what it loaded, in every part")
    return "\n".join(text)
