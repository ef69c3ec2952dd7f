"""What the live attempts leave of a node, worked out from the rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.book import Book
from scheduler.records import Attempt, MarketNode, Resources

WHOLE_MILLI = 1000


@dataclass(slots=True)
class Room:
    """What is left; below 0 where a newer report found less than is held."""

    gpu_milli: list[int]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int

    def take(self, attempt: Attempt) -> None:
        """An attempt holds its part."""
        self._move(attempt, -1)

    def give_back(self, attempt: Attempt) -> None:
        """It does no more."""
        self._move(attempt, 1)

    def fits(self, wanted: Resources) -> bool:
        """Whether there is enough for a job, on whichever GPUs."""
        if wanted.gpu_milli:
            gpus = max(self.gpu_milli, default=0) >= wanted.gpu_milli
        else:
            gpus = sum(milli >= WHOLE_MILLI for milli in self.gpu_milli) >= wanted.gpus
        return gpus and self.fits_beside_gpus(wanted)

    def fits_beside_gpus(self, wanted: Resources) -> bool:
        """Whether there is enough of all but GPUs."""
        return (
            self.cpu_milli >= wanted.cpu_milli
            and self.memory_bytes >= wanted.memory_bytes
            and self.disk_bytes >= wanted.disk_bytes
        )

    def _move(self, attempt: Attempt, sign: int) -> None:
        taken = attempt.resources
        for gpu in attempt.gpus:
            if gpu < len(self.gpu_milli):  # a node may have come back with fewer
                self.gpu_milli[gpu] += sign * (taken.gpu_milli or WHOLE_MILLI)
        self.cpu_milli += sign * taken.cpu_milli
        self.memory_bytes += sign * taken.memory_bytes
        self.disk_bytes += sign * taken.disk_bytes


def room_on(book: Book, node: MarketNode) -> Room:
    """What is left of a node now."""
    return room_of(node, [book.attempts[token] for token in book.tokens_of_node.get(node.id, ())])


def room_of(node: MarketNode, held: Iterable[Attempt]) -> Room:
    """What these attempts leave of a node."""
    has = node.capacity
    room = Room(list(has.gpu_milli), has.cpu_milli, has.memory_bytes, has.disk_bytes)
    for attempt in held:
        room.take(attempt)
    return room
