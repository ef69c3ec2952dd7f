"""The curve of a replay: how much of all GPUs is allocated as more and more is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scheduler.simulate.replay import LOADS, Replayed

#: what a file's name may end in
SUFFIXES = (".svg", ".png", ".pdf")


def draw(path: Path, title: str, seeds: Sequence[Replayed]) -> None:
    """Write the mean over the seeds, between the least and the most of them.

    Args:
        path: ends in one of SUFFIXES.
        seeds: with a curve each.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    length = min(len(one.curve) for one in seeds)
    columns = [[one.curve[place] for one in seeds] for place in range(length)]
    asked = range(length)
    with mpl.rc_context({"svg.hashsalt": "gridmark", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.plot(
            asked, [min(place, 100) for place in asked], color="0.7", linestyle="--", label="all that was asked for"
        )
        axes.fill_between(asked, [min(c) for c in columns], [max(c) for c in columns], alpha=0.3, linewidth=0)
        axes.plot(asked, [sum(c) / len(c) for c in columns], label=f"allocated, mean of {len(seeds)}")
        axes.set(xlabel="GPUs asked for, % of all", ylabel="GPUs allocated, % of all", title=title)
        axes.set_xlim(0, LOADS[-1])
        axes.set_ylim(0, 102)
        axes.grid(visible=True, color="0.9")
        axes.legend(loc="lower right", frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
