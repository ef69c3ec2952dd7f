"""What a GPU's past leads to expect, how rarely that is wrong, and that it is confirmed with and without clocks."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from qualify import gates, steadiness
from qualify.baseline import baselines
from qualify.gpu_records import GpuReading
from qualify.records import Finding, Measurement, Report, Telemetry
from qualify.run import Request
from tests.bench import decisions
from tests.bench.decisions import Day, Drawn, Scenario, scenarios, simulate
from tests.qualify.traces import node

RUNS = 200
PRODUCT, TRIAD = "matmul.bf16", "memory.triad"
BY_NAME = {scenario.name: scenario for scenario in scenarios()}


def days(count: int = 5) -> list[Day]:
    """Days of one GPU, the same at every call."""
    draw = random.Random(7)
    return [Day(draw, 1.0, 1.0) for _ in range(count)]


def without_clock(report: Report) -> Report:
    return dataclasses.replace(report, measurements=tuple(_clockless(m) for m in report.measurements))


def _clockless(measurement: Measurement) -> Measurement:
    return dataclasses.replace(measurement, context={})


class Scripted(Drawn):
    """A run of one figure whose attempts are given."""

    def __init__(self, key: str, values: list[float], history: tuple[Report, ...], **context: Any) -> None:
        request: Request = dataclasses.replace(decisions._request(), history=history, started_s=time.monotonic())
        super().__init__(decisions.planned([key]), request, days()[0], Scenario("", 0.0, ()), key)
        self._values: Iterator[float] = iter(values)
        self._context = context

    def _draw(self, key: str) -> Measurement:
        value = next(self._values) * decisions.healthy()[key]
        return dataclasses.replace(self._day.figure(key), value=value, ci95=None, context=self._context)

    def ended(self) -> list[Finding]:
        self.measure()
        self.confirm()
        found = self.report((), partial=False).findings
        return [finding for finding in found if finding.code == "BELOW_HISTORY"]


@pytest.mark.parametrize("name", [name for name in BY_NAME if BY_NAME[name].least is not None])
def test_a_loss_of_speed_is_found(name: str) -> None:
    """In 198 of 200 runs, and a tenth of the speed in all of them; `python -m tests.bench.decisions` makes 10,000."""
    outcome = simulate(BY_NAME[name], RUNS, history=5, seed=1)

    assert outcome.part >= (BY_NAME[name].least or 1.0), outcome
    assert outcome.others == 0


def test_a_sound_gpu_is_left_alone() -> None:
    """No alarm in 200 runs of 25 figures, and a quarter of a figure measured again at most."""
    outcome = simulate(BY_NAME["clean"], RUNS, history=5, seed=1)

    assert outcome.found == 0
    assert outcome.again <= 0.25


def test_the_simulation_is_told_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A row a scenario; the exit code is 0 only where every goal is reached."""
    assert decisions.main(["--runs", "1", "--json"]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["runs"]] == list(BY_NAME)

    missed = decisions.Outcome("clean", 1000, 2, 0, 0.1, "<= 0.1%", False)
    assert decisions.table([missed]).splitlines()[1].split() == [
        *("clean", "1000", "0.20%", "<=", "0.1%", "0.100", "MISSED")
    ]


@pytest.mark.parametrize(
    ("key", "device_kind", "drops"),
    [
        ("matmul.bf16", "cuda", [(True, 0.02), (False, 0.05)]),
        ("memory.read", "cuda", [(False, 0.025)]),
        ("hostlink.h2d", "cuda", [(False, 0.025)]),
        ("hostlink.h2d_pageable", "cuda", [(False, 0.30)]),
        ("launch.graph", "cuda", [(False, 0.15)]),
        ("launch.sync_p99", "cuda", [(False, 0.30)]),
        ("memlatency.l1", "cuda", [(False, 0.05)]),
        ("matmul.bf16", "cpu", [(True, 0.026)]),
        ("memory.read", "cpu", [(False, 0.30)]),
        ("memlatency.l1", "cpu", [(True, 0.026)]),
    ],
)
def test_what_a_machine_shares_may_drift_and_a_gpu_is_not_shared(
    key: str, device_kind: str, drops: list[tuple[bool, float]]
) -> None:
    """In a virtual machine: the GPU's own memory keeps its narrow limit, the host's may lose a quarter."""
    found = steadiness.of(node(device_kind=device_kind, hypervisor="kvm"), key)

    assert [(how.per_clock, how.drop) for how in found] == drops


def test_a_product_is_compared_per_cycle_and_as_it_is() -> None:
    """Both where clocks were read, as it is alone where none was."""
    history = decisions.past(days(), [PRODUCT])
    figure = days()[0].figure(PRODUCT)

    clocked = baselines(decisions.node(), figure, history)
    clockless = baselines(decisions.node(), figure, tuple(map(without_clock, history)))

    assert [one.how.per_clock for one in clocked] == [True, False]
    assert [one.how.per_clock for one in clockless] == [False]


