"""Whether memory is what the database holds: capacity rebuilt from the rows of allocations, and compared.

Both sides are taken at one moment, memory as it was before what is not committed yet; what they say is compared at
leisure, by any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from scheduler.book import Book
from scheduler.capacity import Room, room_of
from scheduler.records import Attempt, MarketNode

T = TypeVar("T", Attempt, MarketNode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the market's memory said at a moment."""

    nodes: Mapping[int, MarketNode]
    attempts: Mapping[int, Attempt]  #: live ones, by token
    free: Mapping[int, Room]  #: by node, as placing counts it
    open_nodes: frozenset[int]  #: of which something was not committed yet: nothing is said of these
    open_tokens: frozenset[int]


def memory(book: Book, free: Mapping[int, Room]) -> Memory:
    """What the book holds now; its rows are never changed, so the tables alone are copied."""
    nodes, tokens = set(), set()
    for change in book.pending:
        if isinstance(change.after, MarketNode):
            nodes.add(change.after.id)
        elif isinstance(change.after, Attempt):
            nodes.add(change.after.node)
            tokens.add(change.after.token)
    return Memory(
        nodes=dict(book.nodes),
        attempts=dict(book.attempts),
        free=free,
        open_nodes=frozenset(nodes),
        open_tokens=frozenset(tokens),
    )


def differences(nodes: Iterable[MarketNode], attempts: Iterable[Attempt], seen: Memory) -> Iterator[str]:
    """Each in a sentence.

    Args:
        nodes: the rows of the database at the same moment.
        attempts: the live ones, likewise.
    """
    stored = {attempt.token: attempt for attempt in attempts}
    yield from _differing(
        "attempt", _told(stored, _of_attempt), _told(seen.attempts, _of_attempt), left_out=seen.open_tokens
    )
    rows = {node.id: node for node in nodes}
    yield from _differing("node", _told(rows, _of_node), _told(seen.nodes, _of_node), left_out=seen.open_nodes)
    held: dict[int, list[Attempt]] = {}
    for attempt in stored.values():
        held.setdefault(attempt.node, []).append(attempt)
    for node in rows.values():
        if node.id in seen.open_nodes:
            continue
        rebuilt, counted = room_of(node, held.get(node.id, ())), seen.free.get(node.id)
        if counted != rebuilt:
            yield f"node {node.id}: placing counts {counted} as free, its allocations leave {rebuilt}"


def _told(rows: Mapping[int, T], tell: Callable[[T], object]) -> dict[int, object]:
    return {key: tell(row) for key, row in rows.items()}


def _of_attempt(row: Attempt) -> object:
    """What rules go by; why it was placed there is only told."""
    placed = (row.job, row.n, row.node, row.node_epoch, row.resources, row.gpus, row.price_uh)
    return (*placed, row.state, row.started_ms, row.yields_to)


def _of_node(row: MarketNode) -> object:
    """What rules go by, but figures."""
    at_work = (row.epoch, row.boot_id, row.standing, row.online, row.draining)
    return (*at_work, row.capacity, row.price_uh, row.executors, row.report_id, row.lost_jobs)


def _differing(
    what: str, stored: Mapping[int, object], remembered: Mapping[int, object], *, left_out: frozenset[int]
) -> Iterator[str]:
    for key in sorted((stored.keys() | remembered.keys()) - left_out):
        if key not in stored:
            yield f"{what} {key} is in memory and not in the database"
        elif key not in remembered:
            yield f"{what} {key} is in the database and not in memory"
        elif stored[key] != remembered[key]:
            yield f"{what} {key} is another in memory than in the database"
