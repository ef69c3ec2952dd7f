"""What the GPUs of a node should reach, and the score that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernels.device import Device
from qualify import run
from qualify import score as scoring
from qualify.expected_gpu import expectation, part_of, with_clocks
from qualify.gpu_records import GpuReading, GpuSettings
from qualify.plan import Plan
from qualify.records import Gpu, Measurement, MetricScore, Node, Telemetry
from qualify.score import NO_FLEET, Fleet, FleetFigure
from qualify.telemetry import Sampler
from tests.qualify import traces
from tests.qualify.traces import REFERENCE

GIB = 1 << 30
H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 81559 << 20}


def node(*gpus: dict[str, Any]) -> Node:
    return traces.node(
        device_kind="cuda", gpus=tuple(Gpu(**{"index": place, **gpu}) for place, gpu in enumerate(gpus or (H100,)))
    )


def figure(key: str, value: float, **fields: Any) -> Measurement:
    unit = {"matmul": "FLOP/s", "memory": "B/s", "hostlink": "B/s"}.get(key.partition(".")[0], "s")
    near = (0.99 * value, 1.01 * value)
    return Measurement(key=key, unit=unit, status="ok", value=value, n=9, ci95=near, **fields)


def scored(measurement: Measurement, at: Node | None = None, fleet: Fleet | None = None) -> MetricScore:
    found = scoring.score(
        at or node(), {measurement.key: measurement}, REFERENCE, now_unix_s=2.0, measured_unix_s=1.0, fleet=fleet
    )
    return found.metrics[measurement.key]


def test_arithmetic_is_held_against_the_peak_at_the_clock_that_was_observed() -> None:
    """132 SMs x 4096 x 1.4 GHz = 756.9 TFLOP/s: 643.4 of them are 85 %."""
    found = scored(figure("matmul.bf16", 0.85 * 132 * 4096 * 1.4e9, context={"clock_hz": 1.4e9}))

    assert found.ratio == pytest.approx(0.85)
    assert found.expected == 132 * 4096 * 1.4e9
    assert found.basis == "132 SMs x 4096 bf16 operations per cycle x 1400 MHz (NVIDIA H100 80GB HBM3)"


def test_a_clock_that_nobody_saw_is_the_one_behind_the_published_peak() -> None:
    """1830 MHz for tensor cores, 1980 MHz for vector units and fp64."""
    assert scored(figure("matmul.fp16", 1e14)).expected == 132 * 4096 * 1.83e9
    assert scored(figure("matmul.fp32", 1e13)).expected == 132 * 256 * 1.98e9
    assert scored(figure("matmul.fp64", 1e13)).expected == 132 * 256 * 1.98e9


def test_a_clock_below_half_of_the_reference_excuses_nothing() -> None:
    """At 300 MHz a third of what is expected at 915 MHz can be reached."""
    found = scored(figure("matmul.bf16", 132 * 4096 * 305e6, context={"clock_hz": 305e6}))

    assert found.ratio == pytest.approx(1 / 3)
    assert found.basis.endswith("half of its reference clock: it ran at 305 MHz")


def test_a_ratio_is_never_capped() -> None:
    """Faster than the formula says is above 1."""
    assert scored(figure("matmul.bf16", 132 * 4096 * 1.83e9 * 1.2)).ratio == pytest.approx(1.2)


@pytest.mark.parametrize("loop", ["read", "write", "copy", "scale", "add", "triad"])
def test_memory_is_held_against_clock_times_bus(loop: str) -> None:
    """2 x 2619 MHz x 5120 bits, whatever clock the memory ran at."""
    found = scored(figure(f"memory.{loop}", 3.0e12, context={"clock_hz": 1e9, "memory_clock_hz": 1e9}))

    assert found.expected == pytest.approx(3.35232e12)
    assert found.ratio == pytest.approx(3.0 / 3.35232)


def test_the_host_link_is_held_against_the_lanes_of_the_part() -> None:
    """Gen 5 x 16; where the slot gives less, that shows."""
    assert scored(figure("hostlink.h2d", 55.4e9)).ratio == pytest.approx(55.4 / 63.015, rel=1e-4)


def test_what_no_formula_speaks_of_waits_for_a_fleet() -> None:
    """Latency, and a type without units."""
    latency = figure("memlatency.dram", 5e-7)

    assert expectation(node(), latency, REFERENCE.gpus) is None
    assert scored(latency).basis == NO_FLEET
    eight = figure("matmul.fp8", 1e14)
    fleet = Fleet(kind="A30", figures={"matmul.fp8": FleetFigure(median=2e14, mad=1e9, n=8)})
    at = node({"name": "NVIDIA A30", "memory_bytes": 24 * GIB})
    assert scored(eight, at).basis == "NVIDIA A30 has no units for fp8"
    assert scored(eight, at, fleet).ratio == 0.5


def test_an_unknown_gpu_is_told_and_not_scored() -> None:
    """With the name that was perhaps meant."""
    found = scored(figure("matmul.bf16", 1e14), node({"name": "NVIDIA A100-SXM4-80GB-X", "memory_bytes": 80 * GIB}))

    assert found.ratio is None
    assert found.basis.startswith(
        "no row of the reference names 'NVIDIA A100-SXM4-80GB-X'; the nearest is 'NVIDIA A100"
    )


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ((H100, {"name": "NVIDIA L4", "memory_bytes": 24 * GIB}), "the GPUs differ: NVIDIA H100 80GB HBM3 with 80 GiB"),
        ((H100, {"name": "Voodoo 2", "memory_bytes": 12 << 20}), "no row of the reference names 'Voodoo 2'"),
        ((H100, {"name": None}), "does not tell its name"),
    ],
)
def test_gpus_that_differ_have_no_row_in_common(gpus: tuple[dict[str, Any], ...], said: str) -> None:
    """A figure does not say which of them it is of."""
    found = part_of(node(*gpus), REFERENCE.gpus)

    assert found.part is None
    assert said in found.reason


def test_eight_of_a_kind_are_one_part_and_none_is_none() -> None:
    """By name and memory."""
    found = part_of(node(*[H100] * 8), REFERENCE.gpus)

    assert found.part is not None
    assert found.part.sms == 132
    assert part_of(traces.node(), REFERENCE.gpus).reason == "no GPU was seen"


@pytest.mark.parametrize(
    ("clocks_hz", "expected_hz"),
    [((7001e6,), 7001e6), ((9501e6,), 9501e6), ((9501e6, 7001e6), 7001e6), ((None,), 7001e6), ((5e9,), 7001e6)],
)
def test_a_board_with_slower_memory_is_not_held_against_the_faster(
    clocks_hz: tuple[float | None, ...], expected_hz: float
) -> None:
    """A 3060 Ti with GDDR6 or GDDR6X, as NVML's highest memory clock tells; never below the slower of them."""
    boards = [
        {
            "name": "NVIDIA GeForce RTX 3060 Ti",
            "memory_bytes": 8 * GIB,
            "settings": GpuSettings(memory_clock_max_hz=hz),
        }
        for hz in clocks_hz
    ]

    assert scored(figure("memory.copy", 4e11), node(*boards)).expected == 2 * expected_hz * 256 / 8


