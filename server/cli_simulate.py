"""`gridmark simulate`: what a policy makes of a recorded workload."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli_shared import fail, guarded, print_json, printing, say

if TYPE_CHECKING:
    from scheduler.simulate.replay import Replayed

#: that of the published experiment
FIRST_SEED = 42


@click.command()
@click.option(
    "--nodes", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Nodes, openb's CSV format."
)
@click.option(
    "--pods", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Jobs, openb's CSV format."
)
@click.option("--policy", default="pack", show_default=True, metavar="NAME", help="By which nodes are chosen.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=10, show_default=True, help="So many, from 42 on.")
@click.option("--departures", is_flag=True, help="Jobs leave; the load stays at 100 % and at 130 %.")
@click.option("--learn", is_flag=True, help="Learn the mix of jobs as they come, instead of knowing it beforehand.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the curve: .svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@guarded
def simulate(
    nodes: Path,
    pods: Path,
    policy: str,
    seeds: int,
    departures: bool,
    learn: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Replay a workload on an empty market through the code that places real jobs, and print how much is allocated.

    The set-up is that of FGD (USENIX ATC 2023): jobs in random order until they ask for 130 % of all GPUs, each placed
    at once or never, none departs. Told is the allocated part when 100 % and 130 % were asked for. With --departures it
    is the part allocated on average over time under a load of 100 % and of 130 %.

    Exit codes: 0 replayed, 2 usage or a file that is not understood, 3 could not be done.

    Example: gridmark simulate --nodes openb_node_list_gpu_node.csv --pods openb_pod_list_default.csv --policy pack
    """
    from scheduler.placement.policy import policies
    from scheduler.simulate.churn import churn
    from scheduler.simulate.market import Workload
    from scheduler.simulate.replay import replay
    from scheduler.simulate.trace import TraceError, read_nodes, read_pods

    if policy not in policies():
        fail(f"there is no policy {policy!r}; there are {', '.join(policies())}", 2)
    _check_plot(plot, departures=departures)
    found: list[Replayed] = []
    try:
        workload = Workload(nodes=read_nodes(nodes), pods=read_pods(pods), policy=policy, known=not learn)
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            found.append((churn if departures else replay)(workload, seed, time.perf_counter))
            _tell_progress(len(found), seeds)
    except TraceError as error:
        fail(str(error), 2)
    if plot is not None:
        _draw(plot, f"{pods.name}, policy {policy}", found)
    if as_json:
        print_json(document(policy, pods.name, found))
    else:
        with printing():
            click.echo(table(found))


def document(policy: str, pods: str, seeds: Sequence[Replayed]) -> dict[str, Any]:
    """For programs."""
    return {
        "policy": policy,
        "pods": pods,
        "seeds": [
            {
                "seed": one.seed,
                "allocated_percent": {str(load): part for load, part in one.allocated_percent.items()},
                "seconds": one.seconds,
                "placements": one.placements,
            }
            for one in seeds
        ],
        "mean": {str(load): mean for load, (mean, _) in _means(seeds).items()},
    }


def table(seeds: Sequence[Replayed]) -> str:
    """For people: a line per seed, then the mean with the spread of the seeds around it."""
    loads = list(seeds[0].allocated_percent)
    lines = [
        f"{'seed':>6}" + "".join(f"{f'at {load} %':>14}" for load in loads) + f"{'placed':>10}{'time':>10}{'per s':>10}"
    ]
    for one in seeds:
        parts = "".join(f"{one.allocated_percent[load]:>12.2f} %" for load in loads)
        speed = one.arrivals / one.seconds if one.seconds else math.inf
        lines.append(f"{one.seed:>6}{parts}{one.placements:>10}{one.seconds:>8.2f} s{speed:>10.0f}")
    means = _means(seeds)
    lines.append(f"{'mean':>6}" + "".join(f"{means[load][0]:>12.2f} %" for load in loads))
    if len(seeds) > 1:
        lines.append(f"{'sd':>6}" + "".join(f"{means[load][1]:>12.2f} %" for load in loads))
    return "\n".join(lines)


def _means(seeds: Sequence[Replayed]) -> dict[int, tuple[float, float]]:
    """By load: mean and standard deviation over the seeds."""
    found = {}
    for load in seeds[0].allocated_percent:
        parts = [one.allocated_percent[load] for one in seeds]
        found[load] = (statistics.fmean(parts), statistics.stdev(parts) if len(parts) > 1 else 0.0)
    return found


def _check_plot(path: Path | None, *, departures: bool) -> None:
    """Before minutes of work, not after them."""
    if path is None:
        return
    import importlib

    from scheduler.simulate.plot import SUFFIXES

    if departures:
        fail("--plot draws the curve of a replay without departures; with them there is one figure per load", 2)
    if path.suffix not in SUFFIXES:
        fail(f"--plot {path} ends in none of {', '.join(SUFFIXES)}", 2)
    if not path.parent.is_dir():
        fail(f"--plot {path}: there is no folder {path.parent}", 2)
    importlib.import_module("matplotlib")


def _draw(path: Path, title: str, seeds: Sequence[Replayed]) -> None:
    from scheduler.simulate.plot import draw

    try:
        draw(path, title, seeds)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror or error}")
    say(f"drawn: {path}")


def _tell_progress(done: int, seeds: int) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r{done} of {seeds} seeds" + ("\n" if done == seeds else ""), nl=False, err=True)
