"""Reading: committed state only, pages that neither skip nor repeat, from many threads beside the writer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.book import Change
from scheduler.lifecycle import JobState
from scheduler.records import Account, Artifact, Event, Figure, NodeFigure, ReportEntry
from scheduler.store import reader as reader_module
from scheduler.store.errors import StoreError
from scheduler.store.keep import Keep
from scheduler.store.reader import LIMIT_MAX, Reader
from scheduler.store.store import Store, open_store
from tests.scheduler.store.rows import (
    ACCOUNT,
    ATTEMPT,
    BLOB,
    CHALLENGE,
    COUNTERS,
    DONE_CHALLENGE,
    ENTRY,
    JOB,
    NODE,
    REPORT,
    RESULT,
    SHA,
    active,
    attempt,
    job,
)

OTHER = Account(id=2, name="Bob", role="renter", token_sha256="33" * 32, created_ms=1_100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two accounts and a node."""
    opened = open_store(tmp_path / "gridmark.db")
    opened.write([Change(None, ACCOUNT), Change(None, OTHER), Change(None, NODE)], replace(COUNTERS, account=3))
    yield opened
    opened.close()


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    """A reader beside it."""
    opened = Reader(store.path, connections=2)
    yield opened
    opened.close()


def add(store: Store, *changes: Change) -> None:
    """Commit without using up numbers."""
    store.write(changes, store.load().counters)


def test_pages_of_jobs_neither_skip_nor_repeat_while_jobs_come_in(store: Store, reader: Reader) -> None:
    """Newest first, by number: what is submitted meanwhile does not move the pages."""
    add(store, *(Change(None, job(n)) for n in range(1, 6)))
    first = reader.jobs(None, limit=2)
    add(store, Change(None, job(6)))
    second = reader.jobs(None, before=first[-1].id, limit=2)
    third = reader.jobs(None, before=second[-1].id, limit=2)

    assert [one.id for one in (*first, *second, *third)] == [5, 4, 3, 2, 1]


def test_jobs_are_chosen_by_owner_and_state(store: Store, reader: Reader) -> None:
    """A renter sees their own; `ps` only what lives."""
    add(store, Change(None, job(1)), Change(None, replace(job(2), owner=2)), Change(None, job(3)))
    add(store, Change(job(3), replace(job(3), state=JobState.CANCELLED)))

    assert [one.id for one in reader.jobs(1)] == [3, 1]
    assert [one.id for one in reader.jobs(2)] == [2]
    assert [one.id for one in reader.jobs(1, states=frozenset({JobState.QUEUED, JobState.ACTIVE}))] == [1]
    assert [one.id for one in reader.jobs(None, states=frozenset({JobState.CANCELLED}))] == [3]
    assert reader.jobs(None, states=frozenset()) == ()


def test_events_are_followed_from_a_number_on_and_looked_back_from_one(store: Store, reader: Reader) -> None:
    """Of everything, a job, a node, or a job on a node."""
    rows = [(1, None), (1, 7), (2, 7), (None, 7), (1, 8)]
    add(
        store,
        *(
            Change(None, Event(seq=seq, at_ms=seq, kind="k", actor="a", job=one, node=node))
            for seq, (one, node) in enumerate(rows, 1)
        ),
    )

    def seqs(events: tuple[Event, ...]) -> list[int]:
        return [event.seq for event in events]

    assert seqs(reader.events(after=2)) == [3, 4, 5]
    assert seqs(reader.events(limit=2)) == [1, 2]
    assert seqs(reader.events(job=1)) == [1, 2, 5]
    assert seqs(reader.events(node=7, after=2)) == [3, 4]
    assert seqs(reader.events(job=1, node=7)) == [2]
    assert seqs(reader.latest_events(limit=2)) == [5, 4]
    assert seqs(reader.latest_events(before=3)) == [2, 1]
    assert seqs(reader.latest_events(job=1, before=5)) == [2, 1]
    assert seqs(reader.latest_events(node=7, limit=1)) == [4]
    assert seqs(reader.latest_events(job=1, node=7)) == [2]


def test_the_history_of_a_figure_is_the_newest_part_in_order(store: Store, reader: Reader) -> None:
    """A plot's points from left to right; when there are too many the old ones are left out."""
    points = [Figure(value=float(at), low=None, high=None, n=1, at_ms=at) for at in (30, 10, 20, 40)]
    add(store, *(Change(None, NodeFigure(node=1, metric="memory.triad", figure=point)) for point in points))

    def times(figures: tuple[Figure, ...]) -> list[int]:
        return [figure.at_ms for figure in figures]

    assert times(reader.figures(1, "memory.triad")) == [10, 20, 30, 40]
    assert times(reader.figures(1, "memory.triad", 20)) == [20, 30, 40]
    assert times(reader.figures(1, "memory.triad", limit=2)) == [30, 40]
    assert reader.figures(1, "matmul.bf16") == ()


