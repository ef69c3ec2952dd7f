"""Why no node takes a job: what each filter rejects, and the nearest miss, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Columns, Mask, Numbers
from scheduler.market.query import Query
from scheduler.placement.filters import Filter, FilterName, asked, executor
from scheduler.records import JobSpec

UH_PER_USD = 1_000_000
#: what a filter says of the nodes it rejects
_SAYS: dict[FilterName, str] = {
    "state": "not qualified",
    "offline": "offline",
    "draining": "draining",
    "stale": "measured too long ago",
    "executor": "without {executor} jobs",
    "region": "in other regions",
    "gpus": "with too few GPUs",
    "gpu_sharing": "that let whole GPUs only",
    "cpu": "with too few CPUs",
    "memory": "with too little memory",
    "disk": "with too little disk",
    "busy": "busy",
    "price": "too dear",
    "where": "outside `where`",
}
#: what would have to happen to nodes that fail by nothing else; those with a number to name are not here
_ONCE: dict[FilterName, str] = {
    "busy": "once they are free",
    "offline": "once they are online again",
    "stale": "once they are measured again",
    "draining": "once they are no longer drained",
    "state": "once they are qualified",
}
#: the order in which misses are told: what only needs waiting, then what needs least of the renter
_WAITING: tuple[FilterName, ...] = ("busy", "stale", "offline", "state", "draining")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a refusal is explained from."""

    columns: Columns
    spec: JobSpec
    filters: tuple[Filter, ...]
    held: Mask  #: nodes there are, without those that are gone for good
    price_uh: NDArray[np.int64]
    query: Query | None
    now_ms: int


def rejected(situation: Situation) -> dict[str, int]:
    """How many nodes each filter rejects, whatever the others say; those that reject none are left out."""
    counts = {one.name: int(np.count_nonzero(situation.held & ~one.passes)) for one in situation.filters}
    return {name: count for name, count in counts.items() if count}


def reason(situation: Situation) -> str:
    """One sentence: what stops the job, and the nearest miss."""
    total = int(np.count_nonzero(situation.held))
    return _sentence(total, rejected(situation), nearest_miss(situation), situation.spec)


def reason_to_wait(total: int, counts: Mapping[str, int], suitable: int, spec: JobSpec) -> str:
    """The same of a job that `suitable` nodes would take, were they free; worked out without looking at any."""
    return _sentence(total, counts, f"{_nodes(suitable)} {_ONCE['busy']}", spec)


def _sentence(total: int, rejected: Mapping[str, int], near: str | None, spec: JobSpec) -> str:
    if not total:
        return "there is no node on the market"
    counts = sorted(rejected.items(), key=lambda item: -item[1])
    said = ", ".join(f"{count} {_says(name, spec)}" for name, count in counts)
    return f"none of {_nodes(total)} fits: {said}" + (f"; {near}" if near else "")


def nearest_miss(situation: Situation) -> str | None:
    """What would help soonest or cost least to change; None when more than one thing stands in every node's way."""
    failing = np.array([~one.passes & situation.held for one in situation.filters])
    only = failing.sum(axis=0) == 1
    alone: dict[FilterName, Mask] = {
        one.name: fails & only for one, fails in zip(situation.filters, failing, strict=True) if (fails & only).any()
    }
    for name in _WAITING:
        if name in alone:
            return f"{_nodes(int(alone[name].sum()))} {_ONCE[name]}"
    misses = [miss for name, nodes in alone.items() if (miss := _miss(name, nodes, situation)) is not None]
    return min(misses, key=lambda miss: miss[0])[1] if misses else None


def _says(name: str, spec: JobSpec) -> str:
    for known, text in _SAYS.items():
        if known == name:
            return text.format(executor=executor(spec))
    return name


def _miss(name: FilterName, nodes: Mask, situation: Situation) -> tuple[float, str] | None:
    """By how much the job asks too much, relative to what it asks, and what it would have to ask instead."""
    spec, columns = situation.spec, situation.columns
    amounts = asked(spec.resources)
    if name in amounts:
        column, amount = amounts[name]
        return _amount_miss(name, columns.numbers(column), nodes, amount)
    match name:
        case "price":
            return _price_miss(situation.price_uh, nodes, spec.max_price_uh or 0)
        case "where" if situation.query is not None:
            explained = situation.query.explain(columns, situation.now_ms, nodes)
            change = explained.relaxations[0].change if explained.relaxations else np.inf
            return float(change), f"of `where`, {explained}"
        case "region":
            texts = columns.texts("region")
            code = int(np.bincount(texts.codes[nodes]).argmax())
            where = f"region {texts.values[code]}" if code else "no region"
            return np.inf, f"{_nodes(int((nodes & (texts.codes == code)).sum()))} in {where}"
        case "gpu_sharing":
            return np.inf, f"{_nodes(int(nodes.sum()))} for a whole GPU"
        case "executor":
            other = "process" if spec.image is not None else "container"
            return np.inf, f"{_nodes(int(nodes.sum()))} for a {other} job"
        case _:
            return None


def _amount_miss(name: FilterName, has: Numbers, nodes: Mask, amount: int) -> tuple[float, str] | None:
    most = int(has[nodes].max())
    if most <= 0:
        return None
    words, bound = _AMOUNTS[name](most)
    enough = nodes & (has >= bound)
    return (amount - most) / amount, f"{_nodes(int(enough.sum()))} if {words}"


def _price_miss(price_uh: NDArray[np.int64], nodes: Mask, most_uh: int) -> tuple[float, str]:
    least = int(price_uh[nodes].min())
    cents = -(-least // 10_000)
    digits = 2 if cents >= 10 else 6  # below ten cents a cent is no small step
    bound = cents * 10_000 if digits == 2 else least
    enough = int((nodes & (price_uh <= bound)).sum())
    change = (least - most_uh) / most_uh if most_uh else np.inf
    return change, f"{_nodes(enough)} if max_price >= {bound / UH_PER_USD:.{digits}f} $/h"


def _bytes(word: str) -> Callable[[int], tuple[str, int]]:
    def told(most: int) -> tuple[str, int]:
        unit, worth = ("GB", 10**9) if most >= 10**9 else ("MB", 10**6)
        digits = 0 if most >= 100 * worth else 1 if most >= 10 * worth else 2
        steps = most * 10**digits // worth  # rounded down: the node must really have it
        text = f"{steps / 10**digits:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{word} <= {text} {unit}", steps * worth // 10**digits

    return told


_AMOUNTS: dict[str, Callable[[int], tuple[str, int]]] = {
    "gpus": lambda most: (f"gpus <= {most}", most),
    "cpu": lambda most: (f"cpus <= {most / 1000:g}", most),
    "memory": _bytes("memory"),
    "disk": _bytes("disk"),
}


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
