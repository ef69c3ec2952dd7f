"""What a GPU's figures should be at least and can be at most, by one formula, at the clock of each attempt."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from qualify import gates
from qualify.expected_gpu import expectation
from qualify.gpu_records import GpuSettings
from qualify.records import Attempt, Finding, Gpu, Measurement, Node
from qualify.rules_gpu_figures import MEMORY_PART, PRODUCT_PART, PRODUCT_PART_UNKNOWN_CLOCK
from tests.qualify import traces
from tests.qualify.traces import REFERENCE, evidence

H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 81559 << 20, "sm_clock_max_hz": 1.98e9}
RATE = 132 * 4096  #: bf16 operations per cycle
CODES = {"GPU_BELOW_REFERENCE", "GPU_ABOVE_PHYSICS"}


def node(**fields: Any) -> Node:
    return traces.node(device_kind="cuda", gpus=(Gpu(**{"index": 0, **H100, **fields}),))


def attempt(value: float, clock_hz: float | None) -> Attempt:
    context = {} if clock_hz is None else {"clock_hz": clock_hz}
    return Attempt(status="ok", reason=None, value=value, ci95=None, n=9, samples=(), context=context)


def figure(key: str, *tried: tuple[float, float | None]) -> Measurement:
    """The last attempt, with those before it."""
    *earlier, (value, clock_hz) = tried
    unit = "FLOP/s" if key.startswith("matmul") else "B/s"
    context = {} if clock_hz is None else {"clock_hz": clock_hz}
    return Measurement(
        key=key, unit=unit, status="ok", value=value, context=context, attempts=tuple(attempt(*one) for one in earlier)
    )


def found(measurement: Measurement, at: Node | None = None) -> list[Finding]:
    judged = evidence(node=at or node(), telemetry=())
    judged = dataclasses.replace(judged, measurements={measurement.key: measurement})
    return [finding for finding in gates.judge(judged) if finding.code in CODES]


@pytest.mark.parametrize(
    ("key", "clock_hz", "part"),
    [
        ("matmul.bf16", 1.5e9, PRODUCT_PART),
        ("matmul.bf16", None, PRODUCT_PART_UNKNOWN_CLOCK),
        ("memory.triad", None, MEMORY_PART),
        ("memory.triad", 1.5e9, MEMORY_PART),
    ],
)
def test_the_floor_is_a_part_of_what_the_score_expects(key: str, clock_hz: float | None, part: float) -> None:
    """A hundredth below it twice is told, a hundredth above it is not."""
    one = figure(key, (1.0, clock_hz))
    peak = expectation(node(), one, REFERENCE.gpus)
    assert peak is not None
    assert peak.least is not None

    low, high = (peak.least * part * scale for scale in (0.99, 1.03))

    assert [f.code for f in found(figure(key, (low, clock_hz), (low, clock_hz)))] == ["GPU_BELOW_REFERENCE"]
    assert found(figure(key, (high, clock_hz), (high, clock_hz))) == []


def test_a_clock_at_a_tenth_excuses_nothing() -> None:
    """All that 200 MHz can do is a fifth of what half of the reference clock should."""
    slow = (0.9 * RATE * 200e6, 200e6)

    (finding,) = found(figure("matmul.bf16", slow, slow))

    assert finding.severity == "failure"
    assert finding.evidence["limit"] == pytest.approx(0.5 * RATE * 0.5 * 1.83e9)


def test_each_attempt_is_held_against_the_clock_of_its_own_time() -> None:
    """The same figure is poor at 1.9 GHz and sound at 1.0 GHz: one of two misses, and nothing is told."""
    value = 0.6 * RATE * 1.0e9

    assert found(figure("matmul.bf16", (value, 1.9e9), (value, 1.0e9), (value, 1.0e9))) == []
    assert len(found(figure("matmul.bf16", (value, 1.9e9), (value, 1.9e9), (value, 1.0e9)))) == 1


def test_a_link_slower_than_the_part_is_no_fault_of_the_part() -> None:
    """A slot of eight lanes is told by the rules about links; more than sixteen lanes can carry is impossible."""
    assert found(figure("hostlink.h2d", (27e9, None), (27e9, None))) == []
    assert [f.code for f in found(figure("hostlink.h2d", (80e9, None), (80e9, None)))] == ["GPU_ABOVE_PHYSICS"]


def test_memory_that_runs_faster_than_the_table_says_may_be_faster() -> None:
    """2619 MHz give 3.35 TB/s: 3.6 are impossible, unless the board tells a tenth more clock."""
    fast = figure("memory.read", (3.6e12, None), (3.6e12, None))

    assert [f.code for f in found(fast)] == ["GPU_ABOVE_PHYSICS"]
    assert found(fast, node(settings=GpuSettings(memory_clock_max_hz=2.9e9))) == []


def test_a_slice_and_an_unknown_gpu_are_held_against_nothing() -> None:
    """No row of the table speaks of them."""
    slow = figure("matmul.bf16", (1e9, 1.5e9), (1e9, 1.5e9))

    assert found(slow, node(mig=True)) == []
    assert found(slow, node(name="Voodoo 2")) == []
    assert len(found(slow)) == 1