def test_reports_attempts_and_accounts_come_in_pages(store: Store, reader: Reader) -> None:
    """Newest first, accounts by number."""
    reports = [ReportEntry(id=f"r{n}", node=1, at_ms=n, verdict="unknown", profile="quick") for n in (1, 2, 3)]
    add(store, Change(None, job(1)), *(Change(None, one) for one in reports))
    ended = [replace(attempt(n, 1, n=n), state=ATTEMPT.state.LOST) for n in (1, 2)]
    add(store, *(Change(None, one) for one in ended))

    assert reader.report("r2") == reports[1]
    assert [one.id for one in reader.reports(1, limit=2)] == ["r3", "r2"]
    assert [one.id for one in reader.reports(1, before_ms=2)] == ["r1"]
    assert [one.token for one in reader.attempts(1, limit=1)] == [2]
    assert reader.accounts(limit=1) == (ACCOUNT,)
    assert reader.accounts(after=1) == (OTHER,)


def test_what_does_not_exist_is_none(reader: Reader) -> None:
    """Never an error, never an empty record."""
    assert reader.job(9) is None
    assert reader.attempt(9) is None
    assert reader.result(9) is None
    assert reader.report("r9") is None
    assert reader.blob_bytes(1) == 0
    assert reader.account_by_digest("ff" * 32) is None
    assert reader.blob(1, SHA) is None
    assert reader.secrets(9) == {}


@pytest.mark.parametrize("limit", [0, -1, LIMIT_MAX + 1])
def test_no_list_is_without_a_limit(reader: Reader, limit: int) -> None:
    """SQLite takes a negative limit for none."""
    with pytest.raises(ValueError, match="expected a limit of 1 to 1000"):
        reader.jobs(None, limit=limit)


def test_a_snapshot_shows_one_moment(store: Store, reader: Reader) -> None:
    """A job and its attempts fit together, whatever is committed in between."""
    add(store, Change(None, job(1)))
    with reader.snapshot():
        before = reader.job(1)
        add(store, Change(job(1), active(job(1), 1)), Change(None, attempt(1, 1)))
        assert reader.job(1) == before
        with reader.snapshot():
            assert reader.attempts(1) == ()

    assert reader.job(1) == active(job(1), 1)
    assert reader.attempts(1) == (attempt(1, 1),)


def test_a_snapshot_is_of_the_moment_it_begins(store: Store, reader: Reader) -> None:
    """Not of its first read: whoever compares it with what memory held then would find differences."""
    with reader.snapshot():
        add(store, Change(None, job(1)))
        assert reader.job(1) is None

    assert reader.job(1) == job(1)


def test_a_reader_cannot_write(reader: Reader) -> None:
    """Whatever statement gets in, the connection refuses it."""
    with reader._connection() as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("delete from account")


def test_many_threads_read_while_the_writer_writes(store: Store, reader: Reader) -> None:
    """8 threads over 2 connections: each sees as many attempts as its job counts, always."""
    add(store, Change(None, job(1)))
    odd: list[object] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            with reader.snapshot():
                found, tries = reader.job(1), reader.attempts(1)
            if found is None or found.attempts != len(tries):
                odd.append((found, tries))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    now = job(1)
    for n in range(1, 41):
        new = replace(attempt(n, 1, n=n), state=ATTEMPT.state.LOST)
        add(store, Change(now, replace(now, attempts=n, token=n)), Change(None, new))
        now = replace(now, attempts=n, token=n)
    done.set()
    for thread in threads:
        thread.join()

    assert odd == []
    assert len(reader.attempts(1)) == 40


def test_a_caller_does_not_wait_for_ever_for_a_connection(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every connection is held the answer is an error, not a hang."""
    monkeypatch.setattr(reader_module, "WAIT_S", 0.01)
    with reader._connection(), reader._connection(), pytest.raises(StoreError, match="2 reads are under way"):
        reader.job(1)

    assert reader.job(1) is None


def test_a_reader_needs_a_database(tmp_path: Path) -> None:
    """And makes none."""
    with pytest.raises(StoreError, match="unable to open database file"):
        Reader(tmp_path / "gridmark.db")

    assert list(tmp_path.iterdir()) == []


def test_an_owners_uploads_are_added_up(store: Store, reader: Reader) -> None:
    """10 and 7 bytes of one owner; what others own does not count."""
    rows = (BLOB, replace(BLOB, sha256="ee" * 32, size_bytes=7), replace(BLOB, owner=2))
    add(store, *(Change(None, row) for row in rows))

    assert reader.blob_bytes(1) == 17
    assert reader.blob_bytes(2) == 10


def test_what_files_have_to_stay_for_the_rows(store: Store, reader: Reader) -> None:
    """Uploads, artifacts of results, inputs and checkpoints of live jobs; logs of attempts; reports; transcripts."""
    artifact, checkpoint, spent = ("aa" * 32, "cc" * 32, "dd" * 32)
    result = replace(RESULT, artifacts=(Artifact(path="x", sha256=artifact, size_bytes=1),))
    live, ended = replace(JOB, checkpoint_sha256=checkpoint), replace(job(2), checkpoint_sha256=spent)
    add(store, *(Change(None, row) for row in (live, ended, attempt(7, 1), replace(result, token=7), REPORT)))
    upload = replace(BLOB, sha256="ee" * 32)
    add(store, Change(None, CHALLENGE), Change(None, ENTRY))
    add(store, Change(CHALLENGE, DONE_CHALLENGE))
    add(store, Change(ended, replace(ended, state=JobState.CANCELLED)), Change(None, upload))

    assert reader.kept() == Keep(
        blobs=frozenset({artifact, checkpoint, upload.sha256, SHA}),
        tokens=frozenset({7}),
        reports=frozenset({"r1"}),
        transcripts=frozenset({ENTRY.transcript_sha256}),
    )
