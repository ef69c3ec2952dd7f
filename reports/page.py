"""A report as one self-contained web page: no script, no request, the raw report inside.

Whatever a report says was written by a stranger's machine: the template escapes all of it, and the page's own policy
forbids scripts and requests even where an escape were forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.stats import QUANTILE
from qualify import codec
from qualify.records import Measurement, Report
from reports import facts, meanings, plots, svg, timeline, units, view
from reports.units import plain

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup

#: relative spreads that an axis may span, in both directions
_SCALES = (0.01, 0.02, 0.05, 0.1, 0.2)
_WIDTH, _HALF = 120.0, 60.0  # of the drawing of a spread, in its own units
_DATA = re.compile(r'<script type="application/json" id="gridmark-report">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a row's samples lie around its figure, in units of the drawing (0..120)."""

    low: float  #: p5
    high: float  #: p95
    left: float  #: of the 95 % interval
    right: float
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with what it shows."""

    title: str
    caption: str
    drawing: str
    wide: bool = False


def page(report: Report) -> str:
    """The page of a report; the same report gives the same bytes.

    Raises:
        RecordError: the report holds a figure that is no number, which its own JSON could not carry.
    """
    raw = codec.dumps(report)
    with svg.style():
        drawn = _plots(report)
        samples = _samples(report)
    scale = _scale(report)
    return _template().render(
        report=report,
        verdict=view.VERDICTS[report.verdict],
        machine=view.machine(report),
        occasion=view.occasion(report),
        counted=view.counted(report),
        notices=view.notices(report),
        groups=[(group, meanings.title(group.bench)) for group in view.groups(report)],
        gaps=view.gaps(report),
        strengths=view.strengths(report),
        unscored=view.unscored(report),
        spread_of=lambda row: _spread(row.measurement, scale),
        scale=units.percent(scale, 1),
        plots=drawn,
        samples=samples,
        sections=facts.sections(report),
        meanings=[(row, meanings.of(row.key)) for group in view.groups(report) for row in group.rows],
        raw=raw.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    )


def embedded(text: str) -> str | None:
    """The report's JSON out of a page that `page` made; None when the text is no such page."""
    if not text.lstrip()[:15].lower().startswith("<!doctype html"):
        return None
    found = _DATA.search(text)
    return found[1] if found else None


@cache
def _template() -> Template:
    return _environment().get_template("report.html")


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        plain=plain,
        prose=_prose,
        percent=units.percent,
        figure=units.figure,
        plus_minus=units.plus_minus,
    )
    return environment


def _prose(text: str) -> Markup:
    """A sentence, escaped, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = plain(text).split("`")
    if len(parts) % 2 == 0:  # an odd number of backticks: one is just a backtick
        return escape(plain(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def _plots(report: Report) -> list[Plot]:
    drawings = (
        Plot(
            "Memory latency",
            "Time of a load whose address depends on the load before it, by the size of what is walked. "
            "A bar spans the level of memory that the point measures; dashed lines are the capacities of the caches.",
            plots.latency_plot(report) or "",
        ),
        Plot(
            "All-reduce by message size",
            "Above: bytes that each link carried per second (busbw), with the 95 % interval. Below: time of one "
            "all-reduce; where it is flat, latency decides.",
            plots.sweep_plot(report) or "",
        ),
        Plot(
            "Network and disk",
            "Rates as bars from zero, with the 95 % interval at their ends; times as the range from the 5th to the "
            "95th percentile around the figure.",
            plots.links_plot(report) or "",
        ),
        Plot(
            "The run",
            "Load of all CPUs and the core clock, with a band for each benchmark.",
            timeline.timeline_plot(report) or "",
            wide=True,
        ),
    )
    return [plot for plot in drawings if plot.drawing]


def _samples(report: Report) -> list[tuple[view.Row, str, str]]:
    """A row, the drawing of its samples and their range in words."""
    rows = [row for group in view.groups(report) for row in group.rows]
    drawn = [(row, plots.samples_plot(row.measurement, f"samples-{place}")) for place, row in enumerate(rows)]
    return [(row, drawing, plots.samples_words(row.measurement)) for row, drawing in drawn if drawing]


def _scale(report: Report) -> float:
    """The smallest span that shows three of four figures whole; longer ones end at its edges."""
    arms = sorted(max(map(abs, arm)) for one in report.measurements if (arm := _arms(one)))
    wanted = arms[int(0.75 * (len(arms) - 1))] if arms else 0.0
    return next((scale for scale in _SCALES if scale >= wanted), _SCALES[-1])


def _arms(measurement: Measurement) -> tuple[float, float] | None:
    """How far p5 and p95 lie from the figure, relative to it; nothing for a tail, which is no middle of them."""
    value = measurement.value
    if measurement.statistic in QUANTILE and measurement.statistic != "median":
        return None
    if not value or measurement.p5 is None or measurement.p95 is None:
        return None
    return measurement.p5 / value - 1, measurement.p95 / value - 1


def _spread(measurement: Measurement, scale: float) -> Spread | None:
    value = measurement.value
    if not value or (measurement.ci95 is None and _arms(measurement) is None):
        return None
    arms = _arms(measurement) or (0.0, 0.0)
    low, high = measurement.ci95 or (value, value)

    def place(ratio: float) -> float:
        return round(_HALF + _HALF * min(1.0, max(-1.0, ratio / scale)), 1)

    interval = units.plus_minus(value, measurement.ci95)
    words = f"5th to 95th percentile {arms[0]:+.1%} to {arms[1]:+.1%}, interval {interval}"
    left, right = place(low / value - 1), place(high / value - 1)
    return Spread(place(arms[0]), place(arms[1]), left, max(right, left + 1.5), words)