def reading(at_s: float, *clocks_hz: float | None) -> Telemetry:
    gpus = tuple(GpuReading(index=place, sm_clock_hz=hz, memory_clock_hz=2.6e9) for place, hz in enumerate(clocks_hz))
    return Telemetry(at_s=at_s, gpus=gpus)


def test_a_measurement_gets_the_clocks_that_were_read_while_it_ran() -> None:
    """The median over its time of the slowest GPU: 1.4, 1.3 and 1.5 GHz; readings before and after do not count."""
    product = figure("matmul.bf16", 1e14, started_s=10.0, lasted_s=3.0)
    readings = [
        reading(9.0, 1.98e9, 1.98e9),
        reading(10.5, 1.4e9, 1.6e9),
        reading(11.5, 1.6e9, 1.3e9),
        reading(12.5, None, 1.5e9),
        Telemetry(at_s=12.6),
        reading(14.0, 0.2e9, 0.2e9),
    ]

    found = with_clocks({"matmul.bf16": product}, readings)["matmul.bf16"]

    assert found.context == {"clock_hz": 1.4e9, "memory_clock_hz": 2.6e9}


def test_the_clock_of_an_idle_neighbour_says_nothing() -> None:
    """One GPU of two works: 1.4 GHz; and between two products neither does."""
    product = figure("matmul.bf16", 1e14, started_s=0.0, lasted_s=9.0)
    idle = GpuReading(index=1, sm_clock_hz=0.3e9, busy_ratio=0.0)
    readings = [
        Telemetry(at_s=1.0, gpus=(GpuReading(index=0, sm_clock_hz=1.4e9, busy_ratio=0.99), idle)),
        Telemetry(at_s=2.0, gpus=(GpuReading(index=0, sm_clock_hz=0.3e9, busy_ratio=0.1), idle)),
        Telemetry(at_s=3.0, gpus=(GpuReading(index=0, sm_clock_hz=0.3e9, busy_ratio=0.1), idle)),
    ]

    assert with_clocks({"matmul.bf16": product}, readings)["matmul.bf16"].context == {"clock_hz": 1.4e9}


def test_clocks_that_are_known_already_or_to_nobody_stay() -> None:
    """A case that read its own clock knows better, a disk has no such clock, and without readings nothing is known."""
    own = figure("matmul.bf16", 1e14, started_s=0.0, lasted_s=5.0, context={"clock_hz": 1.7e9, "memory_clock_hz": 2e9})
    unplaced = figure("matmul.fp16", 1e14)

    disk = figure("disk.read", 1e9, started_s=0.0, lasted_s=5.0)
    given = {"matmul.bf16": own, "matmul.fp16": unplaced, "disk.read": disk}

    assert with_clocks(given, [reading(1.0, 1.0e9)]) == given
    assert with_clocks(given, []) == given


def test_a_run_puts_the_clocks_into_its_report() -> None:
    """So that score, gates and market see the same: 1.4 GHz beside the product."""
    request = run.Request(
        node=node(),
        started_unix_s=0.0,
        started_s=0.0,
        report_id="r",
        version="0",
        reference=REFERENCE,
        workdir=Path(),
        seed=1,
        command=(),
        on_event=lambda event: None,
    )
    device = Device(kind="cuda", index=0, name="NVIDIA H100 80GB HBM3", cpus=(0,), threads=1)
    plan = Plan(device=device, profile="quick", budget_s=1.0, slots=(), waived={}, required=frozenset())
    ended = run._Run(plan, request, Sampler())
    value = 0.9 * 132 * 4096 * 1.4e9
    ended._found["matmul.bf16"] = figure("matmul.bf16", value, started_s=1.0, lasted_s=2.0)

    report = ended.report((reading(2.0, 1.4e9),), partial=False)

    assert report.measurements[0].context["clock_hz"] == 1.4e9
    assert report.score is not None
    assert report.score.health == pytest.approx(0.9)
