"""The drawing of a course: where its dots lie, and that it is one."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from scheduler.records import Figure
from server.web.history import MOST_DOTS, history

DAY_MS = 86_400_000


def course(*values: float, arm: float | None = None) -> list[Figure]:
    """One figure a day."""
    return [
        Figure(
            value=value, low=None if arm is None else value - arm, high=None if arm is None else value + arm, n=9,
            at_ms=place * DAY_MS, unit="B/s",
        )
        for place, value in enumerate(values)
    ]  # fmt: skip


def heights(drawing: str) -> list[float]:
    return [float(y) for y in re.findall(r'cy="([\d.]+)"', drawing)]


def test_a_single_measurement_has_no_course() -> None:
    """Nor have two at the same moment."""
    assert history("memory.triad", "B/s", course(1e9)) is None
    assert history("memory.triad", "B/s", course(1e9)[:1] * 2) is None


def test_a_higher_figure_lies_higher() -> None:
    """y grows downwards in a drawing."""
    drawn = history("memory.triad", "B/s", course(1e9, 3e9, 2e9))

    assert drawn is not None
    first, second, third = heights(drawn.drawing)
    assert second < third < first


def test_a_flat_course_is_drawn_flat() -> None:
    """A tenth of a percent does not fill the frame: 2 % of the value does, so it moves by a twentieth of it."""
    drawn = history("memory.triad", "B/s", course(1e9, 1.001e9))

    assert drawn is not None
    first, second = heights(drawn.drawing)
    assert 0 < first - second < 5  # of 88


def test_the_words_tell_the_change_and_since_when() -> None:
    """4 GB/s after 5 GB/s is a fifth less."""
    drawn = history("memory.triad", "B/s", course(5e9, 4e9))

    assert drawn is not None
    assert drawn.words == "−20.0 % since 1970-01-01, 2 measurements"


def test_the_drawing_is_well_formed_and_bounded() -> None:
    """It stands in a page as it is; intervals are drawn where there are any; the newest measurements stay."""
    drawn = history("memory.triad", "B/s", course(*range(1, 400), arm=0.5))

    assert drawn is not None
    tree = ET.fromstring(str(drawn.drawing))  # noqa: S314 - made by the line above
    assert tree.attrib["aria-label"].startswith("memory.triad: ")
    assert len(heights(drawn.drawing)) == MOST_DOTS == drawn.drawing.count('class="arm"')


def test_a_drawing_needs_no_style_of_its_own() -> None:
    """The pages' policy forbids it."""
    drawn = history("<b>", "B/s", course(1e9, 2e9))

    assert drawn is not None
    assert "style" not in drawn.drawing
    assert "<b>" not in drawn.drawing
