"""One life of the model's server: the real rules over what a store of the model holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from scheduler.book import Book, Row
from scheduler.clock import Now
from scheduler.control import Control, Refused
from scheduler.placement.index import Index
from scheduler.placement.place import IndexPlacer
from scheduler.records import Attempt
from tests.scheduler.market_floor import CAPACITY, FirstFit, summary
from tests.scheduler.model.columns import check_columns
from tests.scheduler.model.store import ModelStore, key_of

T = TypeVar("T")
Command = Callable[[Control, Now], Any]


class ModelServer:
    """Carries commands out as the writer does: the rules, what they make possible to place, one commit."""

    def __init__(self, store: ModelStore, draw: random.Random, *, real_placer: bool) -> None:
        self._store = store
        self._index = Index() if real_placer else None
        book = Book(watchers=() if self._index is None else (self._index,))
        book.load(store.live.values(), store.counters)
        placer = FirstFit(book) if self._index is None else IndexPlacer(self._index)
        self.control = Control(book, placer, random=draw.random)

    def do(self, command: Callable[[Control, Now], T], now: Now) -> T | None:
        """What it made; None when it could not be committed.

        Raises:
            Refused: as the rules say; nothing is changed.
        """
        book = self.control.book
        mark = book.mark()
        try:
            made = command(self.control, now)
        except Refused:
            book.undo(mark)
            raise
        self.control.dispatch(now)
        return made if self._commit() else None

    def tick(self, now: Now) -> None:
        """What time alone brings about."""
        self.control.tick(now)
        self.control.dispatch(now)
        self._commit()

    def check(self) -> None:
        """The book is what the store holds, and the columns are what the book holds."""
        book = self.control.book
        held: list[Row] = [*book.nodes.values(), *book.accounts.values(), *book.jobs.values(), *book.attempts.values()]
        assert {key_of(row): row for row in held} == self._store.live
        tokens = {token for tokens in book.tokens_of_node.values() for token in tokens}
        assert tokens == {row.token for row in self._store.live.values() if isinstance(row, Attempt)}
        if self._index is not None:
            check_columns(self._index, book.nodes.values(), book.attempts.values())

    def _commit(self) -> bool:
        book = self.control.book
        changes = book.pending
        if changes or book.counters_changed:
            if self._store.fails():
                book.undo()
                return False
            self._store.write(changes, book.counters)
            book.committed()
        return True


def create_accounts() -> list[Command]:
    """A renter, number 1, and a supplier, number 2."""
    return [
        lambda c, now: c.create_account("ann", "renter", "a" * 64, now),
        lambda c, now: c.create_account("sam", "supplier", "b" * 64, now),
    ]


def enrol(node: int) -> Command:
    """One of the supplier's nodes; they have to come in the order of their numbers."""
    return lambda c, now: c.enrol(
        2,
        name=f"n{node}",
        public_key=f"{node:064x}",
        price_uh=1,
        region="eu",
        executors=("process",),
        shares_gpus=True,
        now=now,
    )


def report(node: int, name: str) -> Command:
    """The node is measured, and well."""
    return lambda c, now: c.accept_report(node, summary(report_id=name, capacity=CAPACITY), now)
