"""The writer: together or not at all, answers only after the commit, and one bad command harms nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.book import Book, Change, Counters
from scheduler.clock import Now
from scheduler.lifecycle import JobState
from scheduler.records import Job
from scheduler.store import asks, writer
from scheduler.store.errors import BusyError, DamagedError, StaleWriteError, StoreError
from scheduler.store.reader import Reader
from scheduler.store.store import open_store
from scheduler.store.writer import Writer
from tests.scheduler.store.rows import ACCOUNT, BLOB, NODE, FakeClock, FakeCore, active, attempt, job

Command = Callable[[FakeCore, Now], Any]


class Bench:
    """A writer without a thread over a real database, with an account and a node in it."""

    def __init__(self, path: Path) -> None:
        self.store = open_store(path)
        self.store.write([Change(None, ACCOUNT), Change(None, NODE)], Counters(account=2, node=2))
        self.book = Book()
        loaded = self.store.load()
        self.book.load(loaded.rows, loaded.counters)
        self.core = FakeCore(self.book)
        self.clock = FakeClock()
        self.told: list[object] = []
        self.writer = Writer(self.core, self.store, self.clock, on_commit=self.told.append)
        self.reader = Reader(path)

    def close(self) -> None:
        """Let go of the files."""
        self.writer.close()
        self.reader.close()
        self.store.close()

    def jobs(self) -> list[int]:
        """Numbers of the jobs that are committed, oldest first."""
        return sorted(one.id for one in self.reader.jobs(None, limit=1_000))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A writer to be stepped by hand."""
    made = Bench(tmp_path / "gridmark.db")
    yield made
    made.close()


def submit(key: str) -> Command:
    """Add a job."""

    def command(core: FakeCore, now: Now) -> Job:
        added = job(core.book.number("job"), key=key)
        core.book.add(added)
        return added

    return command


def submit_blindly(core: FakeCore, now: Now) -> None:
    """Add a job under a key that is taken, which the database will refuse."""
    core.book.add(job(core.book.number("job"), key="first"))


def fail(core: FakeCore, now: Now) -> None:
    """Change something, then think better of it."""
    core.book.add(job(core.book.number("job")))
    raise LookupError("no such thing")


def full(*_: object) -> None:
    """What a full disk makes of a commit."""
    raise StoreError("writing gridmark.db: database or disk is full")


def test_a_command_is_answered_only_when_its_changes_are_on_the_disk(bench: Bench) -> None:
    """Until the round is over the caller waits; then a reader sees the job."""
    future = bench.writer.do(submit("a"))
    assert not future.done()

    bench.writer.step()

    assert future.result(0).id == 1
    assert bench.jobs() == [1]
    assert bench.told == ["touched"]


def test_commands_of_one_round_share_one_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Group commit: three commands, one transaction."""
    begun: list[str] = []
    bench.store._db.set_trace_callback(lambda sql: begun.append(sql) if sql.lower().startswith("begin") else None)
    futures = [bench.writer.do(submit(key)) for key in "abc"]

    bench.writer.step()

    assert [future.result(0).id for future in futures] == [1, 2, 3]
    assert len(begun) == 1


def test_a_command_that_raises_is_undone_alone(bench: Bench) -> None:
    """Its neighbours are committed, its number is given to the next, and its caller gets what it raised."""
    before, bad, after = bench.writer.do(submit("a")), bench.writer.do(fail), bench.writer.do(submit("b"))

    bench.writer.step()

    assert before.result(0).id == 1
    with pytest.raises(LookupError, match="no such thing"):
        bad.result(0)
    assert after.result(0).id == 2
    assert bench.jobs() == [1, 2]


def test_a_round_without_changes_writes_nothing(bench: Bench) -> None:
    """Heartbeats cost no disk access."""
    statements: list[str] = []
    bench.store._db.set_trace_callback(statements.append)
    future = bench.writer.do(lambda core, now: now.unix_ms)

    bench.writer.step()

    assert future.result(0) == 1_000_000
    assert statements == []


def test_a_commit_that_fails_undoes_all_and_fails_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is again what the database holds; the writer goes on and says why it is not fit to serve."""
    monkeypatch.setattr(bench.store, "write", full)
    futures: list[Future[Any]] = [bench.writer.do(submit(key)) for key in "ab"]
    futures.append(bench.writer.do(fail))

    assert not bench.writer.step()

    for future in futures:
        with pytest.raises(StoreError, match="disk is full"):
            future.result(0)
    assert bench.book.jobs == {}
    assert bench.book.counters == bench.store.load().counters
    assert "disk is full" in str(bench.writer.problem)