def test_an_alarm_is_confirmed_where_no_clock_is_known() -> None:
    """Eight percent less twice, neither now nor before a clock: measured again, and told as 2 of 2."""
    history = tuple(map(without_clock, decisions.past(days(), [PRODUCT])))
    run = Scripted(PRODUCT, [0.92, 0.92], history)

    (finding,) = run.ended()

    assert (finding.severity, finding.confirmed, run.attempts) == ("warning", "2 of 2", 2)


def test_an_alarm_that_does_not_come_back_is_none_without_a_clock_either() -> None:
    """One low attempt of three."""
    history = tuple(map(without_clock, decisions.past(days(), [PRODUCT])))

    run = Scripted(PRODUCT, [0.80, 1.0, 1.0], history)

    assert run.ended() == []
    assert run.attempts == 3


def test_a_past_with_clocks_does_not_make_a_figure_without_one_doubtful_for_ever() -> None:
    """Nothing to divide by: compared as it is, and a good figure is measured once."""
    run = Scripted(PRODUCT, [1.0, 1.0, 1.0], decisions.past(days(), [PRODUCT]))

    assert run.ended() == []
    assert run.attempts == 1


def test_a_lower_clock_excuses_no_loss_of_speed() -> None:
    """A fifth less at four fifths of the clock: nothing is lost per cycle, and it is told all the same."""
    slow_hz = 0.8 * decisions.CLOCK_HZ
    run = Scripted(PRODUCT, [0.8, 0.8], decisions.past(days(), [PRODUCT]), clock_hz=slow_hz)

    (finding,) = run.ended()

    assert finding.evidence["per_clock"] is False
    assert finding.severity == "failure"


def test_an_attempt_gets_the_clock_of_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the readings so far: both attempts are held against the past per cycle, not only the reported one."""
    reading = GpuReading(index=0, sm_clock_hz=decisions.CLOCK_HZ, busy_ratio=1.0)
    taken = tuple(Telemetry(at_s=float(second), gpus=(reading,)) for second in range(10))
    monkeypatch.setattr(decisions.sampler(), "so_far", lambda: taken)
    run = Scripted(PRODUCT, [0.96, 0.96], decisions.past(days(), [PRODUCT]))
    drawn = run._draw
    monkeypatch.setattr(
        Scripted, "_draw", lambda self, key: dataclasses.replace(drawn(key), started_s=2.0, lasted_s=4.0)
    )

    (finding,) = run.ended()

    assert finding.evidence["per_clock"] is True
    assert finding.confirmed == "2 of 2"


@pytest.mark.parametrize(
    "changed",
    [{"power_limit_w": 500.0}, {"ecc_enabled": False}, {"uuid": "GPU-2"}, {"mig": True}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_gpu_or_another_setting_begins_a_new_past(changed: dict[str, Any]) -> None:
    """What changed figures rightly is told by its own rule, not as a loss."""
    (gpu,) = decisions.node().gpus
    other = dataclasses.replace(decisions.node(), gpus=(dataclasses.replace(gpu, **changed),))
    history = decisions.past(days(), [TRIAD])

    assert baselines(decisions.node(), days()[0].figure(TRIAD), history)
    assert baselines(other, days()[0].figure(TRIAD), history) == ()


def test_a_new_driver_begins_a_new_past_and_its_patches_do_not() -> None:
    """580.95 and 580.105 are one, 590.44 is another."""
    history, figure = decisions.past(days(), [TRIAD]), days()[0].figure(TRIAD)
    patched, newer = (
        dataclasses.replace(decisions.node(), versions={"driver": driver}) for driver in ("580.105.08", "590.44.01")
    )

    assert baselines(patched, figure, history)
    assert baselines(newer, figure, history) == ()


def test_one_odd_run_of_five_does_not_hide_a_loss() -> None:
    """A past of 1, 1, 1, 1 and 0.8: six percent less is still found."""
    figure = days()[0].figure(TRIAD)
    value = decisions.healthy()[TRIAD]
    history = tuple(
        dataclasses.replace(
            report, measurements=(dataclasses.replace(figure, value=value * part * (1 + place * 1e-3)),)
        )
        for place, (report, part) in enumerate(
            zip(decisions.past(days(), [TRIAD]), (1.0, 1.0, 0.8, 1.0, 1.0), strict=True)
        )
    )

    assert Scripted(TRIAD, [0.94, 0.94], history).ended()
    assert gates.CODES["BELOW_HISTORY"].severity == "failure"
