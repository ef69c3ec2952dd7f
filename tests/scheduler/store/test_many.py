"""Many rows by few statements: each is written, each is guarded, and none is searched for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from scheduler.store import many
from scheduler.store.errors import StaleWriteError
from scheduler.store.many import TOGETHER

COLUMNS = ("id", "state", "token", "note")
COUNTS = (0, 1, 2, 3, 7, 64, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER + 5)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """One table."""
    found = sqlite3.connect(":memory:", isolation_level=None)
    found.execute("create table t (id integer primary key, state integer not null, token integer, note text) strict")
    yield found
    found.close()


def filled(db: sqlite3.Connection, count: int) -> None:
    many.insert(db, "t", COLUMNS, [(n, 1, None if n % 3 else n, f"n{n}") for n in range(count)])


def rows(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    return db.execute("select * from t order by id").fetchall()


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_is_added_once(db: sqlite3.Connection, count: int) -> None:
    """However they fall into statements."""
    filled(db, count)

    assert rows(db) == [(n, 1, None if n % 3 else n, f"n{n}") for n in range(count)]


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_is_changed_and_no_other(db: sqlite3.Connection, count: int) -> None:
    """Null among the guards is like null."""
    filled(db, count + 2)
    asked = [(2, f"m{n}", n, 1, None if n % 3 else n) for n in range(count)]
    many.swap(db, "t", ("state", "note"), ("id", "state", "token"), asked)

    kept = [(n, 1, None if n % 3 else n, f"n{n}") for n in (count, count + 1)]
    assert rows(db) == [(n, 2, None if n % 3 else n, f"m{n}") for n in range(count)] + kept


@pytest.mark.parametrize("wrong", [{"id": 999}, {"state": 3}, {"token": 5}, {"token": None}])
def test_one_row_that_is_another_is_told(db: sqlite3.Connection, wrong: dict[str, int | None]) -> None:
    """Among two hundred: its key, a guard, and a null where there is a number or the other way round."""
    filled(db, 200)
    asked: list[many.Row] = [(2, "m", n, 1, None if n % 3 else n) for n in range(200)]
    at = 99 if wrong.get("token", 5) is None else 100
    names = dict(zip(("id", "state", "token"), asked[at][2:], strict=True)) | wrong
    asked[at] = (2, "m", *names.values())

    with pytest.raises(StaleWriteError, match="1 of 200 is not in the database as it was"):
        many.swap(db, "t", ("state", "note"), ("id", "state", "token"), asked)


def test_few_statements_do_it(db: sqlite3.Connection) -> None:
    """By halves, from the largest: of 255 rows eight."""
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    filled(db, 2 * TOGETHER - 1)

    assert len(seen) == TOGETHER.bit_length()


def test_each_row_is_found_by_its_key(db: sqlite3.Connection) -> None:
    """SQLite does not go through the table, in which there may be millions."""
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    filled(db, 4)
    many.swap(db, "t", ("note",), ("id", "state"), [("m", n, 1) for n in range(4)])
    db.set_trace_callback(None)
    plan = [row[3] for row in db.execute(f"explain query plan {seen[-1]}")]

    assert any(step.startswith("SEARCH t USING INTEGER PRIMARY KEY") for step in plan), plan
    assert not any(step.startswith("SCAN t") for step in plan), plan
