"""A batch of changes as statements: what it comes to for each job and attempt, table by table.

A job that is submitted, placed and ended within one batch is one row, written once. Rows that others refer to come
first; ends of attempts come before beginnings, since a job has one live attempt at most at any moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from scheduler.book import Change, Row
from scheduler.proofs.rows import Challenge, EvidenceEntry
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
from scheduler.store import accounts, attempts, evidence, history, jobs, nodes
from scheduler.store.errors import StaleWriteError

#: what does not come by the hundred is written as it happened, one statement a change
_INSERT: dict[type[Row], Callable[[sqlite3.Connection, Any], None]] = {
    MarketNode: nodes.insert,
    Account: accounts.insert,
    Blob: accounts.insert_blob,
    ReportEntry: history.insert_report,
    NodeFigure: history.insert_figure,
    Challenge: evidence.insert_challenge,
    EvidenceEntry: evidence.insert,
}
_UPDATE: dict[type[Row], Callable[[sqlite3.Connection, Any, Any], None]] = {
    MarketNode: nodes.update,
    Account: accounts.update,
    Challenge: evidence.update_challenge,
}

T = TypeVar("T", Job, Attempt)


def write(db: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Write the changes, inside a transaction.

    Raises:
        StaleWriteError: the database is not what a change starts from.
        sqlite3.Error: it forbids a row, or cannot be written.
    """
    by_job: dict[int, tuple[Job | None, Job]] = {}
    by_token: dict[int, tuple[Attempt | None, Attempt]] = {}
    events: list[Event] = []
    results: list[Result] = []
    secrets: list[SealedSecret] = []
    for change in changes:
        match change.after:
            case Job(id=key) as job:
                first = by_job.get(key)
                by_job[key] = (change.before if first is None else first[0], job)  # type: ignore[assignment]
            case Attempt(token=key) as attempt:
                earlier = by_token.get(key)
                by_token[key] = (change.before if earlier is None else earlier[0], attempt)  # type: ignore[assignment]
            case Event() as event if change.before is None:
                events.append(event)
            case Result() as result if change.before is None:
                results.append(result)
            case SealedSecret() as secret if change.before is None:
                secrets.append(secret)
            case _:
                _write_one(db, change)
    _write_jobs(db, [*by_job.values()], secrets)
    added, moved = _parted([*by_token.values()])
    attempts.update(db, moved)
    attempts.insert(db, added)
    history.insert_results(db, results)
    history.insert_events(db, events)


def _write_one(db: sqlite3.Connection, change: Change) -> None:
    kind = type(change.after)
    if change.before is None:
        _INSERT[kind](db, change.after)
    elif kind in _UPDATE:
        _UPDATE[kind](db, change.before, change.after)
    else:
        raise StaleWriteError(f"a {kind.__name__} is history and never changed")


def _write_jobs(
    db: sqlite3.Connection, changed: Sequence[tuple[Job | None, Job]], secrets: Sequence[SealedSecret]
) -> None:
    added, moved = _parted(changed)
    jobs.insert(db, added)
    for secret in secrets:
        history.insert_secret(db, secret)
    jobs.update(db, moved)
    jobs.forget_secrets(db, [after for _, after in changed])


def _parted(changed: Sequence[tuple[T | None, T]]) -> tuple[list[T], list[tuple[T, T]]]:
    """Those that are new, and those that were there before."""
    return [after for was, after in changed if was is None], [(was, after) for was, after in changed if was is not None]
