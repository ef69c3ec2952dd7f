"""scheduler.placement.fgd: fragments, gradients and points, against the definitions and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.placement.fgd import Ask, Fragments, Known, Places, Typical
from scheduler.placement.leftovers import NO_GPU, Leftovers
from scheduler.records import Resources
from tests.scheduler.placement.plain import State, gradients, placements, points

sizes = st.sampled_from([(0, 0), (1, 100), (1, 500), (1, 810), (1, 1000), (2, 1000), (8, 1000)])
cpus = st.sampled_from([0, 1000, 4000, 12_000])
typicals = st.builds(
    lambda size, cpu, terms, weight: Typical(
        gpus=size[0], each_milli=size[1], cpu_milli=cpu, terms=terms, weight=weight
    ),
    sizes,
    cpus,
    st.integers(0, 2),
    st.integers(1, 1000),
)
asks = st.builds(lambda size, cpu: Ask(size[0], size[1], cpu), sizes, cpus)
states = st.builds(
    State,
    st.lists(st.sampled_from([0, 90, 190, 500, 530, 1000]), max_size=8).map(tuple),
    st.integers(0, 20_000),
    st.integers(0, 7),
)


def fits(state: State, ask: Ask) -> bool:
    """Whether the job can be placed there."""
    enough = sum(milli >= ask.each_milli for milli in state.free_milli) >= ask.gpus
    return enough and state.cpu_milli_free >= ask.cpu_milli


def places(leftovers: Leftovers, patterns: list[int], *found: State) -> Places:
    """States as placement sees them."""
    return Places(
        np.array([leftovers.code(state.free_milli) for state in found]),
        np.array([patterns.index(state.pattern) for state in found]),
        np.array([state.cpu_milli_free for state in found]),
    )


@given(st.lists(typicals, min_size=1, max_size=6), asks, st.lists(states, min_size=1, max_size=6))
def test_points_are_what_the_definition_says(typical: list[Typical], ask: Ask, found: list[State]) -> None:
    """For any mix, job and nodes; at once, one by one, and again from memory."""
    fitting = [state for state in found if fits(state, ask)]
    patterns = sorted({state.pattern for state in found})
    leftovers = Leftovers()
    scored = Fragments(typical, patterns, leftovers)
    if not fitting:
        return

    wanted = [points(state, ask, typical) for state in fitting]

    every = places(leftovers, patterns, *fitting)
    assert scored.points(ask, every).tolist() == wanted
    assert scored.points(ask, every).tolist() == wanted
    for row, state in enumerate(fitting):
        one = int(every.leftover[row]), int(every.kind[row]), state.cpu_milli_free
        assert scored.points_at(ask, *one) == wanted[row]
        assert scored.points_at(ask, *one) == wanted[row]


@given(st.lists(typicals, min_size=1, max_size=6), asks.filter(lambda ask: ask.is_share), states)
def test_a_share_comes_from_the_gpu_that_saves_most(typical: list[Typical], ask: Ask, state: State) -> None:
    """Of equals the one with least left."""
    if not fits(state, ask):
        return
    leftovers = Leftovers()

    milli = Fragments(typical, [state.pattern], leftovers).gpu_milli_to_take(
        ask, places(leftovers, [state.pattern], state)
    )

    found = gradients(state, ask, typical)
    most = max(gradient for _, gradient in found)
    assert milli == min(left for left, gradient in found if gradient == most)


WHOLE_OR_HALF = (
    Typical(gpus=1, each_milli=1000, cpu_milli=1000, terms=0, weight=3),
    Typical(gpus=1, each_milli=500, cpu_milli=1000, terms=0, weight=1),
)


@pytest.mark.parametrize(
    ("state", "ask", "expected"),
    [
        # 500 left of a GPU that only a quarter of the jobs can use: 3/4 x 500 = 375 fewer are fragments, sigmoid .5927
        (State((500, 1000), 8000), Ask(1, 500, 1000), 59),
        # the whole GPU becomes such a half: nothing was one, 375 are now, sigmoid .4073
        (State((1000,), 8000), Ask(1, 500, 1000), 40),
        # a whole GPU is used up whole: no fragment before or after
        (State((1000, 1000), 8000), Ask(1, 1000, 1000), 50),
        # the last CPUs go to a job without GPUs: two whole GPUs that nobody can use any more, sigmoid(-2) = .1192
        (State((1000, 1000), 8000), Ask(0, 0, 8000), 11),
        # no pattern of terms: all is a fragment before, 1000 less after, sigmoid(1) = .7311
        (State((1000, 1000), 8000, pattern=0), Ask(1, 1000, 1000), 73),
    ],
)
def test_points_by_hand(state: State, ask: Ask, expected: int) -> None:
    """What a half, a whole, CPUs and terms are worth."""
    leftovers = Leftovers()

    scored = Fragments(WHOLE_OR_HALF, [state.pattern], leftovers)

    assert scored.points(ask, places(leftovers, [state.pattern], state)).tolist() == [expected]


def test_without_a_mix_every_node_is_as_good() -> None:
    """Nobody knows what will come."""
    leftovers = Leftovers()
    scored = Fragments((), [], leftovers)

    assert scored.points(Ask(1, 1000, 0), places(leftovers, [1], State((1000,), 1), State((), 1))).tolist() == [50, 50]
    assert scored.points_at(Ask(1, 1000, 0), 0, 0, 1) == 50


def test_gpus_in_any_order_are_one_state() -> None:
    """Sorted, what is owed as nothing; wider nodes later change nothing."""
    leftovers = Leftovers()

    codes = [leftovers.code(free) for free in ((0, 1000, 500), (500, 0, 1000), (-200, 500, 1000), (1000,) * 4)]

    assert codes == [0, 0, 1, 2]
    assert leftovers.milli[:2, :3].tolist() == [[0, 500, 1000], [0, 500, 1000]]
    assert leftovers.milli[0, 3] == NO_GPU


@given(st.lists(st.lists(st.integers(0, 50), min_size=1), max_size=6))
def test_what_was_worked_out_is_not_worked_out_again(rounds: list[list[int]]) -> None:
    """Each key once, and every answer is the right one."""
    known, asked = Known(), []

    def work_out(keys: np.ndarray) -> np.ndarray:
        asked.extend(keys.tolist())
        return keys * 3

    for keys in rounds:
        assert known.scores(np.array(keys), work_out).tolist() == [key * 3 for key in keys]
    assert sorted(asked) == sorted({key for keys in rounds for key in keys})


def test_an_ask_is_the_gpus_and_cpus_of_a_job() -> None:
    """Whole ones, a part of one, none."""
    assert Ask.of(Resources(gpus=2, cpu_milli=3)) == Ask(2, 1000, 3)
    assert Ask.of(Resources(gpu_milli=250, cpu_milli=3)) == Ask(1, 250, 3)
    assert Ask.of(Resources(cpu_milli=3)) == Ask(0, 0, 3)
    assert [Ask(1, milli, 0).is_share for milli in (999, 1000)] == [True, False]


def test_the_long_way_takes_whole_gpus_only() -> None:
    """The oracle itself, by hand."""
    assert placements(State((500, 1000, 1000), 5), Ask(1, 1000, 1)) == [(1000, State((500, 0, 1000), 4))]
    assert gradients(State((500, 1000), 8000), Ask(1, 500, 1000), WHOLE_OR_HALF) == [(500, 1500), (1000, -1500)]
