"""Who waits for what: bells that are rung when a job or a log has something new."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager


class Bells:
    """One bell per key, heard by those who listen. Belongs to one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[Hashable, set[asyncio.Event]] = {}

    @contextmanager
    def listen(self, *keys: Hashable) -> Iterator[asyncio.Event]:
        """An event that every ring of any of `keys` sets.

        Clear it, look, wait: a ring between the look and the wait is not lost.
        """
        event = asyncio.Event()
        for key in keys:
            self._listeners.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            for key in keys:
                events = self._listeners[key]
                events.discard(event)
                if not events:
                    del self._listeners[key]

    def ring(self, keys: Iterable[Hashable]) -> None:
        """Something is new at each of `keys`."""
        for key in keys:
            for event in self._listeners.get(key, ()):
                event.set()

    def ring_all(self) -> None:
        """The server stops: nobody may wait any longer."""
        for events in self._listeners.values():
            for event in events:
                event.set()

    @property
    def keys(self) -> int:
        """How many are listened to."""
        return len(self._listeners)
