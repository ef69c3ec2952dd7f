"""The plots of a report's page, each as inline SVG, or None where the report has nothing to draw.

What is drawn was said by a stranger's machine: figures that no machine can have are left out, so no axis overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels.stats import quantile
from qualify.records import Json, Measurement, Point, Report
from reports import svg, units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST, LARGEST = 1e-15, 1e21  #: of a figure that can be drawn, in its unit
MOST_DOTS = 240  #: of a plot of samples


@dataclass(frozen=True, slots=True)
class Drawn:
    """A measured figure that can stand on an axis."""

    measurement: Measurement
    value: float
    ends: tuple[float, float]  #: of its interval; twice the value where there is none

    @property
    def name(self) -> str:
        """The key without its bench, safe for a drawing."""
        return svg.label(self.measurement.key.partition(".")[2])


def drawable(report: Report, *benches: str) -> list[Drawn]:
    """The measured figures of some benches."""
    wanted = [one for one in report.measurements if one.key.partition(".")[0] in benches]
    return [Drawn(one, one.value, ends(one.value, one.ci95)) for one in wanted if one.value and _fits(one.value)]


def ends(value: float, ci95: tuple[float, float] | None) -> tuple[float, float]:
    """The ends of an interval as they can be drawn: around the value, above zero."""
    low, high = sorted(ci95 or (value, value))
    return min(value, max(low, value / 1e3)), max(value, min(high, value * 1e3))


def _fits(value: float) -> bool:
    return SMALLEST < value < LARGEST


def thinned(samples: Sequence[float], most: int = MOST_DOTS) -> list[tuple[int, float]]:
    """At most `most` samples with their places: of each stretch the lowest and the highest, so no outlier hides."""
    if len(samples) <= most:
        return list(enumerate(samples))
    stretches = most // 2
    kept: set[int] = set()
    for stretch in range(stretches):
        places = range(stretch * len(samples) // stretches, (stretch + 1) * len(samples) // stretches)
        kept |= {min(places, key=samples.__getitem__), max(places, key=samples.__getitem__)}
    return [(place, samples[place]) for place in sorted(kept)]


def samples_plot(measurement: Measurement, name: str) -> str | None:
    """Every sample in the order taken, relative to the reported figure; the band is its 95 % interval."""
    value = measurement.value
    if not value or not _fits(value):
        return None
    seen = [(float(place), sample / value - 1) for place, sample in thinned(measurement.samples) if _fits(sample)]
    if len(seen) < 2:
        return None
    low, high = (min(1e6, max(-1.0, end / value - 1)) for end in ends(value, measurement.ci95))
    bottom, top = _reach([sample / value - 1 for sample in measurement.samples if _fits(sample)], low, high)

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0, 0.04, 1, 0.92))
        axes.axis("off")
        axes.set_xlim(-0.02 * len(measurement.samples) - 1, 1.02 * len(measurement.samples))
        axes.set_ylim(bottom, top)
        axes.axhspan(low, high, facecolor=svg.SOFT, linewidth=0)
        axes.axhline(0, color=svg.MUTED, linewidth=0.8)
        inside = [(x, y) for x, y in seen if bottom <= y <= top]
        beyond = [(x, min(top, max(bottom, y))) for x, y in seen if not bottom <= y <= top]
        svg.dots(axes, inside, colour=svg.ACCENT, diameter=2.4)
        svg.dots(axes, beyond, colour=svg.SECOND, diameter=3.4)

    return svg.draw(name, f"Samples of {measurement.key}", samples_words(measurement), 300, 60, paint)


def _reach(ratios: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """What a panel spans: 98 of 100 samples with room to spare, the interval, and at least a percent both ways."""
    bottom = min(-0.01, low, quantile(ratios, 0.01) * 1.3)
    top = max(0.01, high, quantile(ratios, 0.99) * 1.3)
    return bottom * 1.05, min(1e6, top) * 1.05


def samples_words(measurement: Measurement) -> str:
    """How many samples there are and how far they reach: "64 samples, −1.6 % to +1.9 %"."""
    value = measurement.value
    if not value or not measurement.samples:
        return "no samples"
    low, high = (end / value - 1 for end in (min(measurement.samples), max(measurement.samples)))
    return f"{len(measurement.samples)} samples, {low:+.1%} to {high:+.1%}".replace("%", " %").replace("-", "−")


def latency_plot(report: Report) -> str | None:
    """Latency of a dependent load by working set, beside the capacities of the caches."""
    found = [one for one in drawable(report, "memlatency") if one.measurement.unit == "s"]
    spots = [(size, one) for one in found if (size := _size(one.measurement.context, "working_set_bytes"))]
    if len(spots) < 2:
        return None
    spots.sort(key=lambda spot: (spot[0], spot[1].value))
    cpu = report.node.cpu
    edges = [
        (name, size) for name, size in (("L1d", cpu.l1d_bytes), ("L2", cpu.l2_bytes), ("L3", cpu.l3_bytes)) if size
    ]

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((0.13, 0.16, 0.85, 0.74))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlim(spots[0][0] / 4, spots[-1][0] * 8)
        axes.set_ylim(min(one.value for _, one in spots) / 2, max(one.value for _, one in spots) * 2.5)
        _cache_edges(axes, edges)
        for place, (size, one) in enumerate(spots):
            below = place + 1 < len(spots) and spots[place + 1][0] == size  # its twin on other pages stands above
            _plateau(axes, size, one, [edge for _, edge in edges], below=below)
        svg.size_ticks(axes, step=5)
        svg.decade_ticks(axes.yaxis, "s")
        axes.set_xlabel("working set")

    parts = [f"{one.measurement.key} {units.figure(one.value, 's')} at {units.size(size)}" for size, one in spots]
    return svg.draw("latency", "Latency of a dependent load by working set", "; ".join(parts), 480, 320, paint)


def _plateau(axes: Axes, size: float, one: Drawn, edges: Sequence[int], *, below: bool) -> None:
    """A point, and a bar as wide as the level of memory it stands for."""
    left, right = axes.get_xlim()
    start = max([left, *(edge for edge in edges if edge < size)])
    stop = min([right, *(edge for edge in edges if edge >= size)])
    colour, soft = (svg.SECOND, svg.WARM) if one.name.endswith("_4k") else (svg.ACCENT, svg.SOFT)
    axes.plot([start, stop], [one.value, one.value], color=soft, linewidth=5, solid_capstyle="butt")
    axes.plot([size], [one.value], "o", color=colour, markersize=5.5)
    text = f"{one.name.replace('_', ' ')} {units.figure(one.value, 's')}"
    offset = (0, -17 if below else 9)
    axes.annotate(text, (size, one.value), xytext=offset, textcoords="offset points", ha="center", fontsize=10)


def _size(context: Mapping[str, Json], name: str) -> float | None:
    """A number of bytes from a context, where it is one that a machine could hold."""
    size = context.get(name)
    if isinstance(size, bool) or not isinstance(size, int | float) or not 1 <= size <= 1e18:
        return None
    return float(size)


def _cache_edges(axes: Axes, edges: Sequence[tuple[str, int]]) -> None:
    low, high = axes.get_xlim()
    above = axes.get_xaxis_transform()
    for name, size in edges:
        if low < size < high:
            axes.axvline(size, color=svg.MUTED, linewidth=0.8, dashes=(3, 3))
            axes.text(
                size, 1.02, f"{name} {units.size(size)}", transform=above, ha="center", fontsize=9, color=svg.MUTED
            )


def sweep_plot(report: Report) -> str | None:
    """All-reduce by message size: bandwidth of the links with intervals, and the time of one message."""
    by_key = {one.measurement.key: one.measurement for one in drawable(report, "allreduce")}
    bus, payload = by_key.get("allreduce.busbw"), by_key.get("allreduce.algbw")
    rates = _points(bus)
    if len(rates) < 2:
        return None
    times = [(point.at, point.at / point.value) for point in _points(payload)]

    def paint(figure: Figure) -> None:
        upper = figure.add_axes((0.15, 0.50 if times else 0.16, 0.83, 0.44 if times else 0.78))
        _log_sweep(upper, [(point.at, point.value) for point in rates], svg.ACCENT)
        for point in rates:
            low, high = ends(point.value, point.ci95)
            upper.plot([point.at, point.at], [low, high], color=svg.ACCENT, linewidth=3.5, alpha=0.35)
        svg.decade_ticks(upper.yaxis, "B/s", most=6)
        upper.set_title("busbw", loc="left", fontsize=10, color=svg.MUTED)
        lower = upper
        if times:
            upper.tick_params(labelbottom=False)
            lower = figure.add_axes((0.15, 0.13, 0.83, 0.27))
            _log_sweep(lower, times, svg.SECOND)
            svg.decade_ticks(lower.yaxis, "s", most=4)
            lower.set_title("time of one all-reduce", loc="left", fontsize=10, color=svg.MUTED)
        lower.set_xlabel("message per rank")

    parts = [f"{units.size(point.at)}: {units.figure(point.value, 'B/s')}" for point in rates]
    return svg.draw("sweep", "All-reduce by message size", "; ".join(parts), 480, 320, paint)


def _points(measurement: Measurement | None) -> list[Point]:
    found = measurement.series if measurement else ()
    return sorted(
        (point for point in found if _fits(point.value) and 1 <= point.at <= 1e18), key=lambda point: point.at
    )


def _log_sweep(axes: Axes, spots: Sequence[tuple[float, float]], colour: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.plot([x for x, _ in spots], [y for _, y in spots], "o-", color=colour, linewidth=1.4, markersize=4)
    axes.set_xlim(spots[0][0] / 2, spots[-1][0] * 2)
    axes.set_ylim(min(y for _, y in spots) / 2, max(y for _, y in spots) * 2)
    svg.size_ticks(axes, step=6)


def links_plot(report: Report) -> str | None:
    """Network and disk: rates as bars from zero, times as the range from the 5th to the 95th percentile."""
    found = drawable(report, "network", "disk", "hostlink", "peerlink")
    panels: list[tuple[str, list[Drawn], Callable[[Axes, list[Drawn]], None]]] = []
    for unit, paint_panel in (("B/s", _bars), ("IO/s", _bars), ("s", _ranges)):
        rows = [one for one in found if one.measurement.unit == unit]
        if rows:
            panels.append((unit, rows, paint_panel))
    if not panels:
        return None
    gap, row = 38, 21
    height = sum(row * len(rows) + gap for _, rows, _ in panels) + 8

    def paint(figure: Figure) -> None:
        top = 6
        for unit, rows, paint_panel in panels:
            bottom = height - top - row * len(rows)
            axes = figure.add_axes((0.25, bottom / height, 0.58, row * len(rows) / height))
            paint_panel(axes, rows)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_yticks(range(len(rows)), [svg.label(one.measurement.key.replace("_", " ")) for one in rows])
            axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
            axes.grid(visible=False, axis="y")
            (svg.decade_ticks if unit == "s" else svg.linear_ticks)(axes.xaxis, unit, most=5)
            top += row * len(rows) + gap

    parts = [f"{one.measurement.key} {units.figure(one.value, one.measurement.unit)}" for one in found]
    return svg.draw("links", "Network and disk", "; ".join(parts), 480, height, paint)


def _bars(axes: Axes, rows: list[Drawn]) -> None:
    axes.set_xlim(0, max(one.ends[1] for one in rows) * 1.02)
    for place, one in enumerate(rows):
        axes.barh(place, one.value, height=0.5, color=svg.SOFT)
        axes.plot(one.ends, [place, place], color=svg.ACCENT, linewidth=3)
        _say(axes, place, units.figure(one.value, one.measurement.unit))


def _ranges(axes: Axes, rows: list[Drawn]) -> None:
    axes.set_xscale("log")
    spans = [ends(one.value, (one.measurement.p5 or one.value, one.measurement.p95 or one.value)) for one in rows]
    axes.set_xlim(min(low for low, _ in spans) / 1.6, max(high for _, high in spans) * 1.6)
    for place, (one, span) in enumerate(zip(rows, spans, strict=True)):
        axes.plot(span, [place, place], color=svg.SOFT, linewidth=7)
        axes.plot([one.value], [place], "o", color=svg.ACCENT, markersize=5.5)
        _say(axes, place, units.figure(one.value, "s"))


def _say(axes: Axes, place: int, text: str) -> None:
    axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=10)
