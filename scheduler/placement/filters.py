"""Which nodes can take a job: one mask per thing that may stand in the way, of either side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Columns, Mask
from scheduler.market.fields import REPORTED_MS, STALE_AFTER_MS
from scheduler.market.query import Query
from scheduler.records import MIB, JobSpec, Resources

#: nobody pays more than a million dollars an hour; it bounds the products below 2^63
PRICE_MOST_UH = 10**12
WHOLE_MILLI = 1000

#: columns that the price of a share is worked out from
PRICED_BY = ("price_uh", "gpus", "cpu_milli", "memory_bytes")

FilterName = Literal[
    "state",  # new, being measured, quarantined
    "offline",
    "draining",
    "stale",
    "executor",
    "region",
    "gpus",  # too few on the node
    "gpu_sharing",  # its owner lets whole GPUs only
    "cpu",
    "memory",
    "disk",
    "busy",  # large enough, but not now
    "price",
    "where",
]


_ORDER: dict[FilterName, int] = {name: place for place, name in enumerate(get_args(FilterName))}


@dataclass(frozen=True, slots=True)
class Filter:
    """One thing that may stand in the way."""

    name: FilterName
    passes: Mask


def share_price_uh(columns: Columns, resources: Resources) -> NDArray[np.int64]:
    """What a job pays per hour on each node: the node's price x the largest of its parts of GPUs, CPUs and memory.

    The largest part (the dominant share, Ghodsi et al., NSDI 2011) is what keeps others from renting the rest. Rounded
    up to a micro-dollar; memory counts in whole MiB, the job's rounded up and the node's down. Where a node lacks what
    the job asks for altogether, the price is that of the whole node.
    """
    price = np.minimum(columns.numbers("price_uh"), PRICE_MOST_UH).astype(np.int64)
    gpus_milli = resources.gpu_milli or resources.gpus * WHOLE_MILLI
    asked_of = (
        (gpus_milli, columns.numbers("gpus") * WHOLE_MILLI),
        (resources.cpu_milli, columns.numbers("cpu_milli")),
        (-(-resources.memory_bytes // MIB), columns.numbers("memory_bytes") // MIB),
    )
    parts = [_part(price, asked, whole.astype(np.int64)) for asked, whole in asked_of if asked]
    dearest: NDArray[np.int64] = np.maximum.reduce(parts) if parts else np.zeros_like(price)
    return dearest


def _part(price: NDArray[np.int64], asked: int, whole: NDArray[np.int64]) -> NDArray[np.int64]:
    """price x asked / whole, rounded up; never more than the price."""
    asked_most = np.minimum(asked, whole)
    whole_least = np.maximum(whole, 1)
    return np.where(whole > 0, (price * asked_most + whole_least - 1) // whole_least, price)


def filters(
    columns: Columns, spec: JobSpec, *, now_ms: int, price_uh: NDArray[np.int64], query: Query | None
) -> tuple[Filter, ...]:
    """Every mask that says something of this job, in the order people think of them."""
    found = [
        Filter("state", columns.truths("admitted")),
        Filter("offline", columns.truths("online")),
        Filter("draining", ~columns.truths("draining")),
        Filter("stale", now_ms - columns.numbers(REPORTED_MS) <= STALE_AFTER_MS),
        *_large_enough(columns, spec.resources),
        Filter("busy", is_free(columns, spec.resources) | ~fits(columns, spec.resources)),
        *terms_filters(columns, spec, now_ms=now_ms, price_uh=price_uh, query=query),
    ]
    return tuple(sorted(found, key=lambda one: _ORDER[one.name]))


def terms_filters(
    columns: Columns, spec: JobSpec, *, now_ms: int, price_uh: NDArray[np.int64], query: Query | None
) -> list[Filter]:
    """Those that neither the size of the job nor the state of the market has a part in."""
    found = [Filter("executor", columns.truths(f"executor.{executor(spec)}"))]
    if spec.region is not None:
        texts = columns.texts("region")
        wanted = spec.region.casefold()
        found.append(Filter("region", texts.holding([c for c, word in enumerate(texts.folded) if word == wanted])))
    if spec.resources.gpu_milli:
        found.append(Filter("gpu_sharing", columns.truths("shares_gpus")))
    if spec.max_price_uh is not None:
        found.append(Filter("price", price_uh <= spec.max_price_uh))
    if query is not None:
        found.append(Filter("where", query.mask(columns, now_ms)))
    return found


def executor(spec: JobSpec) -> str:
    """The way a job is run."""
    return "process" if spec.image is None else "container"


def asked(resources: Resources) -> dict[FilterName, tuple[str, int]]:
    """Of each amount: the node's column and what the job asks of it."""
    return {
        "gpus": ("gpus", resources.gpus or int(resources.gpu_milli > 0)),
        "cpu": ("cpu_milli", resources.cpu_milli),
        "memory": ("memory_bytes", resources.memory_bytes),
        "disk": ("disk_bytes", resources.disk_bytes),
    }


def _large_enough(columns: Columns, resources: Resources) -> list[Filter]:
    return [Filter(name, columns.numbers(column) >= amount) for name, (column, amount) in asked(resources).items()]


def fits(columns: Columns, resources: Resources) -> Mask:
    """The nodes that are large enough."""
    return _every([columns.numbers(column) >= amount for column, amount in asked(resources).values()])


def wanted_free(resources: Resources) -> list[tuple[str, int]]:
    """The columns of what is free, and how much of each the job takes."""
    left = [
        ("cpu_milli_free", resources.cpu_milli),
        ("memory_bytes_free", resources.memory_bytes),
        ("disk_bytes_free", resources.disk_bytes),
    ]
    if resources.gpu_milli:
        left.append(("gpu_milli_free_most", resources.gpu_milli))
    elif resources.gpus:
        left.append(("gpus_free", resources.gpus))
    return left


def is_free(columns: Columns, resources: Resources) -> Mask:
    """The nodes that have as much left."""
    return _every([columns.numbers(column) >= amount for column, amount in wanted_free(resources)])


def _every(masks: list[Mask]) -> Mask:
    found: Mask = np.logical_and.reduce(masks)
    return found


def held_nodes(columns: Columns) -> Mask:
    """Places of nodes there are, without those that are gone for good."""
    return columns.truths("held") & ~columns.truths("retired")
