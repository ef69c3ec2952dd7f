"""Many rows by one statement: SQLite then works on all of them while the other threads of the process go on.

Every call of SQLite lets go of the interpreter's lock and has to get it back. When others want it too, that takes ten
times as long as a row does, so rows that come by the hundred are not written by a statement each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

from scheduler.store.errors import StaleWriteError

Row = tuple[object, ...]  #: what stands for the question marks of a statement, in their order

#: rows of one statement at most; a power of two, as all numbers of rows are: a few texts serve every batch
TOGETHER = 128


def insert(db: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Add rows with a value for each of these columns."""
    for some in _parted(rows):
        db.execute(_insertion(table, columns, len(some)), [*chain.from_iterable(some)])


def swap(
    db: sqlite3.Connection, table: str, values: tuple[str, ...], guards: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Compare and swap: give `values` to the row that each of `rows` names, which has to be as `guards` say.

    Args:
        guards: the key's column, then those that must hold what is given for them; null is like null.
        rows: the values in their order, then what the guards hold. Different ones name different rows.

    Raises:
        StaleWriteError: what is in the database is not what the changes start from.
    """
    met = 0
    for some in _parted(rows):
        met += db.execute(_swapping(table, values, guards, len(some)), [*chain.from_iterable(some)]).rowcount
    if met != len(rows):
        missed = f"{len(rows) - met} of {len(rows)}"
        raise StaleWriteError(f"{table}: {missed} is not in the database as it was in memory before the change")


def _parted(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    begin, size = 0, TOGETHER
    while left := len(rows) - begin:
        while size > left:
            size //= 2
        yield rows[begin : begin + size]
        begin += size


@cache
def _insertion(table: str, columns: tuple[str, ...], count: int) -> str:
    return f"insert into {table} ({', '.join(columns)}) values {_marks(len(columns), count)}"  # noqa: S608 - our names


@cache
def _swapping(table: str, values: tuple[str, ...], guards: tuple[str, ...], count: int) -> str:
    key, *held = [f"{table}.{name}" for name in guards]
    first = len(values) + 1
    sets = ", ".join([f"{name} = given.column{number}" for number, name in enumerate(values, 1)])
    same = [f"{name} is given.column{number}" for number, name in enumerate(held, first + 1)]
    where = " and ".join([f"{key} = given.column{first}", *same])
    marks = _marks(len(values) + len(guards), count)
    return f"update {table} set {sets} from (values {marks}) as given where {where}"  # noqa: S608 - names of our own


def _marks(columns: int, count: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * count)
