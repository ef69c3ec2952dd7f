"""The harness under a scripted timer: every number here follows from the script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import pytest

from kernels.spec import BenchError, Case, Reading, Variant, Work, WrongResultError
from kernels.timing import Effort, HostTimer, measure

EFFORT = Effort(tolerance=0.01, warm_tolerance=0.005, min_samples=10, min_time_s=0.0)


class ScriptedTimer:
    """Each call lasts what the script says; the clock advances by it and by nothing else."""

    def __init__(self, *seconds: float, then: float | None = None) -> None:
        self._script: Iterator[float] = chain(seconds, repeat(then if then is not None else seconds[-1]))
        self._now = 0.0
        self.calls = 0

    def now(self) -> float:
        return self._now

    def time(self, call: Callable[[], object], calls: int) -> float:
        seconds = 0.0
        for _ in range(calls):
            call()
            seconds += next(self._script)
        self._now += seconds
        self.calls += calls
        return seconds

    def told(self, clock: Callable[[int], float], calls: int) -> float:
        return clock(calls)


def case(work: Work | None = None, *, check: Callable[[], None] = lambda: None, **fields: Any) -> Case:
    variant = Variant(label="only", call=lambda: None, work=work or Work(bytes=100), check=check)
    return replace(Case(key="memory.copy", unit="B/s", variants=(variant,), min_sample_s=0.0), **fields)


def test_a_steady_call_converges_after_the_fewest_samples() -> None:
    """100 bytes in 0.5 s are 200 B/s; ten equal samples have an interval of no width."""
    (figure,) = measure(case(), ScriptedTimer(0.5), EFFORT, budget_s=100)

    assert figure.summary.value == 200
    assert figure.summary.ci95 == (200.0, 200.0)
    assert figure.summary.n == 10
    assert figure.converged
    assert figure.context["stopped_by"] == "converged"
    assert figure.samples == (200.0,) * 10


def test_a_batch_lasts_at_least_its_minimum() -> None:
    """Calls of 1 ms against batches of 5 ms: six calls a batch (1.2 x 5), each sample still seconds per call."""
    (figure,) = measure(case(min_sample_s=5e-3), ScriptedTimer(1e-3), EFFORT, budget_s=10)

    assert figure.context["calls_per_sample"] == 6
    assert figure.summary.value == pytest.approx(1e5)


def test_cold_calls_are_warmed_away() -> None:
    """Calls that become faster one by one are not sampled before they hold still."""
    slow_first = ScriptedTimer(*[2.0**-i for i in range(10)], then=2.0**-10)

    (figure,) = measure(case(), slow_first, EFFORT, budget_s=200)

    assert figure.context["warm"] is True
    assert set(figure.samples) == {100 * 2**10}


def test_warming_lasts_its_minimum() -> None:
    """Calls that are steady but slow at first (a low clock) are outlasted: 5 s of warming at 1 s a call."""
    slow_first = ScriptedTimer(*[1.0] * 6, then=0.5)

    (figure,) = measure(case(), slow_first, Effort(min_warm_s=5.0, min_time_s=0.0), budget_s=200)

    assert set(figure.samples) == {200.0}


def test_noise_that_never_settles_is_stopped_by_the_budget_and_says_so() -> None:
    """1 s and 2 s in turn: the median's interval is 1..2, far wider than 1 %."""
    (figure,) = measure(case(), ScriptedTimer(*[1.0, 2.0] * 200), EFFORT, budget_s=60)

    assert not figure.converged
    assert figure.context["stopped_by"] == "budget"
    assert figure.summary.ci95 == (50.0, 100.0)


def test_the_budget_is_not_overrun_by_more_than_a_sample() -> None:
    """Sampling stops when the next call would end after the budget."""
    timer = ScriptedTimer(*[1.0, 2.0] * 200)

    measure(case(), timer, EFFORT, budget_s=60)

    assert 57 <= timer.now() <= 60


def test_even_no_time_at_all_gives_one_sample_and_no_interval() -> None:
    """A late case still has a figure; with one sample nothing is said of its precision."""
    (figure,) = measure(case(), ScriptedTimer(1.0), EFFORT, budget_s=0)

    assert figure.summary.n == 1
    assert figure.summary.ci95 is None
    assert not figure.converged


def test_the_number_of_samples_is_bounded() -> None:
    """max_samples ends a case that would go on."""
    (figure,) = measure(case(max_samples=25), ScriptedTimer(*[1.0, 2.0] * 500), EFFORT, budget_s=1000)

    assert figure.summary.n == 25
    assert figure.context["stopped_by"] == "samples"


def test_the_best_variant_is_measured_and_all_are_kept() -> None:
    """Streaming moves the same bytes in less time: it is the headline, plain stays in the context."""
    now = {"plain": 0.7, "streaming": 0.5}
    clocked = tuple(
        Variant(label=label, call=lambda: None, work=Work(bytes=100), clock=lambda n, s=seconds: n * s)  # type: ignore[misc]
        for label, seconds in now.items()
    )

    (figure,) = measure(case(variants=clocked), _Ticking(), EFFORT, budget_s=30)

    assert figure.context["variant"] == "streaming"
    assert figure.summary.value == 200
    assert figure.context["variants"]["plain"]["value"] == pytest.approx(100 / 0.7)  # type: ignore[index]
    assert figure.context["variants"]["plain"]["n"] >= 3  # type: ignore[index]


