"""What is old goes: events below a number, logs by age and by size; what lives stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.book import Change
from scheduler.lifecycle import AttemptState
from scheduler.records import Event
from scheduler.store.logs import Logs
from scheduler.store.reader import Reader
from scheduler.store.store import Store, open_store
from tests.scheduler.store.rows import ACCOUNT, COUNTERS, NODE, attempt, job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An account and a node."""
    opened = open_store(tmp_path / "gridmark.db")
    opened.write([Change(None, ACCOUNT), Change(None, NODE)], COUNTERS)
    yield opened
    opened.close()


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    """A reader beside it."""
    opened = Reader(store.path, connections=1)
    yield opened
    opened.close()


def add(store: Store, *changes: Change) -> None:
    """Commit without using up numbers."""
    store.write(changes, store.load().counters)


def said(store: Store, *times_ms: int) -> None:
    """Events at these times, numbered from 1."""
    for seq, at_ms in enumerate(times_ms, start=1):
        add(store, Change(None, Event(seq=seq, at_ms=at_ms, kind="node.due", actor="x")))


@pytest.mark.parametrize(("since_ms", "first"), [(0, 1), (10, 1), (11, 2), (20, 2), (30, 4), (31, 5), (99, 7)])
def test_the_first_event_that_is_young_enough(store: Store, reader: Reader, since_ms: int, first: int) -> None:
    """10, 20, 20, 30, 40, 40: all below the number are older, whatever was removed before."""
    said(store, 10, 20, 20, 30, 40, 40)
    assert reader.first_event_since(since_ms) == first

    store.prune_events(first)
    assert reader.first_event_since(since_ms) == (first if first < 7 else 1)  # 1: there is none left


def test_of_no_events_the_first_is_the_first_there_will_be(reader: Reader) -> None:
    """Nothing is to be removed."""
    assert reader.first_event_since(5) == 1


def test_logs_of_attempts_that_ended_long_ago_go(store: Store, reader: Reader) -> None:
    """Those that live stay whatever their age, as do those that ended since."""
    rows = [attempt(token, token) for token in (1, 2, 3)]
    add(store, *(Change(None, job(n)) for n in (1, 2, 3)), *(Change(None, row) for row in rows))
    for row, ended_ms in ((rows[0], 100), (rows[1], 200)):
        add(store, Change(row, replace(row, state=AttemptState.LOST, ended_ms=ended_ms)))

    assert reader.kept().tokens == {1, 2, 3}
    assert reader.kept(logs_since_ms=200).tokens == {2, 3}
    assert reader.live_tokens() == {3}


def test_all_logs_together_are_bounded(tmp_path: Path) -> None:
    """The ones added to longest ago go first, and no more than have to; a live one stays."""
    logs = Logs(tmp_path)
    for token in (1, 2, 3, 4):
        logs.append(token, "out", 0, b"x" * 100, quota_bytes=1000)
        os.utime(logs.path(token, "out"), (token, token))
    assert logs.shrink(frozenset(), most_bytes=400) == 0

    assert logs.shrink(frozenset({1}), most_bytes=250) == 2

    assert [logs.size(token, "out") for token in (1, 2, 3, 4)] == [100, 0, 0, 100]
    assert logs.shrink(frozenset({1, 4}), most_bytes=0) == 0
