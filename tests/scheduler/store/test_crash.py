"""The process or the power goes, at any moment: what was answered is there, and nothing is there by half."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.store.check import check
from scheduler.store.errors import StoreError
from scheduler.store.store import open_store
from tests.scheduler.store.story import ROUNDS, WITH_SECRETS, dump, run

NAME = "gridmark.db"
CRASHED, FAULT = 17, 99
FULL = r"database or disk is full|disk I/O error"
State = dict[str, list[tuple[object, ...]]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: what the kernel holds outlives a process, and many starts take long."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


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


class Tracing:
    """While it lasts, `called` is told the number of each SQL statement of a new connection as it begins."""

    def __init__(self, called: Callable[[int], None]) -> None:
        self.count = 0
        self._called = called
        self._real = sqlite3.connect

    def __enter__(self) -> Tracing:
        sqlite3.connect = self._connect  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        sqlite3.connect = self._real

    def _connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = self._real(*args, **kwargs)
        db.set_trace_callback(self._begun)
        return db

    def _begun(self, sql: str) -> None:
        self.count += 1
        self._called(self.count)


def die_at(statement: int) -> Callable[[int], None]:
    """End this process when the statement of that number begins."""
    return lambda number: os._exit(CRASHED) if number == statement else None


def left_behind(path: Path, target: Path) -> None:
    """Copy what another process would find if this one died now: all but the shared memory, which is made anew."""
    target.mkdir()
    for suffix in ("", "-wal", ".key", ".evidence-key"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            shutil.copy(part, target / part.name)


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
    assert [row[8] for row in last["challenge"]] == [5]
    assert columns["evidence"] == 1
    assert any(row[2] == "node.offline" for row in last["event"])
    assert states[WITH_SECRETS]["secret"] != last["secret"] == []
    assert len({str(state) for state in states}) > 10


def test_a_crash_at_any_statement_leaves_whole_rounds_and_all_that_were_answered(
    folder: Path, states: list[State]
) -> None:
    """Every statement of a start and of each round: the database is as after a round, never between."""
    path = folder / NAME
    open_store(path).close()
    told: list[int] = []

    def keep(statement: int) -> None:
        left_behind(path, folder / str(statement))
        told.append(answered)

    answered = 0
    with Tracing(keep):
        store = open_store(path)
        for _ in run(store):
            answered += 1
        store.close()

    assert len(told) > 150
    seen = set()
    for statement, at in enumerate(told, 1):
        found = states.index(reopened(folder / str(statement) / NAME), at)
        assert found <= _next_change(states, at)
        seen.add(found)
    assert {str(states[n]) for n in seen} == {str(state) for state in states[:-1]}  # no statement comes after the last


def _next_change(states: list[State], at: int) -> int:
    """The first round after `at` that changed anything."""
    return next((n for n in range(at, len(states)) if states[n] != states[at]), at)


def test_a_process_that_dies_loses_nothing_that_it_answered(folder: Path, states: list[State]) -> None:
    """As above, with a real death at every twelfth statement."""
    path, answered = folder / NAME, folder / "answered"
    open_store(path).close()
    fresh = path.read_bytes()
    for statement in range(1, 10_000, 12):
        path.write_bytes(fresh)

        def work(statement: int = statement) -> None:
            with answered.open("wb", buffering=0) as file, Tracing(die_at(statement)):
                for _ in run(open_store(path)):
                    file.write(b".")

        status = in_child(work)
        told = answered.stat().st_size
        assert told <= states.index(reopened(path), told) <= _next_change(states, told)
        if status == 0:
            break
        assert status == CRASHED

    assert told == len(ROUNDS)
    assert statement > 150


def test_a_crash_while_the_database_is_made_leaves_one_that_opens(folder: Path, states: list[State]) -> None:
    """Tables, triggers, key and counters: the next start finishes what the first began."""
    path = folder / "first" / NAME
    path.parent.mkdir()
    with Tracing(lambda statement: left_behind(path, folder / str(statement))) as tracing:
        open_store(path).close()

    assert tracing.count > 40
    for statement in range(1, tracing.count + 1):
        assert reopened(folder / str(statement) / NAME) == states[0]


def test_a_power_cut_that_tears_the_log_leaves_whole_rounds(folder: Path, states: list[State]) -> None:
    """The log ends anywhere, or in rubbish: what is there is what was there after some round."""
    path = folder / NAME
    open_store(path).close()
    store = open_store(path)
    told = list(run(store))
    whole, log = path.read_bytes(), path.with_name(f"{NAME}-wal").read_bytes()
    key = path.with_name(f"{NAME}.key").read_bytes()
    store.close()
    assert len(told) == len(ROUNDS)

    torn = folder / "torn"
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
        for _ in range(WITH_SECRETS):
            next(story)
        size = path.with_name(f"{NAME}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        loaded = store.load()
        with pytest.raises(AssertionError, match=FULL):
            next(story)  # the writer says that it is not fit to serve
        assert store.load() == loaded
        assert dump(path) == states[WITH_SECRETS]
        with pytest.raises(StoreError, match=FULL):
            store.probe()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.probe()

    assert in_child(work) == 0
    assert reopened(path) == states[WITH_SECRETS]