def test_a_writer_is_fit_again_with_the_next_write_that_works(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passing fault leaves no trace."""
    with monkeypatch.context() as while_full:
        while_full.setattr(bench.store, "write", full)
        bench.writer.do(submit("a"))
        bench.writer.step()

    again = bench.writer.do(submit("a"))
    bench.writer.step()

    assert again.result(0).id == 1
    assert bench.writer.problem is None


def test_a_writer_that_nobody_asks_finds_out_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer that waits for readiness would otherwise wait for ever."""
    with monkeypatch.context() as while_full:
        while_full.setattr(bench.store, "write", full)
        while_full.setattr(bench.store, "probe", full)
        bench.writer.do(submit("a"))
        bench.writer.step()
        bench.clock.ms = 200
        bench.writer.step()
        assert bench.writer.problem is not None

    bench.clock.ms = 400
    bench.writer.step()

    assert bench.writer.problem is None


def test_a_command_that_the_database_refuses_fails_alone(bench: Bench) -> None:
    """The batch is run again one by one, so that only the culprit fails, and numbers are not lost."""
    bench.writer.do(submit("first"))
    bench.writer.step()
    good, bad, other = bench.writer.do(submit("a")), bench.writer.do(submit_blindly), bench.writer.do(submit("b"))

    bench.writer.step()

    assert (good.result(0).id, other.result(0).id) == (2, 3)
    with pytest.raises(StaleWriteError, match=r"UNIQUE constraint failed: job\.owner, job\.idempotency_key"):
        bad.result(0)
    assert bench.jobs() == [1, 2, 3]
    assert bench.writer.problem is None


def test_a_key_used_twice_in_one_batch_is_noticed_before_the_commit(bench: Bench) -> None:
    """The second submit of a batch finds the job of the first, as it would find a committed one."""

    def once(core: FakeCore, now: Now) -> Job:
        return bench.writer.job_by_key(1, "same") or submit("same")(core, now)

    first, second = bench.writer.do(once), bench.writer.do(once)
    bench.writer.step()
    third = bench.writer.do(once)
    bench.writer.step()

    assert first.result(0) == second.result(0) == third.result(0)
    assert bench.jobs() == [1]


def test_a_key_of_a_job_that_ended_in_the_same_batch_gives_the_ended_job(bench: Bench) -> None:
    """The book has dropped it and the database never had it; the batch remembers."""

    def cancel(core: FakeCore, now: Now) -> None:
        core.book.change(core.book.jobs[1], state=JobState.CANCELLED)

    for command in (submit("a"), cancel):
        bench.writer.do(command)
    found = bench.writer.do(lambda core, now: bench.writer.job_by_key(1, "a"))
    bench.writer.step()

    assert found.result(0) == replace(job(1, key="a"), state=JobState.CANCELLED)


def test_a_key_of_a_command_that_was_undone_is_free(bench: Bench) -> None:
    """What never happened is not found."""

    def submit_and_fail(core: FakeCore, now: Now) -> None:
        submit("a")(core, now)
        raise LookupError("after all not")

    bench.writer.do(submit_and_fail)
    found = bench.writer.do(lambda core, now: bench.writer.job_by_key(1, "a"))
    bench.writer.step()

    assert found.result(0) is None


def test_a_key_of_a_commit_that_failed_is_free(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renter who tries again after a full disk gets a job, not the ghost of one."""
    with monkeypatch.context() as while_full:
        while_full.setattr(bench.store, "write", full)
        bench.writer.do(submit("a"))
        bench.writer.step()

    found = bench.writer.do(lambda core, now: bench.writer.job_by_key(1, "a"))
    bench.writer.step()

    assert found.result(0) is None


def test_ticks_come_every_200_ms_whatever_else_happens(bench: Bench) -> None:
    """The first round ticks; then the clock decides."""
    for ms in (0, 100, 199, 200, 399, 401, 2_000):
        bench.clock.ms = ms
        bench.writer.do(submit(str(ms)))
        bench.writer.step()

    assert bench.core.ticks == [0, 200, 401, 2_000]


def test_what_a_tick_and_the_placing_change_is_committed_with_the_round(bench: Bench) -> None:
    """A job and its attempt appear together."""
    bench.core.on_tick = lambda now: bench.book.add(BLOB)

    def place(now: Now) -> int:
        waiting = [one for one in bench.book.jobs.values() if one.state is JobState.QUEUED]
        for one in waiting:
            token = bench.book.number("token")
            bench.book.change(one, state=JobState.ACTIVE, token=token, attempts=1, reason="")
            bench.book.add(attempt(token, one.id))
        return len(waiting)

    bench.core.on_dispatch = place
    bench.writer.do(submit("a"))

    assert bench.writer.step()  # something was placed, so there may be more
    assert not bench.writer.step()

    placed = bench.reader.job(1)
    assert placed == active(job(1, key="a"), 1)
    assert bench.reader.attempts(1) == (attempt(1, 1),)
    assert bench.reader.blob(1, BLOB.sha256) == BLOB


def test_a_backlog_is_placed_round_after_round_without_waiting_for_the_tick(bench: Bench) -> None:
    """While the last round placed something there may be more; once one places nothing it is the clock's turn."""
    left = [512, 512, 100, 0]
    bench.core.on_dispatch = lambda now: left.pop(0)
    bench.writer.step()

    assert [bench.writer.step() for _ in range(4)] == [True, True, False, False]
    assert bench.core.dispatched == 4


def test_placing_is_left_out_while_nothing_changed(bench: Bench) -> None:
    """It comes with every change and every tick, because a refused job may be tried again by the clock."""
    bench.writer.step()
    bench.writer.do(lambda core, now: None)
    bench.writer.step()
    assert bench.core.dispatched == 1

    bench.writer.do(submit("a"))
    bench.writer.step()
    assert bench.core.dispatched == 2


def test_a_tick_that_fails_is_undone_and_makes_the_market_unfit(bench: Bench) -> None:
    """Commands of the round are committed all the same; the next tick that works mends it."""

    def half(now: Now) -> None:
        bench.book.add(BLOB)
        raise ZeroDivisionError("a fault of the rules")

    bench.core.on_tick = half
    good = bench.writer.do(submit("a"))
    bench.writer.step()
    assert good.result(0).id == 1
    assert bench.reader.blob(1, BLOB.sha256) is None
    assert bench.writer.problem == "the tick fails: ZeroDivisionError: a fault of the rules"

    bench.core.on_tick = lambda now: None
    bench.clock.ms = 200
    bench.writer.step()
    assert bench.writer.problem is None


def test_placing_that_the_database_refuses_stops_the_writer(bench: Bench) -> None:
    """Memory differs from the database, or the rules are broken: nothing may go on from there, and all are told."""
    bench.core.on_dispatch = lambda now: bench.book.add(attempt(7, 99)) or 1  # type: ignore[func-returns-value]
    good = bench.writer.do(submit("a"))
    bench.writer.start()

    assert good.result(5).id == 1  # it was not its fault
    with pytest.raises(StoreError, match="the writer has stopped"):
        bench.writer.do(submit("b")).result(5)
    bench.writer.close()
    assert "FOREIGN KEY" in str(bench.writer.problem)


def test_a_damaged_file_stops_the_writer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on would only make it worse."""

    def damaged(*_: object) -> None:
        raise DamagedError("writing gridmark.db: database disk image is malformed; restore a backup")

    monkeypatch.setattr(bench.store, "write", damaged)
    future = bench.writer.do(submit("a"))
    bench.writer.start()

    with pytest.raises(StoreError, match="malformed"):
        future.result(5)
    bench.writer.close()
    assert str(bench.writer.problem).startswith("the writer has stopped")


def test_an_unforeseen_error_of_the_store_answers_nobody_with_success(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not committed is never said to be."""

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of the store")

    monkeypatch.setattr(bench.store, "write", broken)
    future = bench.writer.do(submit("a"))
    bench.writer.start()

    with pytest.raises(StoreError, match="a fault of the store"):
        future.result(5)
    bench.writer.close()


def test_listeners_that_fail_change_nothing_for_the_callers(bench: Bench) -> None:
    """What is committed is answered, and the next round comes."""

    def deaf(what: object) -> None:
        raise OSError("nobody listens")

    talker = Writer(bench.core, bench.store, bench.clock, on_commit=deaf, on_written=deaf)
    first = talker.do(submit("a"))
    talker.step()
    second = talker.do(submit("b"))
    talker.step()

    assert (first.result(0).id, second.result(0).id) == (1, 2)
    assert talker.problem is None
    talker.close()


def test_each_commit_is_timed(bench: Bench) -> None:
    """One figure for a round that wrote, none for one that did not."""
    lasted_s: list[float] = []
    timed = Writer(bench.core, bench.store, bench.clock, on_commit=bench.told.append, on_written=lasted_s.append)
    for command in (submit("a"), lambda core, now: None):
        timed.do(command)
        timed.step()

    assert len(lasted_s) == 1
    assert lasted_s[0] > 0
    timed.close()


def test_a_batch_ends_after_512_commands_or_5_ms(bench: Bench) -> None:
    """A long line is taken in pieces, so that the first need not wait for the last."""

    def slow(core: FakeCore, now: Now) -> None:
        bench.clock.ms += 2

    quick = [bench.writer.do(lambda core, now: None) for _ in range(writer.BATCH_COMMANDS + 1)]
    bench.writer.step()
    assert [future.done() for future in quick].index(False) == 512
    bench.writer.step()

    slow_ones = [bench.writer.do(slow) for _ in range(6)]
    bench.writer.step()
    # begun at 0, 2, 4 and 6 ms: the fourth found that 5 ms had passed
    assert [future.done() for future in slow_ones] == [True] * 4 + [False] * 2


def test_a_caller_who_gave_up_is_not_served(bench: Bench) -> None:
    """A command that was cancelled in the line is never run."""
    gone = bench.writer.do(submit("a"))
    assert gone.cancel()

    bench.writer.step()

    with pytest.raises(CancelledError):
        gone.result(0)
    assert bench.jobs() == []


def test_too_long_a_line_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better a quick no than an answer nobody waits for any more."""
    monkeypatch.setattr(asks, "WAITING_MAX", 2)
    futures = [bench.writer.do(submit(key)) for key in "abc"]

    with pytest.raises(BusyError, match="2 commands are waiting"):
        futures[2].result(0)
    bench.writer.step()
    assert [future.result(0).id for future in futures[:2]] == [1, 2]


def test_many_threads_are_served_by_one(bench: Bench) -> None:
    """16 threads with 25 jobs each: 400 jobs, each number once, all committed before close returns."""
    bench.writer.start()
    numbers: list[int] = []

    def renter(name: int) -> None:
        numbers.extend([bench.writer.do(submit(f"{name}-{turn}")).result(30).id for turn in range(25)])

    threads = [threading.Thread(target=renter, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.writer.close()

    assert sorted(numbers) == list(range(1, 401))
    assert bench.jobs() == list(range(1, 401))


def test_a_line_longer_than_a_batch_is_worked_off_without_a_pause(bench: Bench) -> None:
    """The rest of the line is taken at once; here the next tick would never come, the clock stands still."""
    patient = Writer(bench.core, bench.store, bench.clock, tick_ms=3_600_000, on_commit=bench.told.append)
    futures = [patient.do(lambda core, now: None) for _ in range(2 * writer.BATCH_COMMANDS + 1)]

    patient.start()

    assert [future.result(5) for future in futures[-1:]] == [None]
    patient.close()


def test_close_carries_out_what_waits_and_refuses_the_rest(bench: Bench) -> None:
    """Nobody who was let in is left without an answer."""
    waiting = [bench.writer.do(submit(key)) for key in "ab"]
    bench.writer.start()

    bench.writer.close()

    assert [future.result(0).id for future in waiting] == [1, 2]
    with pytest.raises(StoreError, match="shutting down"):
        bench.writer.do(submit("c")).result(0)


def test_memory_is_what_the_database_holds_after_any_mixture(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good, failing and refused commands, with a commit lost now and then: a fresh load equals the book."""
    real = bench.store.write
    bench.writer.do(submit("first"))
    bench.writer.step()
    for turn in range(30):
        monkeypatch.setattr(bench.store, "write", full if turn % 7 == 3 else real)
        for command in (submit(f"k{turn}"), fail, submit_blindly if turn % 3 == 1 else submit(f"m{turn}")):
            bench.writer.do(command)
        bench.writer.step()
    monkeypatch.setattr(bench.store, "write", real)

    loaded = bench.store.load()
    again = Book()
    again.load(loaded.rows, loaded.counters)
    # turns 3, 10, 17, 24 are lost; of the 26 others those with turn % 3 == 1 add one job, the rest two
    lost = {3, 10, 17, 24}
    expected = 1 + sum(1 if turn % 3 == 1 else 2 for turn in range(30) if turn not in lost)
    assert len(again.jobs) == expected
    assert again.jobs == bench.book.jobs
    assert again.counters == bench.book.counters == Counters(account=2, node=2, job=expected + 1)


def test_rows_of_every_kind_may_come_with_a_command(bench: Bench) -> None:
    """A job and its sealed secrets are committed together."""

    def with_secret(core: FakeCore, now: Now) -> None:
        core.book.add(replace(job(1, secrets=("TOKEN",))))
        core.book.add(bench.store.sealer.seal(1, "TOKEN", "s3cret"))

    bench.writer.do(with_secret)
    bench.writer.step()

    assert set(bench.reader.secrets(1)) == {"TOKEN"}
