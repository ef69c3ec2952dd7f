"""What mending a node would be worth, worked out from the market as it stands; silent where nothing can be said.

Three things are known: what waiting jobs would pay a node that could take them, what nodes of its kind ask, and how
the rank of an offer follows from its figures. Nothing here is a forecast.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports import units
from scheduler.lifecycle import Standing
from scheduler.records import Capacity, MarketNode, Resources
from server.web import words

#: a figure this near to what its kind can do has nothing to gain
NEAR = 0.97
#: below this part of what is expected a figure says that something is broken, not how much to ask for
FAR = 0.02
MOST_METRICS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """One thing that mending would bring."""

    figure: str  #: "$0.80/h"
    text: str
    how: str  #: how it was worked out


@dataclass(frozen=True, slots=True)
class Demand:
    """A job that waits: what it asks for and what it would pay this node by the hour, in micro-dollars."""

    asks: Resources
    pays_uh: int


def worth(
    node: MarketNode, *, takes_jobs: bool, demand: Sequence[Demand], nodes: Sequence[MarketNode],
    ratios: Mapping[str, float],
) -> list[Worth]:  # fmt: skip
    """What can be said of a node.

    Args:
        takes_jobs: whether jobs are placed on it as it is.
        demand: of the jobs that wait, those that it could take if it were well, the first in line first.
        nodes: all there are.
        ratios: metric -> measured ÷ expected, from its last report; above 1 is better, for times too.
    """
    found: list[Worth] = []
    if not takes_jobs:
        found += _waiting(node, demand)
        found += _peers(node, nodes)
    return found + _slower(node, ratios)


def silence(node: MarketNode, *, takes_jobs: bool) -> str:
    """Why nothing can be said."""
    if takes_jobs:
        return (
            "It takes jobs, and no figure of its last report lies below what its kind can do: nothing is to be mended."
        )
    if node.reported_ms is None:
        return "Nothing can be said before it is measured: what it could take follows from its figures."
    return "No job waits that it could take, and no other node of its model is listed to compare prices with."


def _waiting(node: MarketNode, demand: Sequence[Demand]) -> list[Worth]:
    """What it would earn from what waits, filled in the order of the line until nothing more fits."""
    left, taken, sum_uh = node.capacity, 0, 0
    for job in demand:
        rest = take(left, job.asks)
        if rest is not None:
            left, taken, sum_uh = rest, taken + 1, sum_uh + job.pays_uh
    if not taken:
        return []
    beyond = f" ({len(demand)} would fit one by one)" if len(demand) > taken else ""
    how = (
        "Jobs that wait now and whose resources, conditions and price it meets, taken in their order until it is full, "
        "each at its share of this node's price. Other nodes may take them first."
    )
    return [
        Worth(
            figure=f"{words.money(sum_uh)}/h",
            text=f"from {words.count(taken, 'waiting job')} that it could run at once{beyond}.",
            how=how,
        )
    ]


def take(left: Capacity, asks: Resources) -> Capacity | None:
    """What is left when a job has been given what it asks for; None when it does not fit."""
    gpu_milli = list(left.gpu_milli)
    wanted = [1000] * asks.gpus or ([asks.gpu_milli] if asks.gpu_milli else [])
    for milli in wanted:
        # the fullest that still fits, so that whole ones stay whole
        fitting = [place for place, free in enumerate(gpu_milli) if free >= milli]
        if not fitting:
            return None
        gpu_milli[min(fitting, key=lambda place: gpu_milli[place])] -= milli
    rest = replace(
        left,
        gpu_milli=tuple(gpu_milli),
        cpu_milli=left.cpu_milli - asks.cpu_milli,
        memory_bytes=left.memory_bytes - asks.memory_bytes,
        disk_bytes=left.disk_bytes - asks.disk_bytes,
    )
    return rest if min(rest.cpu_milli, rest.memory_bytes, rest.disk_bytes) >= 0 else None


def _peers(node: MarketNode, nodes: Sequence[MarketNode]) -> list[Worth]:
    """What comparable nodes that take jobs ask."""
    alike = [one.price_uh for one in nodes if one.id != node.id and _is_alike(node, one) and _is_ready(one)]
    if not alike:
        return []
    middle = statistics.median(alike)
    text = f"is what {words.count(len(alike), 'node')} of the same model and size that take jobs ask at the median"
    text += f"; this one asks {words.money(node.price_uh)}/h."
    how = "Asking prices, not earnings: what it would earn depends on how long it is rented."
    return [Worth(figure=f"{words.money(middle)}/h", text=text, how=how)]


def _is_alike(node: MarketNode, other: MarketNode) -> bool:
    if not node.model or (node.device_kind, node.model) != (other.device_kind, other.model):
        return False
    if node.device_kind == "cuda":
        return len(node.capacity.gpu_milli) == len(other.capacity.gpu_milli)
    return node.capacity.cpu_milli == other.capacity.cpu_milli


def _is_ready(node: MarketNode) -> bool:
    return node.standing is Standing.READY and node.online and not node.draining


def _slower(node: MarketNode, ratios: Mapping[str, float]) -> list[Worth]:
    """What figures below expectation cost: the price at which a job would cost as much to finish as it does now."""
    low = sorted((ratio, metric) for metric, ratio in ratios.items() if FAR <= ratio < NEAR)
    found = []
    for ratio, metric in low[:MOST_METRICS]:
        gain_uh = node.price_uh * (1 / ratio - 1)
        if gain_uh <= 0:
            continue
        text = (
            f"by {units.plain(metric)}, which stands at {units.percent(ratio, 2)} of what its kind can do: at 100 % a "
            f"job bound by it would cost as much to finish at {words.money(node.price_uh + gain_uh)}/h as now at "
            f"{words.money(node.price_uh)}/h."
        )
        how = (
            "Price × (expected ÷ measured − 1), because offers are ranked by price × work ÷ measured rate. "
            "Other work gains nothing."
        )
        found.append(Worth(figure=f"up to {words.money(gain_uh)}/h", text=text, how=how))
    return found
