"""The database as the writer sees it: what is written comes back, and nothing is written that rests on a mistake."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from scheduler.book import Change, Counters, Row
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.proofs.rows import ChallengeState, Proof
from scheduler.records import Figure, Job, MarketNode, SealedSecret
from scheduler.store.errors import StaleWriteError
from scheduler.store.reader import Reader
from scheduler.store.store import Store, open_store
from tests.scheduler.store.rows import (
    ACCOUNT,
    ATTEMPT,
    BLOB,
    CHALLENGE,
    COUNTERS,
    DONE_CHALLENGE,
    ENTRY,
    EVENT,
    JOB,
    NODE,
    NODE_FIGURE,
    REPORT,
    RESULT,
    active,
    attempt,
    job,
)

RUNNING = replace(ATTEMPT, state=AttemptState.RUNNING, started_ms=5_000)
ENDED = replace(RUNNING, state=AttemptState.SUCCEEDED, ended_ms=9_000, exit_code=0, reason="exited")
DONE = replace(active(JOB, 1), state=JobState.DONE, ended_ms=9_000, exit_code=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    opened = open_store(tmp_path / "gridmark.db")
    yield opened
    opened.close()


def add(store: Store, *rows: Row, counters: Counters = COUNTERS) -> None:
    """Commit new rows."""
    store.write([Change(None, row) for row in rows], counters)


def test_what_was_written_is_loaded_after_the_next_opening(tmp_path: Path) -> None:
    """Every field of every row survives, and the counters go on where they were."""
    with_attempt = active(JOB, 1)
    store = open_store(tmp_path / "gridmark.db")
    add(store, ACCOUNT, NODE, JOB, ATTEMPT, EVENT, BLOB)
    store.write([Change(JOB, with_attempt), Change(ATTEMPT, RUNNING)], COUNTERS)
    store.close()

    again = open_store(tmp_path / "gridmark.db")
    loaded = again.load()
    again.close()

    assert loaded.rows == (ACCOUNT, NODE, with_attempt, RUNNING)
    assert loaded.counters == COUNTERS


def test_every_row_is_read_back_as_it_was_added(store: Store) -> None:
    """What the book does not keep is there for readers."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT, EVENT, BLOB, REPORT, NODE_FIGURE, store.sealer.seal(1, "TOKEN", "s3cret"))
    add(store, RESULT, CHALLENGE, ENTRY)
    reader = Reader(store.path)

    assert reader.job(1) == JOB
    assert reader.attempts(1) == (ATTEMPT,)
    assert reader.attempt(1) == ATTEMPT
    assert reader.result(1) == RESULT
    assert reader.events() == (EVENT,)
    assert reader.blob(1, BLOB.sha256) == BLOB
    assert reader.blob(2, BLOB.sha256) is None
    assert reader.reports(1) == (REPORT,)
    assert reader.figures(1, "matmul.bf16") == (NODE_FIGURE.figure,)
    assert reader.metrics(1) == ("matmul.bf16",)
    assert reader.account_by_digest(ACCOUNT.token_sha256) == ACCOUNT
    assert reader.accounts() == (ACCOUNT,)
    assert reader.challenge(CHALLENGE.id) == CHALLENGE
    assert reader.challenges(1) == (CHALLENGE,)
    assert reader.evidence() == (ENTRY,)
    assert reader.newest_evidence() == reader.evidence_of(CHALLENGE.id) == ENTRY
    assert store.sealer.open(1, "TOKEN", reader.secrets(1)["TOKEN"]) == "s3cret"
    reader.close()


def test_a_changed_node_is_loaded_as_it_became(store: Store) -> None:
    """Terms, standing and a new report are written; one change may bring several of them."""
    after = replace(
        NODE, epoch=4, boot_id="boot-2", standing=Standing.DEGRADED, online=False, draining=True, why="stale",
        figures={"memory.triad": Figure(value=2e12, low=None, high=None, n=3, at_ms=8_000)}, health=None,
        report_id="r2", reported_ms=8_000, lost_jobs=(), executors=(), price_uh=1,
    )  # fmt: skip
    add(store, ACCOUNT, NODE)

    store.write([Change(NODE, after)], COUNTERS)

    assert store.load().rows == (ACCOUNT, after)


