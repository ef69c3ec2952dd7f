"""Rows in memory: changed through a journal, undone as a whole or to a mark, followed by watchers."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.book import Book, Counters, Row, StaleRowError
from scheduler.lifecycle import AttemptState, JobState
from scheduler.records import Attempt, Event, Job, JobSpec, MarketNode, Resources

NODE = MarketNode(id=1, name="n", supplier=1, public_key="", machine="")
JOB = Job(id=1, owner=1, idempotency_key="k", spec=JobSpec(name="j", command=("true",)))
ATTEMPT = Attempt(token=1, job=1, n=1, node=1, node_epoch=1, resources=Resources(), placed_ms=0)


class Log:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[Row | None, Row | None]] = []

    def changed(self, before: Row | None, after: Row | None) -> None:
        self.seen.append((before, after))


def state_of(book: Book) -> tuple[Any, ...]:
    """All of it but the journal."""
    tokens = {node: set(tokens) for node, tokens in book.tokens_of_node.items() if tokens}
    return (dict(book.nodes), dict(book.jobs), dict(book.attempts), tokens, book.counters)


def test_a_change_names_what_was_before() -> None:
    """So that the store can guard it."""
    book = Book()
    book.add(NODE)

    after = book.change(NODE, online=True)

    assert book.nodes == {1: after}
    assert [(change.before, change.after) for change in book.pending] == [(None, NODE), (NODE, after)]


def test_a_row_that_was_changed_in_between_is_refused() -> None:
    """Two rules that hold the same row cannot both win."""
    book = Book()
    book.add(NODE)
    book.change(NODE, online=True)

    with pytest.raises(StaleRowError, match="MarketNode was changed"):
        book.change(NODE, online=False)


def test_a_key_is_added_once() -> None:
    """A second row under it would take the first away when it is undone."""
    book = Book()
    book.add(NODE)

    with pytest.raises(StaleRowError, match="MarketNode of this key"):
        book.add(NODE)
    book.undo()

    assert book.nodes == {}


def test_what_has_ended_leaves_the_book() -> None:
    """It is only in the store then, and cannot be changed any more."""
    book = Book()
    book.load([NODE, JOB, ATTEMPT], Counters())

    ended = book.change(ATTEMPT, state=AttemptState.LOST)
    book.change(JOB, state=JobState.FAILED)

    assert (book.jobs, book.attempts, book.tokens_of_node) == ({}, {}, {1: set()})
    with pytest.raises(StaleRowError):
        book.change(ended, reason="again")


def test_undo_takes_everything_back_and_numbers_with_it() -> None:
    """Ended rows live again, added ones are gone, watchers hear of it in reverse."""
    log = Log()
    book = Book([log])
    book.load([NODE, JOB, ATTEMPT], Counters(job=2, token=2))
    before = state_of(book)
    log.seen.clear()

    ended = book.change(ATTEMPT, state=AttemptState.LOST)
    other = Attempt(token=book.number("token"), job=1, n=2, node=1, node_epoch=1, resources=Resources(), placed_ms=0)
    book.add(other)
    book.undo()

    assert state_of(book) == before
    assert not book.pending
    assert not book.counters_changed
    assert log.seen == [(ATTEMPT, ended), (None, other), (other, None), (ended, ATTEMPT)]


def test_undo_to_a_mark_keeps_what_was_before_it() -> None:
    """One command of a batch is refused, the others stand."""
    book = Book()
    book.add(NODE)
    book.number("node")
    mark = book.mark()
    book.change(NODE, online=True)
    book.number("event")

    book.undo(mark)

    assert book.nodes == {1: NODE}
    assert book.counters == Counters(node=2)
    assert len(book.pending) == 1


def test_a_commit_empties_the_journal() -> None:
    """Nothing of it can be undone any more."""
    book = Book()
    book.add(NODE)
    book.number("node")
    assert book.counters_changed

    book.committed()
    book.undo()

    assert book.nodes == {1: NODE}
    assert book.counters == Counters(node=2)
    assert not book.counters_changed


def test_what_is_only_stored_passes_through() -> None:
    """Events are journalled; the book keeps none, so nobody has to follow them."""
    log = Log()
    book = Book([log])
    event = Event(seq=1, at_ms=0, kind="node.online", actor="node 1")

    book.add(event)

    assert [change.after for change in book.pending] == [event]
    assert log.seen == []


def test_a_watcher_that_comes_later_is_told_of_what_there_is() -> None:
    """Nodes before the attempts on them."""
    book = Book()
    book.load([ATTEMPT, JOB, NODE], Counters())
    log = Log()

    book.watch(log)
    online = book.change(NODE, online=True)

    assert log.seen == [(None, NODE), (None, JOB), (None, ATTEMPT), (NODE, online)]
