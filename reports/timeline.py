"""The run as a drawing: load, steal, clock and heat over time, with a band for each bench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from qualify.records import Measurement, Report
from reports import svg, units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST_S = 1e7  #: of a run that can be drawn


def timeline_plot(report: Report) -> str | None:
    """Load, steal and clock over the run, with a band for each bench."""
    seen = sorted((one for one in report.telemetry if _fits(one.at_s)), key=lambda one: one.at_s)
    panels: list[tuple[str, Callable[[Axes], None]]] = []
    busy = [(one.at_s, _part(one.busy_ratio)) for one in seen if one.busy_ratio is not None]
    steal = [(one.at_s, _part(one.steal_ratio)) for one in seen if one.steal_ratio is not None]
    clock = [(one.at_s, one.clock_hz) for one in seen if one.clock_hz and 1e6 < one.clock_hz < 1e11]
    measured = clocks(report)
    heat = [(one.at_s, one.temperature_c) for one in seen if one.temperature_c and 0 < one.temperature_c < 300]
    if len(busy) > 1:
        stolen = any(part > 0.005 for _, part in steal)
        panels.append(("load; dashed: taken by the host" if stolen else "load", lambda axes: _load(axes, busy, steal)))
    if len(clock) + len(measured) > 1:
        panels.append(
            ("clock" if clock else "clock while a figure was measured", lambda axes: _clock(axes, clock, measured))
        )
    if len(heat) > 1:
        panels.append(("temperature", lambda axes: _track(axes, heat, [], "°C")))
    if not panels:
        return None
    end = max([*(one.at_s for one in seen), *(stop for _, _, stop in spans(report))]) or 1.0
    panel_height, height = 92, 34 + 112 * len(panels) + 22

    def paint(figure: Figure) -> None:
        for place, (name, paint_panel) in enumerate(panels):
            bottom = height - 34 - 112 * place - panel_height
            axes = figure.add_axes((0.075, bottom / height, 0.915, panel_height / height))
            axes.set_xlim(0, end)
            paint_panel(axes)
            _bands(axes, report, end, named=place == 0)
            axes.set_title(name, loc="left", fontsize=10, color=svg.MUTED, pad=4 if place else 18)
            axes.tick_params(labelbottom=place == len(panels) - 1)
            svg.linear_ticks(axes.xaxis, "s", most=9)

    return svg.draw(
        "timeline",
        "Load and clock over the run",
        _timeline_words(busy, [*clock, *((start, hz) for start, _, hz in measured)]),
        980,
        height,
        paint,
    )


def _part(ratio: float) -> float:
    return min(1.0, max(0.0, ratio))


def _load(axes: Axes, busy: Sequence[tuple[float, float]], steal: Sequence[tuple[float, float]]) -> None:
    xs, ys = [x for x, _ in busy], [y for _, y in busy]
    axes.fill_between(xs, ys, color=svg.SOFT, linewidth=0)
    axes.plot(xs, ys, color=svg.ACCENT, linewidth=1.2)
    if any(y > 0.005 for _, y in steal):
        axes.plot([x for x, _ in steal], [y for _, y in steal], color=svg.BAD, linewidth=1.4, dashes=(4, 2))
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])


def clocks(report: Report) -> list[tuple[float, float, float]]:
    """(from, to, Hz): the clock that was observed around each figure."""
    found = set()
    for one in report.measurements:
        hz = one.context.get("clock_hz")
        if _is_timed(one) and isinstance(hz, int | float) and 1e6 < hz < 1e11:
            start = one.started_s or 0.0
            found.add((start, start + (one.lasted_s or 0.0), float(hz)))
    return sorted(found)


def _is_timed(one: Measurement) -> bool:
    return one.started_s is not None and one.lasted_s is not None and _fits(one.started_s) and _fits(one.lasted_s)


def _fits(seconds: float) -> bool:
    return 0 <= seconds <= LONGEST_S


def _clock(axes: Axes, clock: Sequence[tuple[float, float]], measured: Sequence[tuple[float, float, float]]) -> None:
    _track(axes, clock, [hz for _, _, hz in measured], "Hz")
    if not clock:
        for start, stop, hz in measured:
            axes.plot([start, stop], [hz, hz], color=svg.SECOND, linewidth=2.4)


def _track(axes: Axes, spots: Sequence[tuple[float, float]], others: Sequence[float], unit: str) -> None:
    ys = [*(y for _, y in spots), *others]
    axes.plot([x for x, _ in spots], [y for _, y in spots], color=svg.SECOND, linewidth=1.2)
    margin = max((max(ys) - min(ys)) * 0.15, max(ys) * 0.02)
    axes.set_ylim(min(ys) - margin, max(ys) + margin)
    svg.linear_ticks(axes.yaxis, unit, most=3)


def spans(report: Report) -> list[tuple[str, float, float]]:
    """(bench, from, to) in seconds of the run; measurements of a bench that follow each other are one span."""
    timed = [
        (one.key.partition(".")[0], one.started_s or 0.0, (one.started_s or 0.0) + (one.lasted_s or 0.0))
        for one in report.measurements
        if _is_timed(one)
    ]
    timed.sort(key=lambda span: span[1])
    found = []
    for bench, parts in groupby(timed, key=lambda span: span[0]):
        stretch = list(parts)
        found.append((bench, stretch[0][1], max(end for _, _, end in stretch)))
    return found


def _bands(axes: Axes, report: Report, end_s: float, *, named: bool) -> None:
    for place, (bench, start, end) in enumerate(spans(report)):
        if start >= end_s:
            continue
        stop = min(end, end_s)
        if place % 2 == 0:
            axes.axvspan(start, stop, facecolor=svg.LINE, alpha=0.45, linewidth=0, zorder=0)
        text = svg.label(bench)
        if named and (stop - start) / end_s * 890 > 5.6 * len(text):
            middle = (start + stop) / 2
            axes.text(
                middle, 1.04, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=9, color=svg.MUTED
            )


def _timeline_words(busy: Sequence[tuple[float, float]], clock: Sequence[tuple[float, float]]) -> str:
    parts = []
    if busy:
        parts.append(f"load from {min(y for _, y in busy):.0%} to {max(y for _, y in busy):.0%}")
    if clock:
        low, high = min(y for _, y in clock), max(y for _, y in clock)
        parts.append(f"clock from {units.figure(low, 'Hz')} to {units.figure(high, 'Hz')}")
    return "; ".join(parts)
