"""Figures out of their column: as strictly as any record, in every form that was ever written."""

from __future__ import annotations

import pytest

from scheduler.records import Figure
from scheduler.store import text
from scheduler.store.errors import DamagedError

USUAL = '{"value":2.5,"low":2.0,"high":3.0,"n":7,"at_ms":1700000000000,"unit":"B/s"}'


@pytest.mark.parametrize(
    "one",
    [
        USUAL,
        USUAL.replace("2.0", "null").replace("3.0", "null"),
        USUAL.replace("2.5", "2"),
        USUAL.replace(',"unit":"B/s"', ""),
        USUAL.replace("B/s", "µs"),
        USUAL.replace("2.0", "1.7e308").replace("3.0", "1.7e308"),
        USUAL.replace('"n":7', f'"n":{2**60}'),
        '{"unit":"B/s","at_ms":4,"n":7,"high":3.0,"low":2.0,"value":2.5}',
    ],
)
def test_a_figure_of_any_form_is_read_as_every_record_is(one: str) -> None:
    """Without an interval, a whole number for a value, of an earlier version, in another order."""
    column = f'{{"memory.triad":{USUAL},"disk.read":{one}}}'

    found = text.named(Figure, column)

    usual = Figure(value=2.5, low=2.0, high=3.0, n=7, at_ms=1_700_000_000_000, unit="B/s")
    assert found["memory.triad"] == usual
    assert [type(found["disk.read"].value), type(found["disk.read"].n)] == [float, int]


@pytest.mark.parametrize(
    "one",
    [
        USUAL.replace("2.5", "NaN"),
        USUAL.replace("3.0", "Infinity"),
        USUAL.replace('"n":7', '"n":true'),
        USUAL.replace('"n":7', '"n":7.0'),
        USUAL.replace('"n":7', f'"n":{2**64}'),
        USUAL.replace('"B/s"', "null"),
        USUAL.replace('"B/s"', '"\\ud800"'),
        USUAL.replace('"unit"', '"kind"'),
        USUAL.replace('"value":2.5,', ""),
        "[2.5,2.0,3.0,7,1700000000000]",
    ],
)
def test_what_is_no_figure_is_refused(one: str) -> None:
    """As strictly as by the reader of any record."""
    with pytest.raises(DamagedError, match="Figure"):
        text.named(Figure, f'{{"memory.triad":{one}}}')
