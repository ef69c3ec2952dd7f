"""A market with a node that proves itself, whose history becomes a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scheduler.book import Change, Row
from scheduler.store.store import open_store
from tests.scheduler.proofs.floor import ProvingFloor


class WrittenFloor(ProvingFloor):
    """Remembers what it committed."""

    def __init__(self, **more: Any) -> None:
        self.changes: list[Change] = []
        super().__init__(**more)
        begun: tuple[Row, ...] = (*self.book.accounts.values(), self.row)
        self.changes = [Change(None, row) for row in begun]

    def commit(self) -> None:
        self.changes.extend(self.book.pending)
        super().commit()

    def written(self, path: Path) -> Path:
        """All of it in a database."""
        store = open_store(path)
        store.write(self.changes, self.book.counters)
        store.close()
        return path
