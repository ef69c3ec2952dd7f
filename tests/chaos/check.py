"""Judges a storm by what the jobs themselves wrote: one line per tick, appended to one file per job.

A line is `token tick`. Lines stand in the order in which they were written, whoever wrote them, so a token that
appears again after a newer one means that two attempts ran at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one job wrote."""

    tokens: tuple[int, ...]  #: of its attempts, in the order of their first line
    overlaps: int  #: lines of an attempt after the first line of a newer one
    ticks: Mapping[int, int]  #: token -> lines written


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What went wrong; jobs by number."""

    lost: tuple[int, ...] = ()  #: did not end well, or ended well without having done their work
    doubled: tuple[int, ...] = ()  #: two attempts at the same time
    stale: tuple[int, ...] = ()  #: the result that counts is not the last attempt's

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.stale)


def read(path: Path) -> Trace:
    """The trace of one job; an empty one where it never ran. A last line cut short by a kill is left out."""
    tokens: list[int] = []
    ticks: dict[int, int] = {}
    overlaps = 0
    text = path.read_text() if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        token = int(line.split()[0])
        if token not in ticks:
            tokens.append(token)
            ticks[token] = 0
        elif token != tokens[-1]:
            overlaps += 1
        ticks[token] += 1
    return Trace(tokens=tuple(tokens), overlaps=overlaps, ticks=ticks)


def judge(traces: Mapping[int, Trace], done: Mapping[int, int], *, ticks: int) -> Judgement:
    """Compare what ran with what the server says.

    Args:
        done: job -> token of its committed result, for those that ended well.
        ticks: lines that a whole run writes.
    """
    return Judgement(
        lost=tuple(job for job, trace in traces.items() if job not in done or trace.ticks.get(done[job], 0) != ticks),
        doubled=tuple(job for job, trace in traces.items() if trace.overlaps),
        stale=tuple(job for job, trace in traces.items() if job in done and trace.tokens[-1:] != (done[job],)),
    )
