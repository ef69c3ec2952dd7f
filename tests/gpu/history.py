"""Figures taken one after the other as a node's own past, and what that past says of one more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kernels.timing import Figure
from qualify import codec
from qualify.baseline import baseline
from qualify.records import Attempt, Measurement, Report
from qualify.trial import Side

#: any report that was really made: all of it but machine and figures is replaced
SAMPLE = Path(__file__).resolve().parent.parent.parent / "reports/samples/cpu-quick.json"

#: of p95 over p5: figures of an undisturbed GPU lie within a few thousandths
RESTLESS = 1.03


def measurement(figure: Figure) -> Measurement:
    """A figure as a report has it, without what tells of the clock: the past is compared as it was measured."""
    summary = figure.summary
    return Measurement(
        key=figure.key,
        unit=figure.unit,
        status="ok",
        value=summary.value,
        ci95=summary.ci95,
        n=summary.n,
        converged=figure.converged,
        mad=summary.mad,
        p5=summary.p5,
        p95=summary.p95,
        samples=figure.samples,
    )


def reports(past: Sequence[Measurement]) -> tuple[Report, ...]:
    """A report of a real machine for each measurement, newest first."""
    base = codec.loads(SAMPLE.read_text())
    node = replace(base.node, device_kind="cuda", hypervisor="none")
    return tuple(replace(base, node=node, measurements=(one,), findings=(), partial=False) for one in reversed(past))


def judged(past: Sequence[Measurement], now: Measurement) -> tuple[Side | None, float | None]:
    """What the past says of `now`, and its relative change against it.

    Raises:
        AssertionError: the past is too short to say anything.
    """
    history = reports(past)
    expected = baseline(history[0].node, now, history)
    assert expected is not None, f"{len(past)} figures are no past"
    attempt = Attempt(
        status="ok", reason=None, value=now.value, ci95=now.ci95, n=now.n, samples=now.samples, context=now.context
    )
    return expected.side(attempt), expected.change(attempt)


def told(report: Report) -> set[str]:
    """What tells that somebody else used the GPU: foreign processes, refused times, figures that scatter.

    The tests' own process is a foreign one to the command, so only what differs between two runs says anything.
    """
    found = {f"GPU {gpu.index} has {gpu.processes} processes" for gpu in report.node.gpus if gpu.processes}
    for one in report.measurements:
        if one.status == "failed":
            found.add(f"{one.key} failed")
        elif one.p5 and one.p95 and max(one.p95 / one.p5, one.p5 / one.p95) > RESTLESS:
            found.add(f"{one.key} scatters")
    return found
