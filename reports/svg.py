"""Matplotlib figures as inline SVG that takes its colours and its typeface from the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from reports import units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Stand-ins that matplotlib accepts as colours; in the finished SVG each becomes a custom property of the page,
# so that one drawing serves light, dark and print.
INK, MUTED, LINE, ACCENT, SOFT, SECOND, WARM, BAD = (f"#1a2b0{digit}" for digit in range(1, 9))
_PROPERTIES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SOFT: "var(--soft)",
    SECOND: "var(--second)",
    WARM: "var(--warm)",
    BAD: "var(--bad)",
}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and costs a tenth of outlines
    "svg.hashsalt": "gridmark",  # ids do not change from run to run
    "text.parse_math": False,  # a "$" in a name is a dollar
    "path.simplify": False,  # dots are drawn as lines of no length, which simplifying removes
    "font.size": 11.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.solid_capstyle": "round",
}
_PIXELS_PER_INCH = 72  # one SVG unit is one CSS pixel


@contextmanager
def style() -> Iterator[None]:
    """The look of every plot; figures must be made and drawn inside."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def draw(name: str, title: str, description: str, width: int, height: int, paint: Callable[[Figure], None]) -> str:
    """Let `paint` fill a figure of `width` × `height` CSS pixels; return it as an <svg> element.

    Args:
        name: unique on the page; every id inside begins with it.
        description: what a reader who cannot see the drawing should know.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH), layout=None)
    canvas = FigureCanvasSVG(figure)
    paint(figure)
    raw = io.StringIO()
    canvas.print_svg(raw, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(raw.getvalue(), name, title, description)


def _inline(drawing: str, name: str, title: str, description: str) -> str:
    body = drawing[drawing.index(">", drawing.index("<svg")) + 1 : drawing.rindex("</svg>")]
    box = re.search(r'viewBox="([^"]+)"', drawing)
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<style type="text/css">.*?</style>', "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id|xlink:href)="(#?)', rf'\1="\2{name}-', body).replace("url(#", f"url(#{name}-")
    body = body.replace("xlink:href", "href")
    for colour, themed in _PROPERTIES.items():
        body = body.replace(colour, themed)
    body = re.sub(r"<[^>]*>", _slim, body)
    body = re.sub(r"\n+", "\n", body)
    head = f'<svg role="img" aria-labelledby="{name}-title {name}-desc" viewBox="{box[1] if box else ""}">'
    words = f'<title id="{name}-title">{escape(units.plain(title), quote=False)}</title>'
    words += f'<desc id="{name}-desc">{escape(units.plain(description), quote=False)}</desc>'
    return f"{head}{words}{body}</svg>"


def _slim(tag: re.Match[str]) -> str:
    """A tag with coordinates to a tenth of a pixel, on one line, without a typeface of its own."""
    text = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), tag[0])
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    return re.sub(r"\s*\n\s*", " ", text)


def label(text: str) -> str:
    """Text for a drawing: letters that the measuring typeface lacks become "?"."""
    return "".join(mark if mark.isprintable() and ord(mark) < 0x250 else "?" for mark in text)


def dots(axes: Axes, spots: Sequence[tuple[float, float]], *, colour: str, diameter: float) -> None:
    """Many dots as one path: lines of no length with round ends, a tenth of the size of markers."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not spots:
        return
    corners = [spot for spot in spots for _ in (0, 1)]
    path = Path(corners, [Path.MOVETO, Path.LINETO] * len(spots))
    patch = PathPatch(path, edgecolor=colour, facecolor="none", linewidth=diameter, capstyle="round", clip_on=False)
    axes.add_patch(patch)


def size_ticks(axes: Axes, *, step: int) -> None:
    """Ticks on x at every `step`-th power of two, named as sizes."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    low, high = axes.get_xlim()
    places = [2.0**power for power in range(0, 63, step) if low <= 2.0**power <= high]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: units.size(place)))


def decade_ticks(axis: Axis, unit: str, *, most: int = 7) -> None:
    """Ticks on a logarithmic axis at 1, 3, 10, 30 …, or at decades alone where those are too many."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_minor_locator(NullLocator())
    low, high = sorted(axis.get_view_interval())
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [digit * 10.0**power for power in powers for digit in (1, 3) if low <= digit * 10.0**power <= high]
    if len(places) > most:
        decades = [10.0**power for power in powers if low <= 10.0**power <= high]
        places = decades[:: 1 + len(decades) // most]
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FuncFormatter(lambda place, _: _short(units.figure(place, unit))))


def linear_ticks(axis: Axis, unit: str, *, most: int = 5) -> None:
    """A few round ticks, each with its unit."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda place, _: _short(units.figure(place, unit))))


def _short(text: str) -> str:
    """1.00 ns as 1 ns: what stands at a tick is exact."""
    number, _, unit = text.partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
