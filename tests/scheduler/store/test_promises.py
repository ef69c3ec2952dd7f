"""Who gives way for whom, and what was saved when, through the file and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlite_utils import Database

from scheduler.book import Book
from scheduler.control import Control
from scheduler.lifecycle import AttemptState, JobState
from scheduler.records import Job, Resources
from scheduler.store.check import check
from scheduler.store.store import Store, open_store
from tests.scheduler.market_floor import FirstFit, Floor

ONE, WHOLE = Resources(gpus=1), Resources(gpus=2)


class KeptFloor(Floor):
    """A market whose changes are written down, and which begins anew from them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: Store | None = None
        super().__init__(nodes=1)

    def commit(self) -> None:
        self.store = self.store or open_store(self.path)
        self.control.dispatch(self.now)
        self.store.write(self.book.pending, self.book.counters)
        super().commit()

    def restart(self) -> None:
        assert self.store
        self.store.close()
        self.store = open_store(self.path)
        loaded = self.store.load()
        self.book = Book()
        self.book.load(loaded.rows, loaded.counters)
        self.placer = FirstFit(self.book)
        self.control = Control(self.book, self.placer, random=lambda: self.random, settings=self.settings)


def spot(floor: Floor) -> Job:
    return floor.running(resources=ONE, preemptible=True)


def test_promises_and_checkpoints_are_read_back_from_the_file(tmp_path: Path) -> None:
    """A job gives way, the one that saved itself; a small one waits for neither, and the promise is kept."""
    floor = KeptFloor(tmp_path / "gridmark.db")
    saved, other = spot(floor), spot(floor)
    floor.tick(5_000)
    floor.says(other, "running")
    floor.control.save_checkpoint(floor.attempt(saved).token, "c" * 64, floor.now)
    floor.commit()
    floor.restart()
    urgent = floor.submit("urgent", resources=ONE)
    assert [floor.attempt(job).state for job in (saved, other)] == [AttemptState.STOPPING, AttemptState.RUNNING]
    floor.restart()
    floor.says(other, "exited", 0)
    late = floor.submit("late", resources=ONE)
    assert floor.job(late).reason == "node 1 makes room for another job"
    floor.says(saved, "exited", 143)

    assert floor.job(urgent).state is JobState.ACTIVE
    assert floor.store
    floor.store.close()
    assert check(floor.path) == []


def test_a_database_of_before_is_given_the_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in it gives way for anybody, and no checkpoint has a time."""
    path = tmp_path / "gridmark.db"
    floor = KeptFloor(path)
    spot(floor)
    floor.restart()
    assert floor.store
    floor.store.close()
    with Database(path) as db:
        db.executescript(
            "alter table attempt drop column yields_to; alter table job drop column checkpoint_ms;"
            "delete from _sqlite_migrations where name = 'm004_giving_way'"
        )

    floor.store = open_store(path)
    floor.restart()

    assert [one.yields_to for one in floor.book.attempts.values()] == [None]
    assert [job.checkpoint_ms for job in floor.book.jobs.values()] == [None]
    floor.store.close()
