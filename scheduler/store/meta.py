"""The table `meta`: the next number of each kind, and facts about the file itself."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict

from scheduler.book import Counters
from scheduler.store.statement import update_one

_SELECT = "select value from meta where key = :key"
_RAISE = "update meta set value = :next where key = :key and value = :saved"
_RAISE_BOOT = "update meta set value = value + 1 where key = 'boot' returning value"
# SQLite leaves a page alone when what is written is there already
_PROBE = "update meta set value = 1 - value where key = 'probe'"
_SET = "insert into meta (key, value) values (:key, :value) on conflict (key) do update set value = excluded.value"
_SKIP = "update meta set value = value + :skipped where key in ('boot', 'node', 'job', 'token', 'event', 'account')"


def counters(db: sqlite3.Connection) -> Counters:
    """The next number of each kind."""
    return Counters(**{key: int(_value(db, key)) for key in asdict(Counters())})


def raise_counters(db: sqlite3.Connection, saved: Counters, new: Counters) -> None:
    """Save the numbers used up, each guarded by what was saved before.

    Raises:
        StaleWriteError: somebody else used up numbers of this file.
    """
    before = asdict(saved)
    for key, value in asdict(new).items():
        if value != before[key]:
            update_one(db, _RAISE, {"key": key, "next": value, "saved": before[key]}, f"the counter of {key}s")


def raise_boot(db: sqlite3.Connection) -> int:
    """The number of this opening."""
    return int(db.execute(_RAISE_BOOT).fetchone()[0])


def probe(db: sqlite3.Connection) -> None:
    """Change something that means nothing."""
    db.execute(_PROBE)


def skip_numbers(db: sqlite3.Connection, skipped: int) -> None:
    """Leave out that many numbers of every kind, the boot's too."""
    db.execute(_SKIP, {"skipped": skipped})


def key_mark(db: sqlite3.Connection) -> str | None:
    """Which key the secrets are sealed with (seal.py); None = none was ever made."""
    row = db.execute(_SELECT, {"key": "key_mark"}).fetchone()
    return None if row is None else str(row[0])


def set_key_mark(db: sqlite3.Connection, mark: str) -> None:
    """From now on secrets are sealed with another key."""
    db.execute(_SET, {"key": "key_mark", "value": mark})


def _value(db: sqlite3.Connection, key: str) -> int:
    return int(db.execute(_SELECT, {"key": key}).fetchone()[0])