#: of a job, by field: what it may become while it lives
MOVED: dict[str, Any] = {
    "state": JobState.BACKOFF, "token": 9, "attempts": 8, "retries_used": 7, "replacements": 6, "next_at_ms": 5,
    "reason": "no node fits", "ended_ms": 4, "exit_code": 3, "checkpoint_sha256": "cd" * 32, "checkpoint_ms": 2,
    "crash_exit": 1, "crash_nodes": (5, 6), "lost_nodes": (7,), "cancelled": not JOB.cancelled,
}  # fmt: skip
STAYING = {"id", "owner", "idempotency_key", "spec", "created_ms"}


@pytest.mark.parametrize("name", [field.name for field in fields(Job) if field.name not in STAYING])
def test_whatever_changes_of_a_job_is_written(store: Store, name: str) -> None:
    """Each field by itself, and beside one that changes with every placement."""
    add(store, ACCOUNT, NODE, JOB)
    alone = replace(JOB, **{name: MOVED[name]})
    placed = replace(alone, token=(alone.token or 0) + 1, attempts=alone.attempts + 1)
    assert alone != JOB

    store.write([Change(JOB, alone)], COUNTERS)
    assert store.load().rows == (ACCOUNT, NODE, alone)
    store.write([Change(alone, placed)], COUNTERS)
    assert store.load().rows == (ACCOUNT, NODE, placed)


def test_an_ended_job_is_no_longer_loaded_and_can_still_be_read(store: Store) -> None:
    """Memory holds what lives; history stays in the file."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT)

    store.write(
        [Change(ATTEMPT, ENDED), Change(None, RESULT), Change(replace(JOB), replace(DONE, attempts=0, token=None))],
        COUNTERS,
    )

    assert store.load().rows == (ACCOUNT, NODE)
    reader = Reader(store.path)
    assert reader.job(1) == replace(DONE, attempts=0, token=None)
    assert reader.attempts(1) == (ENDED,)
    reader.close()


def test_the_secrets_of_a_job_go_with_its_end(store: Store) -> None:
    """Nobody needs them any more, so nobody can lose them."""
    add(store, ACCOUNT, JOB, store.sealer.seal(1, "TOKEN", "s3cret"))
    reader = Reader(store.path)
    assert set(reader.secrets(1)) == {"TOKEN"}

    store.write([Change(JOB, replace(JOB, state=JobState.CANCELLED, ended_ms=5))], COUNTERS)

    assert reader.secrets(1) == {}
    reader.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (replace(JOB, state=JobState.ACTIVE), DONE),
        (replace(JOB, token=7), DONE),
        (replace(JOB, attempts=2), DONE),
        (replace(ATTEMPT, state=AttemptState.RUNNING), ENDED),
        (replace(NODE, epoch=2), replace(NODE, epoch=4)),
        (replace(NODE, standing=Standing.NEW), replace(NODE, epoch=4)),
        (replace(NODE, online=False), replace(NODE, epoch=4)),
        (replace(NODE, draining=True), replace(NODE, epoch=4)),
        (replace(NODE, boot_id="boot-0"), replace(NODE, epoch=4)),
        (replace(NODE, report_id="r0"), replace(NODE, report_id="r2")),
        (replace(NODE, report_id="r0"), replace(NODE, report_id="r0", epoch=4)),
        (replace(ACCOUNT, revoked_ms=5), replace(ACCOUNT, revoked_ms=None, name="Eve")),
        (replace(ACCOUNT, role="operator"), replace(ACCOUNT, name="Eve")),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_change_of_what_is_no_longer_so_is_refused_with_its_whole_batch(
    store: Store, before: Row, after: Row
) -> None:
    """Compare-and-swap: the event that came before it in the batch is not there either."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT)
    loaded = store.load()

    with pytest.raises(StaleWriteError, match="is not in the database as it was"):
        store.write([Change(None, EVENT), Change(before, after)], replace(COUNTERS, event=3))

    assert store.load() == loaded
    reader = Reader(store.path)
    assert reader.events() == ()
    reader.close()


