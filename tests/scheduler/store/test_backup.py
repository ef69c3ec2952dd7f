"""Backups: one moment of a busy market, and a restored one that repeats no number."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.book import Change, Counters
from scheduler.lifecycle import AttemptState
from scheduler.records import Attempt, Job
from scheduler.store.backup import SKIPPED_NUMBERS, backup
from scheduler.store.check import check
from scheduler.store.errors import StoreError
from scheduler.store.store import open_store
from tests.scheduler.store.rows import ACCOUNT, COUNTERS, EVENT, JOB, active, attempt, job
from tests.scheduler.store.rows import NODE as PROVED_NODE

NODE = replace(PROVED_NODE, proof=replace(PROVED_NODE.proof, figures={}))  # there is no evidence here


def test_a_restored_market_repeats_no_number(tmp_path: Path) -> None:
    """Tokens, epochs and boots of the lost server's last hours are never met again."""
    store = open_store(tmp_path / "gridmark.db")
    store.write([Change(None, row) for row in (ACCOUNT, NODE, active(JOB, 1), attempt(1, 1), EVENT)], COUNTERS)

    backup(store.path, tmp_path / "copy.db")

    restored = open_store(tmp_path / "copy.db")
    loaded = restored.load()
    ahead = SKIPPED_NUMBERS + 2
    assert loaded.counters == Counters(node=ahead, job=ahead, token=ahead, event=ahead, account=ahead)
    assert loaded.rows == (ACCOUNT, replace(NODE, epoch=NODE.epoch + SKIPPED_NUMBERS), active(JOB, 1), attempt(1, 1))
    assert restored.boot_number == store.boot_number + SKIPPED_NUMBERS + 1
    restored.close()
    assert check(tmp_path / "copy.db") == []
    assert store.load().counters == COUNTERS  # the original goes on as it was
    store.close()


def test_a_backup_of_a_backup_goes_further_ahead(tmp_path: Path) -> None:
    """Restored twice: still no number twice."""
    store = open_store(tmp_path / "0.db")
    store.close()
    for generation in (1, 2):
        backup(tmp_path / f"{generation - 1}.db", tmp_path / f"{generation}.db")

    twice = open_store(tmp_path / "2.db")
    assert twice.load().counters.token == 2 * SKIPPED_NUMBERS + 1
    twice.close()


def test_copies_taken_while_the_market_works_are_sound(tmp_path: Path) -> None:
    """Each of them shows one moment: as many attempts as jobs count, whatever was being committed."""
    store = open_store(tmp_path / "gridmark.db")
    store.write([Change(None, ACCOUNT), Change(None, NODE)], COUNTERS)
    done = threading.Event()
    copied: list[Path] = []

    def copy() -> None:
        while not done.is_set() and len(copied) < 8:
            copied.append(tmp_path / f"copy{len(copied)}.db")
            backup(store.path, copied[-1])

    thread = threading.Thread(target=copy)
    thread.start()
    counters, last = COUNTERS, None
    for n in range(2, 200):
        last, changes = _next(n, last)
        counters = replace(counters, job=n + 1, token=n + 1)
        store.write(changes, counters)
        if len(copied) >= 8:
            break
    done.set()
    thread.join()
    store.close()

    assert len(copied) >= 2
    assert [check(path) for path in copied] == [[]] * len(copied)


def _next(n: int, last: tuple[Job, Attempt] | None) -> tuple[tuple[Job, Attempt], list[Change]]:
    """One more job with its attempt; the attempt before is lost, its job waits again."""
    changes = [Change(None, active(job(n), n)), Change(None, attempt(n, n))]
    if last is not None:
        before, tried = last
        changes += [
            Change(tried, replace(tried, state=AttemptState.LOST)),
            Change(before, replace(before, state=JOB.state)),
        ]
    return (active(job(n), n), attempt(n, n)), changes


def test_a_backup_is_for_its_owner_and_of_one_file(tmp_path: Path) -> None:
    """No log beside it, no key in it, nothing half written left."""
    store = open_store(tmp_path / "gridmark.db")
    folder = tmp_path / "backups"
    folder.mkdir()

    size_bytes = backup(store.path, folder / "copy.db")
    store.close()

    assert [path.name for path in folder.iterdir()] == ["copy.db"]
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
    assert size_bytes == (folder / "copy.db").stat().st_size


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """Yesterday's backup stays."""
    store = open_store(tmp_path / "gridmark.db")
    target = tmp_path / "copy.db"
    target.write_text("precious")

    with pytest.raises(StoreError, match="exists already"):
        backup(store.path, target)
    store.close()

    assert target.read_text() == "precious"


@pytest.mark.parametrize("target", ["nowhere/copy.db", "gridmark.db.key/copy.db"])
def test_a_target_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path, target: str) -> None:
    """No such folder, or no folder at all."""
    store = open_store(tmp_path / "gridmark.db")

    with pytest.raises(StoreError, match=r"copy\.db"):
        backup(store.path, tmp_path / target)
    store.close()


def test_there_has_to_be_something_to_copy(tmp_path: Path) -> None:
    """And nothing is left where the copy should have been."""
    with pytest.raises(StoreError, match="unable to open database file"):
        backup(tmp_path / "gridmark.db", tmp_path / "copy.db")

    assert list(tmp_path.iterdir()) == []
