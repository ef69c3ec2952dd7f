"""The one thread that changes the market: commands are applied in memory, committed together, then answered.

While a commit waits for the disk the next commands gather, so the disk's pace sets the size of a batch and nobody waits
for a timer. A command that fails is undone alone; when a batch cannot be committed all of it is undone and memory is
again what the database holds.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from scheduler.book import Book
from scheduler.clock import Clock, Now
from scheduler.records import Job
from scheduler.store.asks import Ask, Waiting
from scheduler.store.errors import DamagedError, StaleWriteError, StoreError
from scheduler.store.store import Store

#: a batch ends at this many commands, or when applying them took this long
BATCH_COMMANDS = 512
BATCH_MS = 5
TICK_MS = 200
#: jobs tried in one batch
PLACED_AT_ONCE = 512

_log = logging.getLogger(__name__)


class Core(Protocol):
    """The rules: scheduler/control.py."""

    @property
    def book(self) -> Book:
        """The rows it changes."""
        ...

    def tick(self, now: Now) -> None:
        """What time alone brings about."""
        ...

    def dispatch(self, now: Now, limit: int = ...) -> int:
        """Place what is queued, at most `limit` tries; how many were placed."""
        ...

    def touched(self) -> Any:
        """What changed since the last call, for those who wait."""
        ...


C = TypeVar("C", bound=Core)
T = TypeVar("T")


class Writer(Generic[C]):
    """Owns `core` and `store` from `start` to `close`; without a thread, `step` does one round (tests)."""

    def __init__(
        self,
        core: C,
        store: Store,
        clock: Clock,
        *,
        tick_ms: int = TICK_MS,
        on_commit: Callable[[Any], None],
        on_written: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Use a core whose book is loaded from `store`.

        Args:
            on_commit: given `core.touched()` after each round, in the writer's thread; it must not block.
            on_written: given the seconds that each commit took, likewise.
        """
        self._core, self._store, self._clock = core, store, clock
        self._tick_ms, self._on_commit, self._on_written = tick_ms, on_commit, on_written
        self._waiting: Waiting[C] = Waiting()
        self._round: deque[Ask[C]] = deque()  # applied, not answered yet
        self._jobs: dict[tuple[int, str], Job] = {}  # of this round, by owner and idempotency key
        self._next_tick_ms = 0
        self._has_more = False  #: the last placing stopped at its limit, not at the end of the line
        self._problems: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="gridmark-writer")

    @property
    def problem(self) -> str | None:
        """Why the market is not fit to serve just now, in a sentence; None = it is."""
        return next(iter(tuple(self._problems.values())), None)

    def do(self, command: Callable[[C, Now], T]) -> Future[T]:
        """Have a command run; its answer comes once its changes are durable. Safe from any thread.

        What the command raises is raised to its caller, and its changes are undone. It may be run again from the start,
        when the batch it was part of was refused: it must do nothing but read and change the core.

        Returns:
            A future; it fails with StoreError when the changes could not be committed (they are undone then), and with
            BusyError when too many wait.
        """
        ask: Ask[C] = Ask(command)
        self._waiting.add(ask)
        return ask.future

    def job_by_key(self, owner: int, key: str) -> Job | None:
        """The job submitted under a key, committed or earlier in this batch; for commands only."""
        return self._jobs.get((owner, key)) or self._store.job_by_key(owner, key)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Carry out what is waiting, refuse what comes after, and return when all is committed."""
        self._waiting.close("the server is shutting down")
        if self._thread.ident is not None:
            self._thread.join()
        while not self._waiting.is_over:
            self.step()

    def step(self) -> bool:
        """One round: what is waiting, the tick when due, placing; one commit; answers. True = more is to be done now.

        Raises:
            StoreError: the file is damaged, or the rules start from what it does not hold; the writer must not go on.
        """
        self._apply_waiting()
        os.sched_yield()  # a round takes milliseconds: whoever waits for this core to answer a reader goes first
        now = self._clock.now()
        ticks = now.mono_ms >= self._next_tick_ms
        more = self._own_work(now, ticks=ticks)
        try:
            self._commit()
        except StaleWriteError as error:
            more = self._one_by_one(now, error, ticks=ticks)
        except StoreError as error:
            more = False  # the next round may fare better, but not at once
            self._give_up(error)
            if isinstance(error, DamagedError):
                raise
        self._answer()
        return more

    def _work(self) -> None:
        more = False
        try:
            while not self._waiting.is_over:
                if not more:
                    self._waiting.wait(max(0, self._next_tick_ms - self._clock.now().mono_ms) / 1000)
                more = self.step()
        except BaseException as error:  # noqa: BLE001 - told to everyone who waits, who would wait for ever
            self._stop(error)

    def _apply_waiting(self) -> None:
        began_ms = self._clock.now().mono_ms
        while len(self._round) < BATCH_COMMANDS and (ask := self._waiting.take()) is not None:
            self._round.append(ask)
            now = self._clock.now()
            self._apply(ask, now)
            if now.mono_ms - began_ms >= BATCH_MS:
                break

    def _apply(self, ask: Ask[C], now: Now) -> None:
        book = self._core.book
        mark = book.mark()
        try:
            ask.answer, ask.error = ask.command(self._core, now), None
        except BaseException as error:  # noqa: BLE001 - raised to the one who asked, when the round is over
            book.undo(mark)
            ask.answer, ask.error = None, error
            return
        for change in book.since(mark):
            if isinstance(change.after, Job):
                self._jobs[change.after.owner, change.after.idempotency_key] = change.after

    def _own_work(self, now: Now, *, ticks: bool) -> bool:
        """Tick and place. Returns whether there may be more to place."""
        if ticks:
            self._next_tick_ms = now.mono_ms + self._tick_ms
            self._guarded("the tick", lambda: self._core.tick(now))
            if "write" in self._problems:
                self._probe()
            self._guarded("copying the log back", lambda: self._store.shorten_log(now.mono_ms))
        if not ticks and not self._core.book.pending and not self._has_more:
            return False
        self._has_more = bool(self._guarded("placing", lambda: self._core.dispatch(now, PLACED_AT_ONCE)))
        return self._has_more

    def _guarded(self, what: str, work: Callable[[], T]) -> T | None:
        mark = self._core.book.mark()
        try:
            done = work()
        except BaseException as error:  # noqa: BLE001 - logged and shown as not ready; the next round tries again
            self._core.book.undo(mark)
            self._problems[what] = f"{what} fails: {type(error).__name__}: {error}"
            _log.exception("%s failed", what)
            return None
        self._problems.pop(what, None)
        return done

    def _probe(self) -> None:
        """See whether the disk takes a write again, so that a server nobody writes to gets ready by itself."""
        try:
            self._store.probe()
        except StoreError as error:
            self._problems["write"] = str(error)
        else:
            self._problems.pop("write", None)

    def _commit(self) -> None:
        book = self._core.book
        if book.pending or book.counters_changed:
            began_s = time.perf_counter()
            self._store.write(book.pending, book.counters)
            book.committed()
            self._problems.pop("write", None)
            _tell(self._on_written, time.perf_counter() - began_s)
        self._jobs.clear()

    def _one_by_one(self, now: Now, error: StaleWriteError, *, ticks: bool) -> bool:
        """The database refused the batch: find the command at fault, so that the others are not refused with it.

        Raises:
            StaleWriteError: it is none of the commands: tick or placing start from what the database does not hold.
        """
        _log.error("a batch of %d commands was refused: %s", len(self._round), error)
        self._undo()
        while self._round:
            ask = self._round[0]
            self._apply(ask, now)
            try:
                self._commit()
            except StoreError as alone:
                self._undo()
                ask.error = alone
                if not isinstance(alone, StaleWriteError):
                    self._problems["write"] = str(alone)
            self._round.popleft().tell()
        more = self._own_work(now, ticks=ticks)
        try:
            self._commit()
        except StaleWriteError:
            self._undo()
            raise
        except StoreError as failed:
            self._give_up(failed)
            return False
        return more

    def _give_up(self, error: StoreError) -> None:
        """The disk is full, or the like: nothing of the batch has happened."""
        _log.error("a batch of %d commands could not be committed: %s", len(self._round), error)
        self._problems["write"] = str(error)
        self._undo()
        for ask in self._round:
            ask.error = error

    def _undo(self) -> None:
        self._core.book.undo()
        self._jobs.clear()

    def _answer(self) -> None:
        while self._round:
            self._round.popleft().tell()
        _tell(self._on_commit, self._core.touched())

    def _stop(self, error: BaseException) -> None:
        """Memory and database cannot be reconciled: nothing is served any more until the next start reads it anew."""
        why = f"the writer has stopped: {error}; start the server again"
        _log.critical("%s", why, exc_info=error)
        self._problems = {"stopped": why}
        self._waiting.close(why)
        while (ask := self._waiting.take()) is not None:
            self._round.append(ask)
        while self._round:
            self._round.popleft().future.set_exception(StoreError(why))


def _tell(listener: Callable[[Any], None], what: object) -> None:
    """What is committed stays committed, whoever fails to hear of it."""
    try:
        listener(what)
    except BaseException:  # noqa: BLE001 - logged; the callers of the commands have to be answered
        _log.exception("a listener failed")