def test_what_is_in_flight_and_the_end_of_the_chain_are_loaded(store: Store) -> None:
    """A challenge that has ended and older evidence stay in the file."""
    second = replace(ENTRY, seq=2, prev_sha256=ENTRY.sha256, sha256="ef" * 32, challenge="aa" * 16)
    other = replace(CHALLENGE, id="aa" * 16)
    add(store, ACCOUNT, NODE, CHALLENGE, ENTRY)
    store.write([Change(CHALLENGE, DONE_CHALLENGE), Change(None, other), Change(None, second)], COUNTERS)

    assert store.load().rows == (ACCOUNT, NODE, other, second)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ((replace(CHALLENGE, id="aa" * 16),), "UNIQUE constraint failed: challenge.node"),
        ((replace(ENTRY, seq=3, prev_sha256=ENTRY.sha256, sha256="ef" * 32),), "a chain without gaps"),
        ((replace(ENTRY, seq=2, prev_sha256="ab" * 32, sha256="ef" * 32),), "a chain without gaps"),
        ((replace(ENTRY, seq=2, prev_sha256=ENTRY.sha256, sha256="ef" * 32),), "evidence.challenge"),
    ],
    ids=["two in flight", "a gap", "another past", "judged twice"],
)
def test_the_database_itself_keeps_proofs_in_order(store: Store, rows: tuple[Row, ...], fault: str) -> None:
    """Whatever the rules say."""
    add(store, ACCOUNT, NODE, CHALLENGE, ENTRY)

    with pytest.raises(StaleWriteError, match=fault):
        add(store, *rows)


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        ("update challenge set state = 1, outcome = null", "only goes on"),
        ("update challenge set document = '{}', state = 5", "only goes on"),
        ("delete from challenge", "never removed"),
        ("update evidence set verdict = '{}'", "never changed"),
        ("delete from evidence", "never removed"),
    ],
)
def test_no_statement_rewrites_what_was_asked_or_found(store: Store, harm: str, fault: str) -> None:
    """Not even one that is put in by hand."""
    add(store, ACCOUNT, NODE, CHALLENGE, ENTRY)

    with pytest.raises(sqlite3.IntegrityError, match=fault):
        store._db.execute(harm)


def test_a_challenge_goes_on_only_from_where_it_is(store: Store) -> None:
    """Two answers at the same time: one of them is refused."""
    used = replace(CHALLENGE, state=ChallengeState.USED)
    add(store, ACCOUNT, NODE, CHALLENGE)
    store.write([Change(CHALLENGE, used)], COUNTERS)

    with pytest.raises(StaleWriteError, match="is not in the database as it was"):
        store.write([Change(CHALLENGE, used)], COUNTERS)


def test_the_database_itself_refuses_a_second_live_attempt(store: Store) -> None:
    """Whatever the rules say, two attempts of a job never hold resources together."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT)

    with pytest.raises(StaleWriteError, match=r"UNIQUE constraint failed: attempt\.job"):
        add(store, attempt(2, 1, n=2), counters=replace(COUNTERS, token=3))

    assert store.load().counters.token == 2


def test_a_new_attempt_follows_the_end_of_the_last_in_one_batch(store: Store) -> None:
    """Changes are written in the order of the journal, so a job moves on in one transaction."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT)
    second = attempt(2, 1, n=2)

    store.write([Change(ATTEMPT, ENDED), Change(None, second)], replace(COUNTERS, token=3))

    assert store.load().rows[-1] == second


def test_a_job_that_begins_and_ends_in_one_batch_is_as_it_ended(store: Store) -> None:
    """Submitted with a secret, placed twice and done: rows as they became, no secret, one guard at the start."""
    lost = replace(ATTEMPT, state=AttemptState.LOST, ended_ms=6_000)
    again = replace(RUNNING, token=2, n=2)
    ended = replace(again, state=AttemptState.SUCCEEDED, ended_ms=9_000, exit_code=0)
    with_secret = replace(JOB, spec=replace(JOB.spec, secrets=("key",)))
    placed = replace(with_secret, state=JobState.ACTIVE, token=1, attempts=1)
    done = replace(placed, state=JobState.DONE, token=2, attempts=2, ended_ms=9_000)
    add(store, ACCOUNT, NODE)

    store.write(
        [
            Change(None, with_secret),
            Change(None, SealedSecret(job=JOB.id, name="key", sealed=b"sealed")),
            Change(with_secret, placed),
            Change(None, ATTEMPT),
            Change(ATTEMPT, lost),
            Change(None, again),
            Change(again, ended),
            Change(placed, done),
            Change(None, replace(RESULT, token=2)),
        ],
        COUNTERS,
    )

    reader = Reader(store.path)
    assert reader.job(JOB.id) == done
    assert reader.attempts(JOB.id, limit=3) == (ended, lost)
    assert reader.secrets(JOB.id) == {}
    assert reader.result(JOB.id) == replace(RESULT, token=2)
    reader.close()


