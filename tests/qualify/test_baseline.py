"""What a node's past leads to expect, and how rarely that is wrong."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest

from qualify import gates
from qualify.baseline import Baseline, baseline, goodness
from qualify.records import Attempt, Cgroup, Finding, Measurement, Report
from qualify.rules_expected import below_history
from qualify.steadiness import Steadiness
from tests.qualify import traces
from tests.qualify.traces import STEADY, evidence, measured, node, past, report, slow, tried

KEY = "matmul.fp32"
VALUE = traces.HEALTHY[KEY][1]
RUNS = 10_000
BETWEEN_NODES, WITHIN_NODE = 0.08, 0.01
PLAIN = Steadiness(per_clock=False, drop=0.05, prior=0.015)
BY_BEST = Steadiness(per_clock=True, drop=0.026, prior=0.01, by_best=True)


def expected(history: tuple[Report, ...], key: str = KEY) -> Baseline | None:
    return baseline(node(), measured(key), history)


def test_the_centre_is_the_median_of_the_past() -> None:
    """Of 1.00, 1.01, 0.99 and two more: 1.00."""
    found = expected(past(KEY, *(VALUE * part for part in (1.0, 1.01, 0.99, 1.02, 0.98))))

    assert found is not None
    assert math.exp(found.centre) == pytest.approx(VALUE / traces.CLOCK_HZ)
    assert found.n == 5


def test_boost_does_not_matter_to_what_happens_in_the_core() -> None:
    """Ten percent more clock and ten percent more FLOP/s: no change per cycle."""
    found = expected(past(KEY, *[VALUE] * 3))

    faster = measured(KEY, VALUE * 1.1, context={"clock_hz": traces.CLOCK_HZ * 1.1})
    assert found is not None
    assert found.change(gates.combine(faster, faster).attempts[0]) == pytest.approx(0)


def test_memory_is_compared_as_it_is() -> None:
    """Bandwidth does not follow the core's clock."""
    value = traces.TRIAD
    found = expected(past("memory.triad", *[value] * 3), "memory.triad")

    lower = measured("memory.triad", value * 0.9, context={"clock_hz": traces.CLOCK_HZ * 0.9})
    assert found is not None
    assert found.change(gates.combine(lower, lower).attempts[0]) == pytest.approx(-0.1)


def test_times_are_better_when_shorter() -> None:
    """Twice the latency is half as good."""
    one, two = (goodness(measured("memlatency.dram", s), unit="s", how=PLAIN) for s in (1e-7, 2e-7))

    assert one is not None
    assert two is not None
    assert one - two == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "changed",
    [
        {"bench_version": 2},
        {"unit": "OP/s"},
        {"statistic": "p99"},
        {"context": {"threads": 8}},
        {"context": {"cpu_share": 0.5, "involuntary_switches_per_s": 900.0}},
        {"context": {"steal_ratio": 0.3}},
        {"context": {"clock_before_hz": 2e9}},
    ],
    ids=str,
)
def test_only_the_same_method_undisturbed_is_a_past(changed: dict[str, Any]) -> None:
    """Two good figures and one of another kind are no history of three."""
    good = past(KEY, VALUE, VALUE)

    assert expected((*good, report(measured(KEY, VALUE, **changed)))) is None
    assert expected((*good, report(measured(KEY, VALUE)))) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"partial": True},
        {"node": node(id="another")},
        {"node": node(cpu=traces.cpu(model="AMD EPYC 9654"))},
        {"node": node(cpu=traces.cpu(usable_cpus=(0, 1)))},
        {"node": node(cgroup=Cgroup(cpu_quota_cpus=4.0))},
        {"node": node(versions={"torch": "2.9.0"})},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_only_the_same_machine_with_the_same_tools_is_a_past(changed: dict[str, Any]) -> None:
    """Hardware, limits and libraries are the segment's; a new one begins anew."""
    good = past(KEY, VALUE, VALUE)

    assert expected((*good, report(measured(KEY, VALUE), **changed))) is None


