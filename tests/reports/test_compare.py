"""Two reports side by side: ratios with intervals, and refusals where two figures are not the same thing."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
from rich.console import Console

from qualify import codec
from qualify.records import Measurement, Report
from reports import compare, difference, ratio
from reports.compare import Compared
from tests import builders


def figure(value: float = 100.0, arm: float = 0.001, unit: str = "B/s", **fields: Any) -> Measurement:
    """memory.copy with an interval of ± `arm` around `value`."""
    return builders.exactly("memory.copy", unit, value, (value * (1 - arm), value * (1 + arm)), **fields)


def report(*measurements: Measurement, **changes: Any) -> Report:
    """A report of these measurements."""
    return builders.report(measurements=measurements, score=None, telemetry=(), **changes)


def only(first: Measurement, second: Measurement, tolerance: float = 0.05) -> Compared:
    """How two measurements of one key compare."""
    (found,) = compare.compare(report(first), report(second), tolerance=tolerance).figures
    return found


@pytest.mark.parametrize(
    ("second", "arm", "outcome"),
    [
        (100.0, 0.001, "same"),
        (104.0, 0.001, "same"),
        (96.0, 0.001, "same"),
        (94.0, 0.001, "slower"),
        (106.0, 0.001, "faster"),
        (94.0, 0.08, "unclear"),
        (106.0, 0.08, "unclear"),
        (100.0, 0.08, "unclear"),
        (95.2, 0.02, "unclear"),
    ],
)
def test_a_difference_counts_when_it_is_certain_and_beyond_the_tolerance(
    second: float, arm: float, outcome: str
) -> None:
    """100 B/s against others, 5 %: certain and large differs, certain and small is the same, all else is unclear."""
    found = only(figure(100.0, arm), figure(second, arm))

    assert found.outcome == outcome
    assert bool(found.reason) == (outcome == "unclear")


def test_times_and_losses_count_the_other_way() -> None:
    """Half of a latency is twice as good; twice the loss is half as good."""
    assert only(figure(100e-9, unit="s"), figure(50e-9, unit="s")).speedup == pytest.approx(2.0)
    assert only(figure(100e-9, unit="s"), figure(50e-9, unit="s")).outcome == "faster"
    assert only(figure(0.01, unit="ratio"), figure(0.02, unit="ratio")).outcome == "slower"


def test_the_interval_of_a_ratio_joins_the_facing_arms_in_the_logarithm() -> None:
    """100 (−0, +e^0.3) against 200 (−e^0.4, +0): low end is 2·exp(−hypot(0.4, 0.3)) = 2·exp(−0.5), high end is 2."""
    first = builders.exactly("memory.copy", "B/s", 100.0, (100.0, 100.0 * math.exp(0.3)))
    second = builders.exactly("memory.copy", "B/s", 200.0, (200.0 * math.exp(-0.4), 200.0))

    found = only(first, second)

    assert found.speedup == pytest.approx(2.0)
    assert found.ci95 == pytest.approx((2 * math.exp(-0.5), 2.0))


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"bench_version": 2}, "measured by different methods: version 1 and version 2"),
        ({"unit": "FLOP/s"}, "given in different units: B/s and FLOP/s"),
        ({"statistic": "p99"}, "different statistics: median and p99"),
        ({"context": {"size_bytes": 8}}, "size_bytes differs: 64 B and 8 B"),
    ],
)
def test_what_is_not_the_same_figure_is_refused(second: dict[str, Any], reason: str) -> None:
    """With the reason; nothing is computed from the two."""
    found = only(figure(context={"size_bytes": 64}), dataclasses.replace(figure(), **second))

    assert (found.outcome, found.reason) == ("refused", reason)
    assert (found.speedup, found.ci95) == (None, None)


def test_a_figure_that_one_report_lacks_is_absent() -> None:
    """It makes the second report neither better nor worse, unless it failed there."""
    skipped = builders.missed("memory.copy", "B/s", "skipped", "no memory")

    assert only(figure(), skipped).reason == "skipped in the second report: no memory"
    assert only(skipped, skipped).reason == "in neither report: no memory"
    both = compare.compare(report(figure()), report(builders.exactly("disk.read", "B/s", 1.0)))
    assert [(one.key, one.outcome) for one in both.figures] == [("memory.copy", "absent"), ("disk.read", "absent")]
    assert both.answer == "nothing_comparable"


def test_a_figure_that_failed_since_makes_it_worse() -> None:
    """However fast the rest is: a wrong result is no figure at all."""
    failed = builders.missed("memory.copy", "B/s", "failed", "wrong result")
    faster = (
        builders.exactly("memory.add", "B/s", 1.0, (1.0, 1.0)),
        builders.exactly("memory.add", "B/s", 2.0, (2.0, 2.0)),
    )

    found = compare.compare(report(figure(), faster[0]), report(failed, faster[1]))

    assert [one.outcome for one in found.figures] == ["lost", "faster"]
    assert found.answer == "worse"


def test_without_an_interval_nothing_is_certain() -> None:
    """Three samples have no interval; the ratio is given all the same."""
    found = only(builders.exactly("memory.copy", "B/s", 100.0), figure(50.0))

    assert (found.outcome, found.reason, found.speedup) == ("unclear", "too few samples for an interval", 0.5)


def test_samples_that_resemble_their_neighbours_are_worth_less() -> None:
    """Alternating ones are worth all they are; 20 low ones and then 20 high ones only as much as their correlation.

    Of 39 pairs 38 agree (each +1/4) and one does not (-1/4): r = 37/39, and sqrt((39 + 37) / (39 - 37)) = sqrt(38).
    """
    assert ratio.dependence([1.0, 3.0] * 20, 2.0) == 1.0
    assert ratio.dependence([1.0] * 20 + [3.0] * 20, 2.0) == pytest.approx(math.sqrt(38))
    assert ratio.dependence([1.0] * 9 + [3.0] * 9, 2.0) == 1.0
    assert ratio.dependence([], 2.0) == 1.0
    assert ratio.dependence([2.0] * 40, 2.0) == 1.0


def test_two_speeds_within_a_run_widen_the_interval_between_runs() -> None:
    """94 against 100 is slower when samples scatter, and uncertain when each run had a slow and a fast half."""
    scattered: list[Any] = [{"samples": (99.0 * k, 101.0 * k) * 20} for k in (1.0, 0.94)]
    halved: list[Any] = [{"samples": (99.0 * k,) * 20 + (101.0 * k,) * 20} for k in (1.0, 0.94)]

    assert only(figure(100.0, 0.01, **scattered[0]), figure(94.0, 0.01, **scattered[1])).outcome == "slower"
    assert only(figure(100.0, 0.01, **halved[0]), figure(94.0, 0.01, **halved[1])).outcome == "unclear"


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ((0.0, (0.0, 0.01)), (0.0, (0.0, 0.02)), "same"),
        ((0.0, (0.0, 0.01)), (0.05, (0.03, 0.08)), "slower"),
        ((0.05, (0.03, 0.08)), (0.0, (0.0, 0.01)), "faster"),
        ((0.0, (0.0, 0.04)), (0.05, (0.03, 0.08)), "unclear"),
        ((0.0, None), (0.05, (0.03, 0.08)), "unclear"),
    ],
)
def test_a_loss_of_nothing_is_compared_by_its_interval(first: Any, second: Any, outcome: str) -> None:
    """Zero has no ratio; intervals that lie apart still tell."""
    a = builders.exactly("network.udp_loss", "ratio", *first)
    b = builders.exactly("network.udp_loss", "ratio", *second)

    assert only(a, b).outcome == outcome


def test_other_conditions_are_told_beside_the_figure() -> None:
    """Another variant, other threads, a clock 10 % apart, an unsettled figure; a clock 1 % apart is the same."""
    first = figure(context={"variant": "plain", "threads": 8, "clock_hz": 3.0e9})
    second = figure(context={"variant": "streaming", "threads": 4, "clock_hz": 3.3e9}, converged=False)

    assert only(first, second).warnings == (
        "variant differs: plain and streaming",
        "threads differs: 8 and 4",
        "clock differs: 3.00 GHz and 3.30 GHz",
        "not settled in the second report",
    )
    assert only(first, figure(context={"variant": "plain", "threads": 8, "clock_hz": 3.03e9})).warnings == ()
    assert only(first, figure()).warnings == ()


def test_a_peer_matters_unless_both_runs_stayed_on_the_machine() -> None:
    """Loopback takes another port each time."""
    there = [figure(context={"peer": f"10.0.0.{n}:5201", "locality": "network"}) for n in (1, 2)]
    here = [figure(context={"peer": f"127.0.0.1:{port}", "locality": "loopback"}) for port in (41, 42)]

    assert only(there[0], there[1]).warnings == ("peer differs: 10.0.0.1:5201 and 10.0.0.2:5201",)
    assert only(here[0], here[1]).warnings == ()
    assert only(here[0], there[0]).warnings == (
        "locality differs: loopback and network",
        "peer differs: 127.0.0.1:41 and 10.0.0.1:5201",
    )


def test_other_circumstances_are_told_on_top() -> None:
    """Another node, another profile, another library, an interrupted run."""
    other = builders.node(id="n-2", versions={**builders.node().versions, "torch": "2.12.0"})

    found = compare.compare(report(figure()), report(figure(), node=other, profile="deep", partial=True))

    assert found.warnings == (
        "node differs: n-7f3a90c2d1 and n-2",
        "profile differs: quick and deep",
        "version of torch differs: 2.13.0 and 2.12.0",
        "the second report is partial",
    )


@pytest.mark.parametrize(("second", "answer"), [(100.0, "no_worse"), (50.0, "worse"), (200.0, "no_worse")])
def test_the_answer_is_whether_anything_became_worse(second: float, answer: str) -> None:
    """Same and faster are fine; one slower figure is not."""
    assert compare.compare(report(figure()), report(figure(second))).answer == answer


def test_the_tolerance_is_the_callers() -> None:
    """6 % less matters at 5 %, and not at 10 %."""
    assert only(figure(), figure(94.0), tolerance=0.05).outcome == "slower"
    assert only(figure(), figure(94.0), tolerance=0.10).outcome == "same"


def shown(found: compare.Comparison, width: int = 80) -> str:
    """The comparison as a terminal shows it."""
    stream = io.StringIO()
    difference.table(found, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_the_table_says_everything_without_colour() -> None:
    """Answer, both sides, every ratio, every reason, within 80 columns."""
    text = shown(compare.compare(builders.healthy(), builders.faulty()))

    assert text.startswith("WORSE\n")
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text.splitlines() if line.startswith("matmul.fp32 "))
    assert row.split()[-1] == "SLOWER"
    assert "0.520" in row
    assert "LOST: failed in the second report: wrong result" in " ".join(text.split())


def test_a_comparison_cannot_steer_the_terminal() -> None:
    """Names and reasons of both reports are shown, not obeyed."""
    evil = "\x1b[2J[red]x"
    failed = builders.missed(evil, evil, "failed", evil)
    ok = builders.exactly(evil, evil, 1.0, context={"variant": evil})

    text = shown(compare.compare(report(ok, profile=evil), report(failed, node=builders.node(hostname=evil))))

    assert "\x1b" not in text
    assert "[red]x" in text


def test_it_is_json_too() -> None:
    """Every field of a comparison has a JSON form that holds numbers only."""
    data = codec.to_json(compare.compare(builders.healthy(), builders.faulty()))

    assert data["answer"] == "worse"
    assert data["schema"] == 1
