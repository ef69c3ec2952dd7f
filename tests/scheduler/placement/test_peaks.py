"""scheduler.placement.peaks and trail: the largest of many, and what is new."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scheduler.placement.peaks import BLOCK, OUT, Peaks
from scheduler.placement.trail import MOST_KEPT, Trail

PLACES = 3 * BLOCK + 5
changes = st.lists(
    st.lists(
        st.tuples(st.integers(0, PLACES - 1), st.integers(OUT, 5)), min_size=1, max_size=6, unique_by=lambda c: c[0]
    ),
    max_size=12,
)


@given(changes)
def test_the_largest_and_the_next_are_found_whatever_changes(rounds: list[list[tuple[int, int]]]) -> None:
    """The lowest place of several; one at a time and many at once."""
    plain = np.full(PLACES, OUT)
    peaks = Peaks(plain)
    for round_ in rounds:
        places, values = (np.array(column) for column in zip(*round_, strict=True))
        plain[places] = values
        if len(round_) == 1:
            peaks.put_one(round_[0][0], round_[0][1])
        else:
            peaks.put(places, values)

        first = int(plain.argmax())
        assert peaks.first() == (first if plain[first] != OUT else None)
        if plain[first] != OUT:
            without = plain.copy()
            without[first] = OUT
            second = int(without.argmax())
            assert peaks.second(first) == (second if without[second] != OUT else None)
            assert peaks.first() == first
    assert np.array_equal(peaks.values, plain)


def test_of_nothing_there_is_no_largest() -> None:
    """An empty market has places none."""
    assert Peaks(np.zeros(0, dtype=np.int64)).first() is None


def test_a_trail_tells_what_is_new_to_each_reader() -> None:
    """Each place once, in order; who was away too long is told so."""
    trail = Trail()
    for place in (7, 3, 7):
        trail.add(place)

    assert (trail.since(0), trail.since(2), trail.since(trail.end)) == ([3, 7], [7], [])
    for place in range(MOST_KEPT):
        trail.add(place)
    assert trail.since(0) is None
    assert trail.since(trail.end - 2) == [MOST_KEPT - 2, MOST_KEPT - 1]
    assert len(trail._places) <= MOST_KEPT
