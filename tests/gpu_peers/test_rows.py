"""The arithmetic of comparisons: turns, medians of ratios, goals, and the table they end in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernels.spec import WrongResultError
from tests.gpu.bench.child import decode, encode
from tests.gpu.bench.rows import BEST, Goal, Pair, PeerError, Row, Side, compare, limit, skipped, table


class Clock:
    """Seconds that only the sides let pass."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def side(values: list[float], order: list[str], name: str, clock: Clock | None = None) -> Side:
    """Gives the values one by one; each takes a second."""
    left = iter(values)

    def call() -> float:
        order.append(name)
        if clock:
            clock.s += 1
        return next(left)

    return call


def failing(error: Exception) -> Side:
    def call() -> float:
        raise error

    return call


def rows(pair: Pair, rounds: int = 3, now: Callable[[], float] | None = None, until: float = 1e9) -> list[Row]:
    return list(compare(pair, rounds, now=now or Clock(), until=until))


def test_sides_take_turns_from_both_ends() -> None:
    """Who comes first gets the cooler GPU: in every second round it is the other."""
    order: list[str] = []
    others = {name: side([1.0] * 3, order, name) for name in ("b", "c")}
    rows(Pair(key="k", unit="B/s", ours=side([1.0] * 3, order, "a"), others=others))

    assert "".join(order) == "abc" + "cba" + "abc"


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """1/2, 3/1 and 4/4: the median is 1, not the ratio 3/2 of the medians."""
    pair = Pair(key="k", unit="B/s", ours=side([1.0, 3.0, 4.0], [], ""), others={"x": side([2.0, 1.0, 4.0], [], "")})

    (row,) = rows(pair)

    assert (row.ours, row.theirs, row.ratio, row.ratios) == (3.0, 2.0, 1.0, (0.5, 3.0, 1.0))


@pytest.mark.parametrize(("unit", "best"), [("B/s", (5.0, 6.0)), ("s", (4.0, 3.0))])
def test_the_best_other_is_picked_in_each_round(unit: str, best: tuple[float, float]) -> None:
    """The higher rate, the shorter time; in addition to a row for each."""
    others = {"x": side([5.0, 3.0], [], ""), "y": side([4.0, 6.0], [], "")}
    pair = Pair(key="k", unit=unit, ours=side([1.0, 1.0], [], ""), others=others, goals={BEST: Goal(low=0.5)})

    found = {row.against: row for row in rows(pair, 2)}

    assert list(found) == ["x", "y", BEST]
    assert found[BEST].ratios == (1 / best[0], 1 / best[1])
    assert found["x"].reached is None
    assert found[BEST].reached is False


def test_a_program_that_fails_costs_its_row_only() -> None:
    """With its reason; the best is that of the others."""
    others = {"x": failing(PeerError("no nvcc\nmore")), "y": side([2.0] * 3, [], "")}
    pair = Pair(key="k", unit="B/s", ours=side([1.0] * 3, [], ""), others=others, goals={BEST: Goal(low=0.5)})

    broken, whole, best = rows(pair)

    assert (broken.against, broken.reason, broken.ratio) == ("x", "no nvcc", None)
    assert (whole.ratio, best.ratio, best.reached) == (0.5, 0.5, True)


def test_a_wrong_result_of_ours_is_no_figure() -> None:
    """One row, with what was wrong."""
    pair = Pair(key="k", unit="B/s", ours=failing(WrongResultError("c[7]")), others={"x": side([2.0], [], "")})

    assert rows(pair) == [skipped("k", "", "c[7]")]


def test_rounds_end_with_the_time_but_one_is_always_made() -> None:
    """Two sides of a second each: in five seconds two rounds fit; in none, one."""
    for until, made in ((5.0, 2), (0.0, 1)):
        clock = Clock()
        pair = Pair(
            key="k", unit="B/s", ours=side([1.0] * 9, [], "", clock), others={"x": side([1.0] * 9, [], "", clock)}
        )
        (row,) = rows(pair, 9, clock, until)
        assert len(row.ratios) == made


@pytest.mark.parametrize(
    ("goal", "words", "good", "bad"),
    [
        (Goal(low=0.99), ">= 0.99", 0.99, 0.9899),
        (Goal(high=1.0), "<= 1", 1.0, 1.001),
        (Goal(low=0.99, high=1.01), "0.99 to 1.01", 1.01, 1.011),
    ],
)
def test_goals_hold_at_their_bounds(goal: Goal, words: str, good: float, bad: float) -> None:
    """And not beyond; nan holds nowhere."""
    assert str(goal) == words
    assert (goal.holds(good), goal.holds(bad), goal.holds(float("nan"))) == (True, False, False)


def test_the_table_is_as_people_read_it() -> None:
    """Units with prefixes, a verdict where there is a goal, a reason where there is no figure."""
    rows = [
        limit("matmul.bf16", "known", 800e12, 770e12, "FLOP/s", Goal(low=1.0)),
        limit("memory.copy", "other", 2.9e12, 3.0e12, "B/s", Goal(low=0.99)),
        skipped("allreduce.busbw", "NCCL", "one GPU"),
        limit("hostlink.h2d", "CV of 20 runs", 0.001, 0.002, "ratio", Goal(high=1.0)),
    ]

    assert table("a GPU", rows) == (
        "a GPU\n"
        "figure           ours         against        theirs       ratio   rounds  goal\n"
        "matmul.bf16      800 TFLOP/s  known          770 TFLOP/s  1.0390  1       >= 1     reached\n"
        "memory.copy      2.90 TB/s    other          3.00 TB/s    0.9667  1       >= 0.99  MISSED\n"
        "allreduce.busbw  –            NCCL           –            –       0                skipped: one GPU\n"
        "hostlink.h2d     0.100 %      CV of 20 runs  0.200 %      0.5000  1       <= 1     reached\n"
    )


def test_a_row_crosses_the_border_of_a_process() -> None:
    """With and without a goal; what is no row is refused."""
    for row in (skipped("k", "x", "why"), limit("k", "x", 1.5, 3.0, "s", Goal(low=0.1, high=1.0))):
        assert decode(encode(row)) == row
    for line in ("", "{}", "[1]", '"text"', '{"goal": null, "ratios": []}', "warning: something"):
        with pytest.raises(ValueError):  # noqa: PT011 - any
            decode(line)