def test_what_was_found_low_does_not_become_the_rule() -> None:
    """Five slow runs in a row, each told; the sixth is still compared with the good ones."""
    low = tuple(report(measured(KEY, VALUE * 0.8), place=place, findings=(_finding(KEY),)) for place in range(1, 6))
    good = past(KEY, *(VALUE * part for part in STEADY))

    found = expected(low + good)

    assert found is not None
    assert found.n == 5
    assert math.exp(found.centre) == pytest.approx(VALUE / traces.CLOCK_HZ, rel=0.01)


def _finding(key: str) -> Finding:
    return Finding(code="BELOW_HISTORY", severity="failure", text="x", evidence={}, remedy="x", key=key)


def test_the_same_variant_is_preferred() -> None:
    """Three earlier figures of the same variant outweigh newer ones of another."""
    other = past(KEY, *[VALUE * 2] * 3, context={"variant": "numpy 1024"})
    same = past(KEY, *[VALUE] * 3, context={"variant": "torch 2048"})

    found = baseline(node(), measured(KEY, context={"variant": "torch 2048"}), other + same)

    assert found is not None
    assert math.exp(found.centre) == pytest.approx(VALUE / traces.CLOCK_HZ)


def test_a_steady_figure_has_the_smallest_limit() -> None:
    """0.3 % of spread: 2.6 % per cycle, 5 % for memory."""
    memory = past("memory.triad", *(traces.TRIAD * part for part in STEADY))

    core, shared = expected(past(KEY, *(VALUE * part for part in STEADY))), expected(memory, "memory.triad")

    assert core is not None
    assert shared is not None
    assert (core.drop, shared.drop) == (0.026, 0.05)


def test_a_restless_figure_is_judged_by_its_own_spread() -> None:
    """Spread of 8 %: a loss of a fifth is within it, half is not."""
    restless = past("memory.triad", *(traces.TRIAD * part for part in (1.0, 0.92, 1.1, 0.9, 1.05, 0.97, 1.08, 0.93)))

    assert "BELOW_HISTORY" not in _codes(slow("memory.triad", 0.8), restless)
    assert "BELOW_HISTORY" in _codes(slow("memory.triad", 0.5), restless)


def test_a_virtual_machine_is_not_blamed_for_its_neighbours() -> None:
    """Bandwidth that tenants share may fall by a quarter; work per cycle may not."""
    virtual = node(hypervisor="kvm")
    history = tuple(
        report(measured(KEY, VALUE * part), measured("memory.triad", traces.TRIAD * part), node=virtual, place=place)
        for place, part in enumerate(STEADY)
    )
    found = evidence(slow(KEY, 0.94), slow("memory.triad", 0.75), node=virtual, history=history)

    assert [finding.key for finding in gates.judge(found) if finding.code == "BELOW_HISTORY"] == [KEY]


def _codes(measurement: Measurement, history: tuple[Report, ...]) -> set[str]:
    return {finding.code for finding in gates.judge(evidence(measurement, history=history))}


@pytest.mark.parametrize(("part", "severity"), [(0.94, "warning"), (0.85, "failure")])
def test_a_large_loss_is_a_failure(part: float, severity: str) -> None:
    """Six percent is told, fifteen disqualifies."""
    found = gates.judge(evidence(slow(KEY, part), history=past(KEY, *(VALUE * s for s in STEADY))))

    (finding,) = [finding for finding in found if finding.code == "BELOW_HISTORY"]
    assert (finding.severity, finding.confirmed) == (severity, "3 of 3")


def test_a_quicker_run_is_no_finding() -> None:
    """Better than the past is fine."""
    assert _codes(slow(KEY, 1.1), past(KEY, *(VALUE * s for s in STEADY))) == set()


