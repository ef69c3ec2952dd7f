"""The write-ahead log stays short under load, and nobody waits long for it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from scheduler.book import Change, Counters
from scheduler.records import Event
from scheduler.store import wal
from scheduler.store.connection import connect_reader
from scheduler.store.store import Store, open_store

KIB = 1 << 10


@pytest.fixture
def store(tmp_path: Path) -> contextlib.closing[Store]:
    return contextlib.closing(open_store(tmp_path / "m.db"))


def fill(store: Store, numbers: range) -> None:
    """Events of 4 KiB each, a commit for every sixteen."""
    for first in numbers[::16]:
        events = [
            Event(seq=seq, at_ms=0, kind="node.due", actor="x", data={"text": "x" * 4 * KIB})
            for seq in range(first, first + 16)
        ]
        store.write([Change(None, event) for event in events], Counters(event=first + 16))


def test_a_log_that_is_short_is_left_alone(store: contextlib.closing[Store]) -> None:
    """Nothing is copied, nobody waited for."""
    with store as opened:
        fill(opened, range(1, 17))
        size = opened.log.size_bytes

        assert size > 16 * 4 * KIB
        assert opened.shorten_log(0)
        assert opened.log.size_bytes == size


def test_a_long_log_begins_anew(store: contextlib.closing[Store]) -> None:
    """Its file is empty, and what was in it is in the database."""
    with store as opened:
        opened.log = wal.Log(opened._db, opened.path, busy_ms=5_000, bound_bytes=64 * KIB)
        fill(opened, range(1, 33))

        assert opened.shorten_log(0)

        assert opened.log.size_bytes == 0
        assert opened._db.execute("select count(*) from event").fetchone()[0] == 32
        assert opened._db.execute("pragma busy_timeout").fetchone()[0] == 5_000


def test_a_long_read_is_not_waited_for_again_and_again(store: contextlib.closing[Store]) -> None:
    """A backup under way: one try, the next after 5 s; when it has ended, the log is short again."""
    with store as opened:
        opened.log = wal.Log(opened._db, opened.path, busy_ms=5_000, bound_bytes=64 * KIB)
        fill(opened, range(1, 17))
        with contextlib.closing(connect_reader(opened.path)) as reader:
            reader.execute("begin")
            reader.execute("select count(*) from event").fetchone()
            fill(opened, range(17, 49))
            assert not opened.shorten_log(1_000)
            reader.execute("rollback")

        assert not opened.shorten_log(1_000 + wal.AGAIN_MS - 1)
        assert opened.shorten_log(1_000 + wal.AGAIN_MS)
        assert opened.log.size_bytes == 0