def test_a_hopeless_variant_is_tried_once() -> None:
    """Twice as slow: its time is better spent on the others; what it gave is kept."""
    clocked = tuple(
        Variant(label=str(seconds), call=lambda: None, work=Work(bytes=100), clock=lambda n, s=seconds: n * s)  # type: ignore[misc]
        for seconds in (1.0, 0.5, 0.6)
    )

    (figure,) = measure(case(variants=clocked), _Ticking(), EFFORT, budget_s=30)

    tried = figure.context["variants"]
    assert [tried[label]["n"] >= 3 for label in ("1.0", "0.5", "0.6")] == [False, True, True]  # type: ignore[index]


class _Ticking(ScriptedTimer):
    """A clock that advances by one second whenever it is read, for calls that time themselves."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def now(self) -> float:
        self._now += 1.0
        return self._now


def test_the_fastest_is_the_shortest_where_the_unit_is_a_time() -> None:
    """Of two latencies the smaller one is the better."""
    clocked = tuple(
        Variant(label=str(seconds), call=lambda: None, work=Work(steps=1), clock=lambda n, s=seconds: n * s)  # type: ignore[misc]
        for seconds in (3.0, 2.0)
    )

    (figure,) = measure(case(unit="s", variants=clocked), _Ticking(), EFFORT, budget_s=30)

    assert figure.context["variant"] == "2.0"


def test_a_wrong_answer_voids_the_samples() -> None:
    """A fast device that computes rubbish yields an error, not a number."""

    def wrong() -> None:
        raise WrongResultError("c[7] is 0.0, expected 0.5")

    timer = ScriptedTimer(1.0)

    with pytest.raises(WrongResultError, match=r"c\[7\]"):
        measure(case(check=wrong), timer, EFFORT, budget_s=10)
    assert timer.calls == 1


def test_an_answer_that_becomes_wrong_is_found_at_the_end() -> None:
    """The check runs once more after the last sample."""
    answers = iter([None, WrongResultError("row 3 changed")])

    def check() -> None:
        if error := next(answers):
            raise error

    with pytest.raises(WrongResultError, match="row 3"):
        measure(case(check=check), ScriptedTimer(1.0), EFFORT, budget_s=10)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clock_that_stands_still_or_runs_backwards_is_not_believed(seconds: float) -> None:
    """No figure can be made of no time."""
    with pytest.raises(BenchError, match="cannot be believed"):
        measure(case(), ScriptedTimer(seconds), EFFORT, budget_s=10)


def test_other_readings_come_from_the_same_samples() -> None:
    """algbw is busbw with other bytes; n and samples agree."""
    both = case(Work(bytes=150), also=(Reading(key="memory.half", unit="B/s", work=Work(bytes=75)),))

    whole, half = measure(both, ScriptedTimer(0.5), EFFORT, budget_s=100)

    assert (whole.summary.value, half.summary.value) == (300, 150)
    assert whole.summary.n == half.summary.n


def test_a_tail_is_given_the_samples_it_needs() -> None:
    """A p99 asks for 1,000 samples although the median is known after ten."""
    (figure,) = measure(case(unit="s", statistic="p99"), ScriptedTimer(1.0), EFFORT, budget_s=1e6)

    assert figure.summary.n == 1000
    assert figure.summary.ci95 == (1.0, 1.0)


def test_a_case_that_slows_down_says_by_how_much() -> None:
    """20 samples at 1 s, then at 2 s: the second half's median is twice the first's."""
    timer = ScriptedTimer(*[1.0] * 27, then=2.0)

    (figure,) = measure(case(max_samples=40), timer, Effort(min_samples=40, min_time_s=0.0), budget_s=1e6)

    assert figure.context["drift_ratio"] == pytest.approx(2.0)


def test_the_host_timer_times_calls() -> None:
    """Calls happen as often as asked for, and time passes."""
    seen: list[int] = []

    seconds = HostTimer().time(lambda: seen.append(1), 5)

    assert len(seen) == 5
    assert seconds > 0


def test_a_case_may_explain_itself_by_its_samples() -> None:
    """It is asked after the last check, of the best variant and its samples; what it says joins the context."""
    told: list[str] = []

    def after(variant: Variant, seconds: Sequence[float], calls: int) -> dict[str, object]:
        told.append("after")
        return {"label": variant.label, "longest_s": max(seconds), "calls": calls}

    (figure,) = measure(
        case(check=lambda: told.append("check"), after=after, min_sample_s=5e-3),
        ScriptedTimer(1e-3),
        EFFORT,
        budget_s=10,
    )

    assert told == ["check", "check", "after"]
    assert {name: figure.context[name] for name in ("label", "longest_s", "calls")} == {
        "label": "only",
        "longest_s": pytest.approx(1e-3),
        "calls": 6,
    }
    assert figure.context["calls_per_sample"] == 6
