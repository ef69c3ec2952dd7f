"""The score: what was measured beside what could be expected, and nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qualify import score as scoring
from qualify.records import Measurement, Node, Score
from qualify.score import NO_FLEET, Fleet, FleetFigure
from tests.qualify.traces import CLOCK_HZ, HEALTHY, REFERENCE, failed, measured, node

NOW = 1.7e9
HALF = 1.002


def scored(
    *measurements: Measurement, at: Node | None = None, fleet: Fleet | None = None, age_s: float = 60.0
) -> Score:
    return scoring.score(
        at or node(),
        {measurement.key: measurement for measurement in measurements},
        REFERENCE,
        now_unix_s=NOW,
        measured_unix_s=NOW - age_s,
        fleet=fleet,
    )


def healthy() -> list[Measurement]:
    return [measured(key) for key in HEALTHY]


def test_a_metric_carries_all_that_is_known_of_it() -> None:
    """Estimate, interval, n, age, expectation with its basis, ratio, context."""
    found = scored(measured("matmul.fp32", context={"variant": "torch 2048"}), age_s=3600.0).metrics["matmul.fp32"]

    assert found.estimate == 1.4336e12
    assert found.ci95 == (1.4336e12 * 0.998, 1.4336e12 * 1.002)
    assert (found.n, found.age_s) == (12, 3600.0)
    assert found.expected == 16 * CLOCK_HZ * 32
    assert found.basis.startswith("16 cores x 3.50 GHz x 32 fp32 operations per cycle (Zen 4")
    assert found.ratio == pytest.approx(0.8)
    assert found.context["variant"] == "torch 2048"


def test_what_has_no_formula_says_so_until_there_is_a_fleet() -> None:
    """Seven nodes are no fleet, eight are."""
    triad = measured("memory.triad", 1.2e11)
    few, enough = (
        Fleet(kind="EPYC 9124", figures={"memory.triad": FleetFigure(median=1.5e11, mad=2e9, n=n)}) for n in (7, 8)
    )

    assert scored(triad).metrics["memory.triad"].basis == NO_FLEET
    assert scored(triad, fleet=few).metrics["memory.triad"].expected is None
    found = scored(triad, fleet=enough).metrics["memory.triad"]
    assert (found.expected, found.basis) == (1.5e11, "median of 8 nodes of the same kind (EPYC 9124)")
    assert found.ratio == pytest.approx(0.8)


def test_a_formula_outranks_a_fleet() -> None:
    """A fleet of throttled nodes does not lower the bar."""
    fleet = Fleet(kind="x", figures={"matmul.fp32": FleetFigure(median=1e12, mad=1e9, n=100)})

    assert scored(measured("matmul.fp32"), fleet=fleet).metrics["matmul.fp32"].ratio == pytest.approx(0.8)


def test_times_have_their_ratio_turned_over() -> None:
    """Twice the cycles is a ratio of one half."""
    found = scored(measured("memlatency.l1", 8 / CLOCK_HZ)).metrics["memlatency.l1"]

    assert found.ratio == pytest.approx(0.5)
    assert found.basis == "4 cycles at 3.50 GHz (Zen 4)"


def test_throttling_below_the_base_clock_is_no_excuse() -> None:
    """At 1.5 GHz half of the base clock's peak is reached at best."""
    throttled = measured("matmul.fp32", 0.8 * 16 * 1.5e9 * 32, context={"clock_hz": 1.5e9})

    assert scored(throttled).metrics["matmul.fp32"].ratio == pytest.approx(0.4)


def test_a_ratio_is_never_capped() -> None:
    """Faster than expected is above 1."""
    assert scored(measured("matmul.fp32", 16 * CLOCK_HZ * 32 * 1.1)).metrics["matmul.fp32"].ratio == pytest.approx(1.1)


