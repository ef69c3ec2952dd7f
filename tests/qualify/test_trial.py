"""Several attempts at one figure."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qualify.records import Measurement, Point
from qualify.trial import Side, at_least, at_most, attempts, combine, is_crowded, is_disturbed, is_starved, rule
from tests.qualify.traces import failed, measured

SIDES: st.SearchStrategy[Side | None] = st.sampled_from(["meets", "barely", "misses", None])


@pytest.mark.parametrize(
    ("sides", "missed", "is_open", "confirmed"),
    [
        (["meets"], False, False, "0 of 1"),
        (["barely"], False, True, "0 of 1"),
        (["misses"], False, True, "1 of 1"),
        (["barely", "meets"], False, False, "0 of 2"),
        (["misses", "misses"], True, False, "2 of 2"),
        (["misses", "meets"], False, True, "1 of 2"),
        (["misses", "meets", "misses"], True, False, "2 of 3"),
        (["misses", "barely", "meets"], False, False, "1 of 3"),
        (["misses", "misses", "misses"], True, False, "3 of 3"),
        ([None], False, True, "0 of 0"),
        ([None, "misses"], False, True, "1 of 1"),
        ([None, None, "misses"], False, False, "1 of 1"),
        ([None, "misses", "misses"], True, False, "2 of 2"),
    ],
)
def test_two_attempts_that_agree_decide(sides: list[Side | None], missed: bool, is_open: bool, confirmed: str) -> None:
    """2 of 3; one alone decides only when it clearly meets the limit."""
    found = rule(sides)

    assert (found.missed, found.is_open, found.confirmed) == (missed, is_open, confirmed)


@given(st.lists(SIDES, min_size=1, max_size=3))
def test_the_order_of_attempts_does_not_matter(sides: list[Side | None]) -> None:
    """A ruling is of the set."""
    assert rule(sides) == rule(sides[::-1])


@given(st.lists(SIDES, min_size=3, max_size=5))
def test_three_attempts_close_every_case(sides: list[Side | None]) -> None:
    """No fourth is ever asked for."""
    assert not rule(sides).is_open


@pytest.mark.parametrize(
    ("value", "ci95", "least", "most"),
    [
        (11.0, (10.5, 11.5), "meets", "misses"),
        (10.1, (9.9, 10.3), "barely", "misses"),
        (9.0, (8.5, 9.5), "misses", "meets"),
        (10.0, (10.0, 10.0), "meets", "meets"),
        (10.1, None, "barely", "misses"),
    ],
)
def test_an_interval_that_reaches_over_a_limit_is_not_clear(
    value: float, ci95: tuple[float, float] | None, least: Side, most: Side
) -> None:
    """Limit 10, from below and from above."""
    attempt = attempts(measured("disk.read", value, ci95=ci95))[0]

    assert (at_least(10.0)(attempt), at_most(10.0)(attempt)) == (least, most)


def test_of_two_attempts_the_newer_is_reported() -> None:
    """The earlier was only repeated for looking bad."""
    found = combine(measured("memory.triad", 1e11), measured("memory.triad", 1.4e11))

    assert found.value == 1.4e11
    assert [attempt.value for attempt in found.attempts] == [1e11]


def test_of_three_attempts_the_median_is_reported_with_its_own_samples() -> None:
    """1, 3, 2 gives 2; the figures beside it are those of that attempt."""
    first, second, third = (measured("memory.triad", value, samples=(value * 0.9, value)) for value in (1.0, 3.0, 2.0))

    found = combine(combine(first, second), third)

    assert (found.value, found.samples, found.ci95) == (2.0, third.samples, third.ci95)
    assert sorted(attempt.value or 0 for attempt in found.attempts) == [1.0, 3.0]
    assert found.p5 == pytest.approx(1.8 + 0.05 * 0.2)


@pytest.mark.parametrize(("key", "reported"), [("memory.triad", 2.0), ("memlatency.dram", 3.0)])
def test_of_four_attempts_the_worse_of_the_middle_is_reported(key: str, reported: float) -> None:
    """Lower for a rate, higher for a time."""
    found = measured(key, 1.0)
    for value in (4.0, 2.0, 3.0):
        found = combine(found, measured(key, value))

    assert found.value == reported


def test_a_sweep_comes_with_the_attempt_it_belongs_to() -> None:
    """The points of the reported attempt, not of the last one."""
    attempts_made = [
        measured("allreduce.busbw", value, unit="B/s", series=(Point(at=8, value=value, ci95=None, n=1, samples=()),))
        for value in (2.0, 1.0, 3.0)
    ]

    found = combine(combine(attempts_made[0], attempts_made[1]), attempts_made[2])

    assert found.value == 2.0
    assert found.series[0].value == 2.0


def test_a_failure_after_a_figure_keeps_the_figure_and_is_kept() -> None:
    """A crash in a repetition costs nothing but the repetition."""
    found = combine(measured("disk.read"), failed("disk.read", "crash"))

    assert found.status == "ok"
    assert found.unit == "B/s"
    assert found.attempts[0].status == "failed"


def test_two_failures_report_the_newer() -> None:
    """With its reason."""
    found = combine(failed("disk.read", "crash", "first"), failed("disk.read", "timeout", "second"))

    assert (found.status, found.reason) == ("failed", "second")


MEASUREMENTS = st.one_of(
    st.floats(min_value=1e-9, max_value=1e15).map(lambda value: measured("memory.copy", value)),
    st.sampled_from(["crash", "timeout", "wrong_result"]).map(lambda error: failed("memory.copy", error)),
)


@given(st.lists(MEASUREMENTS, min_size=2, max_size=5))
def test_every_attempt_is_kept_and_a_wrong_result_always_wins(made: list[Measurement]) -> None:
    """Whatever came before and after it."""
    found = made[0]
    for again in made[1:]:
        found = combine(found, again)

    assert sorted(str(a.value) for a in attempts(found)) == sorted(str(m.value) for m in made)
    if any(m.context.get("error") == "wrong_result" for m in made):
        assert found.context["error"] == "wrong_result"
        assert found.value is None
    elif any(m.value is not None for m in made):
        assert found.status == "ok"


@pytest.mark.parametrize(
    ("share", "switches", "threads", "crowded", "starved"),
    [
        (0.99, 60.0, 2, False, False),
        (0.85, 90.0, 2, False, False),  # checks between samples
        (0.58, 184.0, 2, True, False),  # a busy loop on one core of two
        (0.84, 150.0, 4, True, False),
        (0.88, 250.0, 8, True, False),
        (0.97, 400.0, 64, False, False),
        (0.50, 20.0, 2, False, True),  # a quota we cannot see
        (0.50, 20.0, 1, False, True),
        (0.50, 90.0, 1, True, False),  # a busy loop on the only core
        (0.65, None, 2, True, False),  # no counter of preemptions
    ],
)
def test_who_took_the_cpus(share: float, switches: float | None, threads: int, crowded: bool, starved: bool) -> None:
    """Preempted by others here, stopped by a limit beyond our sight, or neither."""
    found = measured("matmul.fp32", context={"cpu_share": share, "threads": threads})
    context = {**found.context, "involuntary_switches_per_s": switches}
    found = dataclasses.replace(found, context={k: v for k, v in context.items() if v is not None})

    assert (is_crowded(found), is_starved(found)) == (crowded, starved)
    assert is_disturbed(found) is (crowded or starved)