def test_a_job_has_one_result(store: Store) -> None:
    """A second outcome of the same job is refused, also under another token."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT, RESULT)

    with pytest.raises(StaleWriteError, match=r"UNIQUE constraint failed: result\.job"):
        add(store, replace(RESULT, token=2, exit_code=1))


def test_history_is_never_changed(store: Store) -> None:
    """Events and results are refused as changes before any statement is run."""
    add(store, ACCOUNT, NODE, JOB, ATTEMPT, EVENT)

    with pytest.raises(StaleWriteError, match="a Event is history"):
        store.write([Change(EVENT, replace(EVENT, actor="server"))], COUNTERS)


def test_facts_that_are_told_twice_are_kept_once(store: Store) -> None:
    """An upload or a report whose answer was lost is sent again."""
    add(store, ACCOUNT, NODE, BLOB, REPORT, NODE_FIGURE)

    add(store, replace(BLOB, created_ms=9_999), REPORT, NODE_FIGURE)

    reader = Reader(store.path)
    assert reader.blob(1, BLOB.sha256) == BLOB
    assert len(reader.reports(1)) == len(reader.figures(1, "matmul.bf16")) == 1
    reader.close()


def test_a_job_is_found_by_its_owners_key(store: Store) -> None:
    """The same key of another owner is another matter."""
    add(store, ACCOUNT, job(1, key="once"))

    found = store.job_by_key(1, "once")

    assert found is not None
    assert found.id == 1
    assert store.job_by_key(2, "once") is None
    assert store.job_by_key(1, "twice") is None


@pytest.mark.parametrize("reason", ["half a pair: \ud800", "nul is fine: \0"], ids=["surrogate", "nul"])
def test_text_that_cannot_be_stored_is_refused_and_other_text_kept(store: Store, reason: str) -> None:
    """Whatever a node tells, the store answers in its own words or keeps it exactly."""
    add(store, ACCOUNT)
    odd = replace(JOB, reason=reason)

    if "\0" in reason:
        add(store, odd)
        assert store.load().rows == (ACCOUNT, odd)
    else:
        with pytest.raises(StaleWriteError, match="cannot be stored"):
            add(store, odd)
        assert store.load().rows == (ACCOUNT,)


def test_a_number_that_is_too_large_is_refused(store: Store) -> None:
    """SQLite holds 64 bits."""
    add(store, ACCOUNT)

    with pytest.raises(StaleWriteError, match="cannot be stored"):
        add(store, replace(JOB, created_ms=1 << 64))


def test_every_opening_has_a_boot_number_of_its_own(tmp_path: Path) -> None:
    """What was signed for an earlier boot is of no use."""
    numbers = []
    for _ in range(3):
        store = open_store(tmp_path / "gridmark.db")
        numbers.append(store.boot_number)
        store.close()

    assert numbers == [1, 2, 3]


def test_a_node_of_an_earlier_version_can_be_changed(tmp_path: Path) -> None:
    """Its proof lacks what this version has added: that is what it is without, and no other writer's work."""
    path = tmp_path / "gridmark.db"
    store = open_store(path)
    store.write([Change(None, ACCOUNT), Change(None, NODE)], COUNTERS)
    store.close()
    with Database(path) as db:
        db.executescript("update node set proof = '{\"misses\": 2}'")
    store = open_store(path)
    (node,) = [row for row in store.load().rows if isinstance(row, MarketNode)]
    assert node.proof == Proof(misses=2)

    changed = replace(node, proof=replace(node.proof, misses=0))
    with pytest.raises(StaleWriteError, match="node 1"):
        store.write([Change(replace(node, proof=Proof(misses=1)), changed)], COUNTERS)
    store.write([Change(node, changed)], COUNTERS)

    assert changed in store.load().rows
    store.close()
