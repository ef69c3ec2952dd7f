"""How statements are run: guarded updates, and errors of SQLite as our own."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from scheduler.store.errors import DamagedError, StaleWriteError, StoreError

Values = Mapping[str, object]

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")


def update_one(db: sqlite3.Connection, sql: str, values: Values, what: str) -> None:
    """Run a compare-and-swap that has to meet exactly one row.

    Raises:
        StaleWriteError: it met none: the row is not what the change starts from.
    """
    met = db.execute(sql, values).rowcount
    if met != 1:
        raise StaleWriteError(f"{what} is not in the database as it was in memory before the change ({met} rows met)")


def selection(table: str, columns: Sequence[str]) -> str:
    """The beginning of a statement that reads these columns, in this order."""
    return f"select {', '.join(columns)} from {table}"  # noqa: S608 - names of our own


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Everything inside, or nothing of it; durable once left without an error."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of SQLite inside, as a StoreError that says what was being done."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StaleWriteError(f"{doing}: the database forbids it: {error}") from error
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(_DAMAGED):
            raise DamagedError(f"{doing}: {error}; restore a backup") from error
        raise StoreError(f"{doing}: {error}") from error
