"""Slices and warm-up: every expected number is in the test."""

from __future__ import annotations

import pytest

from kernels.flow import Slicer, warmed


def test_bytes_are_counted_into_slices_of_time() -> None:
    """Slices begin with the first bytes; silence is a slice of none, at the end too; the unfinished is left out."""
    slicer = Slicer(0.5)
    for moment, count in ((10.0, 1), (10.4, 2), (10.5, 4), (12.1, 8), (12.6, 16)):
        slicer.add(count, moment)

    assert slicer.slices(12.7) == [3, 4, 0, 0, 8]
    assert slicer.slices(13.0) == [3, 4, 0, 0, 8, 16]
    assert slicer.slices(14.2) == [3, 4, 0, 0, 8, 16, 0, 0]


def test_nothing_received_gives_no_slices() -> None:
    """A flow that never began has no rate, not a rate of zero."""
    assert Slicer(0.5).slices(9.0) == []


@pytest.mark.parametrize(
    ("rates", "kept"),
    [
        ([10.0] * 6, [10.0] * 4),  # two go in any case
        ([1.0, 2.0, 4.0, 7.9, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0], [9.0, 10.0, 10.0, 10.0, 10.0, 10.0]),  # slow start
        ([30.0, 30.0, 10.0, 10.0, 10.0, 10.0], [10.0] * 4),  # a token bucket's burst
        ([10.0, 10.0, 10.0, 2.0, 10.0, 10.0], [10.0, 2.0, 10.0, 10.0]),  # a dip later on is data
        ([5.0], [5.0]),
        ([], []),
    ],
)
def test_the_start_of_a_flow_is_left_out(rates: list[float], kept: list[float]) -> None:
    """Two slices at least, and all before 80 % of the later median is reached; never everything."""
    assert list(warmed(rates)) == kept
