"""Whether the columns that placing goes by say what the rows leave, worked out anew."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.capacity import WHOLE_MILLI, room_of
from scheduler.placement.index import Index
from scheduler.records import Attempt, MarketNode


def check_columns(index: Index, nodes: Iterable[MarketNode], attempts: Iterable[Attempt]) -> None:
    """An AssertionError names the node and what is counted of it."""
    held: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        held.setdefault(attempt.node, []).append(attempt)
    columns = index.live
    for node in nodes:
        room = room_of(node, held.get(node.id, ()))
        slot = index.slot_of(node.id)
        assert slot is not None, f"node {node.id} is in no column"
        milli = room.gpu_milli
        left = {
            "cpu_milli_free": room.cpu_milli,
            "memory_bytes_free": room.memory_bytes,
            "disk_bytes_free": room.disk_bytes,
            "gpus_free": sum(one >= WHOLE_MILLI for one in milli),
            "gpu_milli_free": sum(milli),
            "gpu_milli_free_most": max(milli, default=0),
            "leftover": index.leftovers.code(milli),
        }
        counted = {name: int(columns.integers(name)[slot]) for name in left}
        assert counted == left, f"node {node.id}: counted as free {counted}, its allocations leave {left}"
        assert index.gpus_free_at(slot) == tuple(milli)
        assert (bool(columns.truths("online")[slot]), bool(columns.truths("draining")[slot])) == (
            node.online,
            node.draining,
        )
