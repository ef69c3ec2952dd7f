"""The market's state in memory: rows by key, changed only through a journal that can be committed or undone.

A command changes rows, the journal remembers each change as (table, before, after); the store writes the same changes
in one transaction, each guarded by what the row was before. When that fails the journal is undone and memory is again
what the database holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from scheduler.evolve import evolve
from scheduler.lifecycle import is_ended, is_live
from scheduler.proofs.rows import NO_ENTRY, Challenge, ChallengeState, EvidenceEntry
from scheduler.records import (
    Account,
    Attempt,
    Blob,
    Event,
    Job,
    MarketNode,
    NodeFigure,
    ReportEntry,
    Result,
    SealedSecret,
)

#: what a journal may hold; the book itself keeps nodes, jobs, attempts, accounts and challenges, the others are only
#: stored
Row = (
    MarketNode
    | Job
    | Attempt
    | Result
    | Account
    | Blob
    | Event
    | ReportEntry
    | NodeFigure
    | SealedSecret
    | Challenge
    | EvidenceEntry
)
T = TypeVar("T", MarketNode, Job, Attempt, Account, Challenge)
_KEPT = (Job, Attempt, MarketNode, Account, Challenge)  # a union is made anew wherever it is written
CounterName = Literal["node", "job", "token", "event", "account", "evidence"]


class StaleRowError(RuntimeError):
    """A row was to be changed that is no longer the book's: a fault of the rules, found before it is written."""


class Change(NamedTuple):
    """One row added (`before` is None) or replaced; the rules never remove one, the store prunes what is old."""

    before: Row | None
    after: Row


class Watcher(Protocol):
    """Something that follows the rows that the book keeps: the placement index."""

    def changed(self, before: Row | None, after: Row | None) -> None:
        """A row was added (no `before`), replaced, or its addition undone (no `after`)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The next number of each kind; saved with the changes that used them up. A token is never used again."""

    node: int = 1
    job: int = 1
    token: int = 1
    event: int = 1
    account: int = 1
    evidence: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the journal and the counters were."""

    place: int
    numbers: tuple[int, ...]


class Book:
    """Rows that the rules need at hand. Not thread-safe: one thread owns it."""

    def __init__(self, watchers: Iterable[Watcher] = ()) -> None:
        self.nodes: dict[int, MarketNode] = {}
        self.jobs: dict[int, Job] = {}  #: those that have not ended
        self.attempts: dict[int, Attempt] = {}  #: live ones, by token
        self.accounts: dict[int, Account] = {}
        self.challenges: dict[str, Challenge] = {}  #: those in flight
        self.evidence_head = NO_ENTRY  #: digest of the newest entry
        self.tokens_of_node: dict[int, set[int]] = {}  #: node -> tokens of its live attempts
        self._next: dict[str, int] = asdict(Counters())
        self._journal: list[Change] = []
        self._next_before = self._numbers()
        self._watchers = [*watchers]

    def load(self, rows: Iterable[Row], counters: Counters) -> None:
        """Fill an empty book from the store; nothing of it enters the journal."""
        for row in rows:
            self._put(None, row)
        self._next = asdict(counters)
        self._next_before = self._numbers()

    @property
    def counters(self) -> Counters:
        """The next number of each kind."""
        return Counters(**self._next)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of every row there is, and from now on of every change."""
        tables = (self.accounts, self.nodes, self.jobs, self.attempts, self.challenges)
        for table in tables:
            for row in table.values():
                watcher.changed(None, row)
        self.follow(watcher)

    def follow(self, watcher: Watcher) -> None:
        """Tell `watcher` of every change from now on; what there is it knows."""
        self._watchers.append(watcher)

    def number(self, kind: CounterName) -> int:
        """The next number of its kind, used up."""
        taken = self._next[kind]
        self._next[kind] = taken + 1
        return taken

    def add(self, row: Row) -> None:
        """A new row.

        Raises:
            StaleRowError: the book holds one of this key already.
        """
        if isinstance(row, _KEPT) and self._held(row) is not None:
            raise StaleRowError(f"there is a {type(row).__name__} of this key already")
        self._journal.append(Change(None, row))
        self._put(None, row)

    def change(self, row: T, **values: Any) -> T:
        """Replace `row` by itself with other values, and return that.

        Raises:
            StaleRowError: `row` is not what the book holds: somebody changed it in between.
        """
        if self._held(row) is not row:
            raise StaleRowError(f"{type(row).__name__} was changed since it was read")
        after = evolve(row, values)
        self._journal.append(Change(row, after))
        self._put(row, after)
        return after

    @property
    def pending(self) -> tuple[Change, ...]:
        """The changes since the last commit, in order."""
        return tuple(self._journal)

    @property
    def counters_changed(self) -> bool:
        """Whether numbers were used up since the last commit."""
        return self._numbers() != self._next_before

    def mark(self) -> Mark:
        """A place in the journal to which one command can be undone, while those before it stay."""
        return Mark(len(self._journal), self._numbers())

    def since(self, mark: Mark) -> list[Change]:
        """The changes after a mark, in order."""
        return self._journal[mark.place :]

    def committed(self) -> None:
        """The store holds the pending changes."""
        self._journal.clear()
        self._next_before = self._numbers()

    def undo(self, to: Mark | None = None) -> None:
        """Take back the changes after `to`; all that are pending without it."""
        place, numbers = (to.place, to.numbers) if to else (0, self._next_before)
        while len(self._journal) > place:
            change = self._journal.pop()
            self._put(change.after, change.before)
        self._next = dict(zip(self._next, numbers, strict=True))

    def _numbers(self) -> tuple[int, ...]:
        return tuple(self._next.values())

    def _held(self, row: MarketNode | Job | Attempt | Account | Challenge) -> Row | None:
        match row:
            case Job():
                return self.jobs.get(row.id)
            case Attempt():
                return self.attempts.get(row.token)
            case MarketNode():
                return self.nodes.get(row.id)
            case Account():
                return self.accounts.get(row.id)
            case Challenge():
                return self.challenges.get(row.id)

    def _put(self, before: Row | None, after: Row | None) -> None:
        match after if after is not None else before:
            case Event():
                return  # history, kept by the store alone, as all that is not named here
            case Job(id=key, state=state):
                _set(self.jobs, key, None if is_ended(state) else after)
            case Attempt(token=key, node=node, state=state):
                kept = None if after is None or not is_live(state) else after
                _set(self.attempts, key, kept)
                tokens = self.tokens_of_node.setdefault(node, set())
                (tokens.discard if kept is None else tokens.add)(key)
            case MarketNode(id=key):
                _set(self.nodes, key, after)
            case Account(id=key):
                _set(self.accounts, key, after)
            case Challenge(id=name, state=progress):
                _set(self.challenges, name, None if progress is ChallengeState.DONE else after)
            case EvidenceEntry(sha256=digest, prev_sha256=prev):
                self.evidence_head = prev if after is None else digest
            case _:
                return
        for watcher in self._watchers:
            watcher.changed(before, after)


def _set(table: dict[Any, Any], key: int | str, row: Row | None) -> None:
    if row is None:
        table.pop(key, None)
    else:
        table[key] = row
