"""What drawings are made of: thinning, scales, bands; and that figures no machine has are left out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import kernels.benches
from kernels.spec import Bench
from qualify import registry
from qualify.records import Telemetry
from reports import context, facts, meanings, page, plots, svg, timeline
from tests import builders

BENCHES: dict[str, Bench] = registry.load(kernels.benches, "BENCH")


def test_thinning_keeps_what_stands_out() -> None:
    """Of 10 000 samples at most 240 are drawn; the one high and the one low are among them, in their places."""
    samples = [1.0] * 10_000
    samples[1234], samples[8765] = 5.0, 0.2

    kept = plots.thinned(samples)

    assert len(kept) <= plots.MOST_DOTS
    assert (1234, 5.0) in kept
    assert (8765, 0.2) in kept
    assert [place for place, _ in kept] == sorted(place for place, _ in kept)


def test_few_samples_are_drawn_all() -> None:
    """Nothing is thinned below the limit."""
    assert plots.thinned([3.0, 1.0, 2.0]) == [(0, 3.0), (1, 1.0), (2, 2.0)]


def test_ends_of_an_interval_enclose_the_figure() -> None:
    """Swapped ends are put in order; an end that would leave a logarithmic axis is held at a thousandth."""
    assert plots.ends(10.0, (12.0, 9.0)) == (9.0, 12.0)
    assert plots.ends(10.0, (11.0, 12.0)) == (10.0, 12.0)
    assert plots.ends(10.0, (-5.0, 1e9)) == (0.01, 10_000.0)
    assert plots.ends(10.0, None) == (10.0, 10.0)


def test_figures_of_a_bench_that_follow_each_other_are_one_band() -> None:
    """A bench that was measured again later has a second band."""
    times = [("a.x", 0.0, 1.0), ("a.y", 1.0, 2.0), ("b.x", 3.0, 1.0), ("a.x2", 4.0, 1.0), ("c.x", None, None)]
    found = tuple(
        builders.exactly(key, "s", 1.0, started_s=start, lasted_s=lasted) for key, start, lasted in reversed(times)
    )

    bands = timeline.spans(builders.report(measurements=found, score=None))

    assert bands == [("a", 0.0, 3.0), ("b", 3.0, 4.0), ("a", 4.0, 5.0)]


def test_clocks_seen_around_figures_are_drawn_where_telemetry_has_none() -> None:
    """Each clock once, though several figures share it; what is no clock is left out."""
    times: dict[str, Any] = {"started_s": 1.0, "lasted_s": 2.0}
    found = (
        builders.exactly("a.x", "s", 1.0, context={"clock_hz": 3e9}, **times),
        builders.exactly("a.y", "s", 1.0, context={"clock_hz": 3e9}, **times),
        builders.exactly("a.z", "s", 1.0, context={"clock_hz": 0.0}, **times),
        builders.exactly("b.x", "s", 1.0, context={"clock_hz": 2e9}),
    )
    readings = tuple(Telemetry(at_s=float(n), busy_ratio=0.5) for n in range(3))
    report = builders.report(measurements=found, score=None, telemetry=readings)

    assert timeline.clocks(report) == [(1.0, 3.0, 3e9)]
    found_with_two = (*found, builders.exactly("c.x", "s", 1.0, context={"clock_hz": 2e9}, started_s=4.0, lasted_s=1.0))
    with svg.style():
        drawing = timeline.timeline_plot(dataclasses.replace(report, measurements=found_with_two))
    assert drawing is not None
    assert "clock while a figure was measured" in drawing


def test_a_report_without_such_figures_has_no_such_plot() -> None:
    """No latency, no sweep, no network, no disk, no telemetry: nothing is drawn, and nothing is empty."""
    report = builders.report(measurements=(builders.exactly("matmul.fp32", "FLOP/s", 1e12),), score=None, telemetry=())

    with svg.style():
        assert plots.latency_plot(report) is None
        assert plots.sweep_plot(report) is None
        assert plots.links_plot(report) is None
        assert timeline.timeline_plot(report) is None


def test_a_spread_is_placed_on_its_scale() -> None:
    """±10 % over 120 units: −5 % is at 30, +2 % at 72; what is longer ends at the edge; a tail has no spread."""
    found = builders.exactly("a.b", "s", 100.0, (98.0, 102.0), p5=95.0, p95=150.0)

    spread = page._spread(found, 0.10)

    assert spread is not None
    assert (spread.low, spread.left, spread.right, spread.high) == (30.0, 48.0, 72.0, 120.0)
    tail = page._spread(dataclasses.replace(found, statistic="p99"), 0.10)
    assert tail is not None
    assert (tail.low, tail.left, tail.right, tail.high) == (60.0, 48.0, 72.0, 60.0)


def test_text_in_a_drawing_is_text() -> None:
    """It can be searched and read aloud; a dollar starts no formula, and strange letters make no warning."""
    found = builders.exactly("disk.$x$ 漢", "B/s", 1e9, (0.9e9, 1.1e9))

    with svg.style():
        drawing = plots.links_plot(builders.report(measurements=(found,), score=None))

    assert drawing is not None
    assert ">disk.$x$ ?</text>" in drawing


def test_ranges_of_cpus_read_as_linux_writes_them() -> None:
    """Order and repetition do not matter."""
    assert facts.ranges((5, 0, 1, 2, 2)) == "0-2,5"
    assert facts.ranges(()) == "–"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("memory_bytes", 1 << 30, "1 GiB"),
        ("steal_ratio", 0.031, "3.10 %"),
        ("clock_hz", 3.2e9, "3.20 GHz"),
        ("idle_s", 2.5e-5, "25.0 µs"),
        ("rate_bytes_per_s", 1.25e9, "1.25 GB/s"),
        ("shape", [4, 8], "4×8"),
        ("pinned", True, "yes"),
        ("drift", None, "unknown"),
        ("periods", 412, "412"),
        ("variants", {"plain": 1.0, "streaming": 2}, "plain 1; streaming 2"),
    ],
)
def test_a_context_value_is_said_in_its_unit(name: str, value: object, text: str) -> None:
    """The unit is read from the end of the name."""
    assert context.value_text(name, value) == text  # type: ignore[arg-type]  # a JSON value


@pytest.mark.parametrize("bench", BENCHES.values(), ids=BENCHES)
def test_every_figure_of_every_bench_has_a_meaning(bench: Bench) -> None:
    """In the table of formulas; a new one shows the first line of the bench's own file until it has one."""
    assert meanings.title(bench.name) == bench.title
    assert {key for keys in bench.keys.values() for key in keys} <= set(meanings.FORMULAS)
    assert meanings.of(f"{bench.name}.something_new") or not bench.open


def test_no_meaning_is_left_over() -> None:
    """A formula for a figure that no bench has would mislead."""
    known = {key for bench in BENCHES.values() for keys in bench.keys.values() for key in keys}

    assert set(meanings.FORMULAS) <= known


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_all_text_has_the_contrast_that_accessibility_asks_for(scheme: int) -> None:
    """4.5 : 1 for every colour that text takes, on paper and on panels."""
    style = Path(page.__file__).with_name("templates").joinpath("report.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    backs = [luminance(colours[name]) for name in ("paper", "panel")]

    for name in ("ink", "muted", "accent", "good", "bad", "warn", "second"):
        for back in backs:
            light, dark = max(back, luminance(colours[name])), min(back, luminance(colours[name]))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name
