"""The process or the power goes, at any moment: what was answered is there, and nothing is there by half."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.store.check import check
from scheduler.store.errors import StoreError
from scheduler.store.store import open_store
from tests.scheduler.store.story import ROUNDS, dump, run

NAME = "gridmark.db"
CRASHED, FAULT = 17, 99
FULL = r"database or disk is full|disk I/O error"
State = dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[State]:
    """What the database holds before the first round and after each, when nothing goes wrong."""
    path = tmp_path_factory.mktemp("whole") / NAME
    store = open_store(path)
    found = [dump(path)]
    found += [dump(path) for _ in run(store)]
    store.close()
    return found


def in_child(work: Callable[[], None]) -> int:
    """Exit status of a forked process that does `work`; FAULT if that raises."""
    child = os.fork()
    if child == 0:
        status = FAULT
        try:
            work()
            status = 0
        finally:
            if status == FAULT:
                sys.excepthook(*sys.exc_info())
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash_at(statement: int) -> None:
    """From now on this process dies as its `statement`th SQL statement begins, counted from 1."""
    real = sqlite3.connect
    begun = 0

    def count(sql: str) -> None:
        nonlocal begun
        begun += 1
        if begun == statement:
            os._exit(CRASHED)

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = real(*args, **kwargs)
        db.set_trace_callback(count)
        return db

    sqlite3.connect = connect  # type: ignore[assignment]


def live(path: Path, answered: Path) -> None:
    """Open the database and tell the story, writing a byte for each round that was answered."""
    file = os.open(answered, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in run(open_store(path)):
        os.write(file, b".")


def reopened(path: Path) -> State:
    """What there is after the next start; the database has to be sound, and the market to load."""
    store = open_store(path)
    store.load()
    store.close()
    assert check(path) == []
    return dump(path)


def test_the_story_goes_through_all_that_can_happen(states: list[State]) -> None:
    """Otherwise the tests below would prove little: several ends, results, lost attempts, a node that goes offline."""
    last = states[-1]
    columns = {table: len(rows) for table, rows in last.items()}

    job_states = {row[6] for row in last["job"]}
    attempt_states = {row[5] for row in last["attempt"]}
    assert columns["account"] == 2
    assert {10, 12} <= job_states
    assert {10, 12} <= attempt_states
    assert columns["result"] >= 1
    assert any(row[2] == "node.offline" for row in last["event"])
    assert states[4]["secret"] != last["secret"] == []
    assert len({str(state) for state in states}) > 10


def test_a_crash_at_any_statement_leaves_whole_rounds_and_all_that_were_answered(
    tmp_path: Path, states: list[State]
) -> None:
    """Every statement of a start and of each round in turn; then the database is as after a round, never between."""
    fresh = tmp_path / "fresh.db"
    open_store(fresh).close()
    path, answered = tmp_path / NAME, tmp_path / "answered"
    seen = set()
    for statement in range(1, 10_000):
        for left in tmp_path.glob(f"{NAME}*"):
            left.unlink()
        shutil.copy(fresh, path)

        def work(statement: int = statement) -> None:
            crash_at(statement)
            live(path, answered)

        answered.write_bytes(b"")
        status = in_child(work)
        told = answered.stat().st_size
        found = states.index(reopened(path), told)
        seen.add(found)
        assert told <= found <= told + _silent_rounds(states, told) + 1
        if status == 0:
            break
        assert status == CRASHED

    assert told == len(ROUNDS)
    assert statement > 150
    assert len(seen) > 10


def _silent_rounds(states: list[State], at: int) -> int:
    """Rounds that changed nothing look alike; how many follow."""
    count = 0
    while at + count + 1 < len(states) and states[at + count + 1] == states[at]:
        count += 1
    return count


def test_a_crash_while_the_database_is_made_leaves_one_that_opens(tmp_path: Path, states: list[State]) -> None:
    """Tables, triggers, key and counters: the next start finishes what the first began."""
    path = tmp_path / NAME
    for statement in range(1, 10_000):
        for left in tmp_path.glob(f"{NAME}*"):
            left.unlink()

        def work(statement: int = statement) -> None:
            crash_at(statement)
            open_store(path)

        status = in_child(work)
        assert reopened(path) == states[0]
        if status == 0:
            break
        assert status == CRASHED

    assert statement > 40


def test_a_power_cut_that_tears_the_log_leaves_whole_rounds(tmp_path: Path, states: list[State]) -> None:
    """The log ends anywhere, or in rubbish: what is there is what was there after some round."""
    path = tmp_path / NAME
    open_store(path).close()
    store = open_store(path)
    told = list(run(store))
    whole, log = path.read_bytes(), path.with_name(f"{NAME}-wal").read_bytes()
    key = path.with_name(f"{NAME}.key").read_bytes()
    store.close()
    assert len(told) == len(ROUNDS)

    torn = tmp_path / "torn"
    before = 0
    frame = 24 + 4096
    cuts = [32 + n * frame + part for n in range(0, (len(log) - 32) // frame, 3) for part in (0, 1_000)]
    for cut in (*cuts, len(log)):
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir()
        (torn / NAME).write_bytes(whole)
        (torn / f"{NAME}.key").write_bytes(key)
        (torn / f"{NAME}.key").chmod(0o600)
        rubbish = bytes(255 - byte for byte in log[cut : cut + 500])
        (torn / f"{NAME}-wal").write_bytes(log[:cut] + rubbish)

        found = states.index(reopened(torn / NAME), before)
        before = found

    assert states[before] == states[-1]


def test_a_full_disk_loses_nothing_that_was_answered(tmp_path: Path, states: list[State]) -> None:
    """Files may not grow: a round fails and is undone, the writer says so, and once there is room it can write."""
    path = tmp_path / NAME
    open_store(path).close()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = open_store(path)
        story = run(store)
        for _ in range(4):
            next(story)
        size = path.with_name(f"{NAME}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        loaded = store.load()
        with pytest.raises(AssertionError, match=FULL):
            next(story)  # the writer says that it is not fit to serve
        assert store.load() == loaded
        assert dump(path) == states[4]
        with pytest.raises(StoreError, match=FULL):
            store.probe()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.probe()

    assert in_child(work) == 0
    assert reopened(path) == states[4]