def test_health_is_the_geometric_mean_of_the_ratios_there_are() -> None:
    """0.8 and 0.5; a figure without an expectation takes no part."""
    found = scored(measured("matmul.fp32"), measured("matmul.fp64", 16 * CLOCK_HZ * 16 * 0.5), measured("memory.triad"))

    assert found.health == pytest.approx(math.sqrt(0.8 * 0.5))


def test_health_has_the_interval_that_follows_from_its_parts() -> None:
    """Two figures of ±0.2 %: ±0.2 % / sqrt(2)."""
    found = scored(measured("matmul.fp32"), measured("matmul.fp64"))

    assert found.health_ci95 is not None
    assert found.health is not None
    assert found.health_ci95[1] / found.health == pytest.approx(1 + 0.002 / math.sqrt(2), abs=1e-5)


def test_nothing_is_scored_that_was_not_measured() -> None:
    """What failed is listed as missing, and a capability that needs it has no value."""
    found = scored(*(m for m in healthy() if m.key != "memory.triad"), failed("memory.triad", "crash"))

    assert found.missing == ("memory.triad",)
    assert "memory.triad" not in found.metrics
    assert found.capability["hpc-fp64"] is None
    assert found.capability_detail["hpc-fp64"].missing == ("memory.triad",)
    assert found.capability["cpu-inference"] is not None


def test_without_any_figure_there_is_no_number_at_all() -> None:
    """Not zero, not one: nothing."""
    found = scored(failed("matmul.fp32", "crash"))

    assert found.health is None
    assert found.health_ci95 is None
    assert set(found.capability.values()) == {None}
    assert found.metrics == {}


def test_the_reference_node_is_a_hundred() -> None:
    """In every profile."""
    found = scored(*(measured(key, figure.value, unit=figure.unit) for key, figure in REFERENCE.figures.items()))

    assert {name: round(value or 0, 9) for name, value in found.capability.items()} == dict.fromkeys(
        ("general", "cpu-inference", "data-preparation", "hpc-fp64"), 100.0
    )


def test_capability_is_a_weighted_geometric_mean() -> None:
    """Twice the fp64 with a weight of one half: sqrt(2)."""
    found = scored(
        *(
            measured(key, figure.value * (2 if key == "matmul.fp64" else 1), unit=figure.unit)
            for key, figure in REFERENCE.figures.items()
        )
    )

    assert found.capability["hpc-fp64"] == pytest.approx(100 * math.sqrt(2))
    assert found.capability["general"] == pytest.approx(100)


def test_a_gpu_node_has_no_capability_of_the_cpu_class() -> None:
    """Classes never mix."""
    found = scored(*healthy(), at=node(device_kind="cuda"))

    of_gpus = {workload.name for workload in REFERENCE.workloads if workload.device_kind == "cuda"}
    assert set(found.capability) == of_gpus
    assert of_gpus.isdisjoint(scored(*healthy()).capability)
    assert found.health is None


def of_gpu(**factors: float) -> list[Measurement]:
    """What the reference GPU reaches, some figures times a factor; a key's point is written "_"."""
    return [
        measured(key, figure.value * factors.get(key.replace(".", "_"), 1.0), unit=figure.unit)
        for key, figure in REFERENCE.gpu_figures.items()
    ]


GPU_PROFILES = ("training", "decode", "prefill", "rendering", "gpu-hpc-fp64", "transfer")


def test_the_reference_gpu_is_a_hundred() -> None:
    """In every profile of its class, with an interval, and the formula says which GPU that is."""
    found = scored(*of_gpu(), at=node(device_kind="cuda"))

    assert {name: round(value or 0, 9) for name, value in found.capability.items()} == dict.fromkeys(
        GPU_PROFILES, 100.0
    )
    assert all(detail.ci95 for detail in found.capability_detail.values())
    assert "one NVIDIA A100-SXM4-80GB by its data sheet, for one GPU" in found.formula
    assert "EPYC" not in found.formula


