"""Whole reports: what is kept of them, and what is said where they cannot be drawn."""

from __future__ import annotations

import sys

import pytest

from server.problems import ProblemError
from server.web.report_pages import Kept, draw, ratios
from tests import builders


def test_a_server_that_cannot_draw_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots need matplotlib, which a server alone does not."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ProblemError, match="needs matplotlib"):
        draw(builders.healthy())


def test_ratios_are_those_of_the_score() -> None:
    """memory.triad: 140.2 of 153.6 GB/s; without a score there are none."""
    assert ratios(builders.healthy())["memory.triad"] == pytest.approx(140.2 / 153.6, rel=0.01)
    assert ratios(builders.report(score=None)) == {}


def test_what_was_not_looked_at_longest_goes_first() -> None:
    """Two are kept of three."""
    kept: Kept[int] = Kept(2)
    kept.keep("a", 1)
    kept.keep("b", 2)
    assert kept.look("a") == 1
    kept.keep("c", 3)

    assert kept.look("b") is None
    assert (kept.look("a"), kept.look("c")) == (1, 3)