def test_a_core_is_judged_by_what_it_does_undisturbed() -> None:
    """Half of the samples disturbed: the median falls by 10 %, the best samples and the verdict stay."""
    steady = measured(KEY)
    disturbed = dataclasses.replace(steady, value=VALUE * 0.9, samples=tuple(VALUE * part for part in (0.9, 1.0) * 20))
    undisturbed = dataclasses.replace(steady, value=VALUE, samples=(VALUE,) * 40)
    slower = dataclasses.replace(steady, value=VALUE * 0.95, samples=(VALUE * 0.95,) * 40)
    reference = goodness(undisturbed, unit="FLOP/s", how=BY_BEST)

    assert goodness(disturbed, unit="FLOP/s", how=BY_BEST) == reference
    assert goodness(slower, unit="FLOP/s", how=BY_BEST) == pytest.approx((reference or 0.0) + math.log(0.95))


def _bare(value: float) -> Attempt:
    context = {"clock_hz": traces.CLOCK_HZ}
    return Attempt(status="ok", reason=None, value=value, ci95=None, n=1, samples=(), context=context)


def _simulate(loss: float, runs: int, *, seed: int) -> tuple[float, float]:
    """Part of `runs` that raise BELOW_HISTORY after being measured again, and attempts made beyond the first, a run.

    Nodes differ by 8 %, runs and attempts of one node by 1 %; five earlier runs each.
    """
    draw = random.Random(seed)
    raised = repeated = 0
    template = [report(measured(KEY), place=place) for place in range(5)]
    for _ in range(runs):
        level = VALUE * math.exp(draw.gauss(0, BETWEEN_NODES))
        history = tuple(
            dataclasses.replace(
                earlier,
                measurements=(
                    dataclasses.replace(
                        earlier.measurements[0], value=level * (1 + draw.gauss(0, WITHIN_NODE)), samples=()
                    ),
                ),
            )
            for earlier in template
        )
        values = [level * (1 - loss) * (1 + draw.gauss(0, WITHIN_NODE)) for _ in range(3)]
        for n in (1, 2, 3):
            measurement = dataclasses.replace(
                template[0].measurements[0],
                value=values[n - 1],
                samples=(),  # the value alone speaks
                attempts=tuple(_bare(value) for value in values[: n - 1]),
            )
            found = dataclasses.replace(EVIDENCE, measurements={KEY: measurement}, history=history)
            hits = [hit.ruling for hit in below_history(found) if hit.ruling is not None]
            if not any(ruling.is_open for ruling in hits):
                break
        raised += any(ruling.missed for ruling in hits)
        repeated += n - 1
    return raised / runs, repeated / runs


EVIDENCE = evidence()


def test_healthy_runs_raise_a_false_alarm_in_less_than_one_of_a_thousand() -> None:
    """10,000 healthy runs, and hardly any time spent on measuring again."""
    alarms, repeated = _simulate(0.0, RUNS, seed=1)

    assert alarms <= 0.001
    assert repeated <= 0.25


def test_a_loss_of_five_percent_is_found() -> None:
    """In at least 99 of 100 runs."""
    assert _simulate(0.05, RUNS // 4, seed=2)[0] >= 0.99


def test_a_loss_of_ten_percent_is_always_found() -> None:
    """In every run."""
    assert _simulate(0.10, RUNS // 4, seed=3)[0] == 1.0


def test_a_restless_machine_does_not_cry_wolf() -> None:
    """Runs that differ by 7 % for no reason of the node's own: no alarm in 1000, with five and with fifteen runs."""
    draw = random.Random(4)
    for n in (5, 15):
        alarms = 0
        for _ in range(1000):
            values = [VALUE * math.exp(draw.gauss(0, 0.07)) for _ in range(n)]
            found = expected(past(KEY, *values))
            assert found is not None
            # attempts of one run are alike: the machine drifts over minutes
            alarms += found.side(_bare(VALUE * math.exp(draw.gauss(0, 0.07)))) == "misses"
        assert alarms <= 10


def test_the_spread_of_runs_is_reported() -> None:
    """What the limit was drawn from is in the evidence."""
    (hit,) = below_history(evidence(tried(measured(KEY, VALUE * 0.9), VALUE * 0.9), history=past(KEY, *[VALUE] * 5)))

    assert hit.evidence["change"] == pytest.approx([-0.1, -0.1])
    assert hit.evidence["earlier_figures"] == 5