@pytest.mark.parametrize(
    ("factors", "profile", "expected"),
    [
        ({"matmul_fp16": 2.0}, "training", 100 * 2**0.70),
        ({"memory_read": 2.0}, "decode", 100 * 2**0.80),
        ({"memlatency_dram": 2.0}, "decode", 100 * 2**-0.10),
        ({"matmul_int8": 4.0}, "prefill", 100 * 4**0.35),
        ({"matmul_fp32": 0.5}, "rendering", 100 * 0.5**0.60),
        ({"matmul_fp64": 0.25}, "gpu-hpc-fp64", 50.0),
        ({"hostlink_h2d": 2.0, "hostlink_d2h": 2.0}, "transfer", 100 * 2**0.75),
        ({"hostlink_h2d": 2.0, "hostlink_d2h": 2.0}, "decode", 100.0),
    ],
)
def test_what_binds_a_workload_moves_its_capability(factors: dict[str, float], profile: str, expected: float) -> None:
    """By its weight in the exponent, and no other's."""
    found = scored(*of_gpu(**factors), at=node(device_kind="cuda"))

    assert found.capability[profile] == pytest.approx(expected)


def test_a_gpu_without_a_figure_has_no_capability_that_needs_it() -> None:
    """A link that was not measured leaves training and transfer unknown, decoding known."""
    found = scored(*(m for m in of_gpu() if m.key != "hostlink.h2d"), at=node(device_kind="cuda"))

    assert {name for name, value in found.capability.items() if value is None} == {"training", "transfer"}
    assert found.capability_detail["training"].missing == ("hostlink.h2d",)


def test_the_formula_is_told_with_the_version_of_the_table() -> None:
    """So that anybody can compute it again."""
    assert f"reference {REFERENCE.version}" in scored().formula


def test_a_figure_without_an_interval_leaves_the_capability_without_one() -> None:
    """An unknown uncertainty is not none."""
    figures = [m for m in healthy() if m.key != "memory.triad"]

    found = scored(*figures, measured("memory.triad", ci95=None))

    assert found.capability["hpc-fp64"] is not None
    assert found.capability_detail["hpc-fp64"].ci95 is None
    assert found.capability_detail["cpu-inference"].ci95 is not None


WIDTHS = st.floats(min_value=1.0001, max_value=2.0)
FACTORS = st.floats(min_value=0.01, max_value=100.0)


@given(st.lists(st.tuples(FACTORS, WIDTHS, WIDTHS), min_size=len(HEALTHY), max_size=len(HEALTHY)))
def test_every_interval_contains_its_estimate(parts: list[tuple[float, float, float]]) -> None:
    """However lopsided the intervals of the figures are."""
    found = scored(
        *(
            measured(key, value * factor, ci95=(value * factor / low, value * factor * high))
            for (key, (_, value)), (factor, low, high) in zip(HEALTHY.items(), parts, strict=True)
        )
    )

    assert found.health is not None
    assert found.health_ci95 is not None
    assert found.health_ci95[0] <= found.health <= found.health_ci95[1]
    for detail in found.capability_detail.values():
        assert detail.value is not None
        assert detail.ci95 is not None
        assert detail.ci95[0] <= detail.value <= detail.ci95[1]


@given(FACTORS)
def test_a_node_that_does_everything_faster_is_that_much_more_capable(factor: float) -> None:
    """All rates times f and all times over f: capability times f."""
    before = scored(*healthy())
    after = scored(*(measured(m.key, (m.value or 0) * (1 / factor if m.unit == "s" else factor)) for m in healthy()))

    for name, value in before.capability.items():
        assert value is not None
        assert after.capability[name] == pytest.approx(value * factor)


@given(st.permutations(list(HEALTHY)))
def test_the_order_of_the_figures_does_not_matter(keys: list[str]) -> None:
    """A score is of a set."""
    assert scored(*(measured(key) for key in keys)) == scored(*healthy())
