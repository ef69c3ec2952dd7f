"""The one thread that changes the market: commands are applied in memory, committed together, then answered.

While a commit waits for the disk the next commands gather, so the disk's pace sets the size of a batch and nobody waits
for a timer. A command that fails is undone alone; when a batch cannot be committed all of it is undone and memory is
again what the database holds.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from scheduler.book import Book
from scheduler.clock import Clock, Now
from scheduler.records import Job
from scheduler.store.errors import BusyError, DamagedError, StaleWriteError, StoreError
from scheduler.store.store import Store

#: a batch ends at this many commands, or when they took this long
BATCH_COMMANDS = 512
BATCH_MS = 5
TICK_MS = 200
#: jobs placed in one batch
PLACED_AT_ONCE = 512
#: commands waiting; more are refused, because their callers would give up before their turn
WAITING_MAX = 20_000

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
        """Place what is queued; how many were."""
        ...

    def touched(self) -> Any:
        """What changed since the last call, for those who wait."""
        ...


C = TypeVar("C", bound=Core)
T = TypeVar("T")


class _Ask(Generic[C]):
    """A command on its way: what it answered is kept until the commit made it true."""

    __slots__ = ("answer", "command", "error", "future")

    def __init__(self, command: Callable[[C, Now], Any]) -> None:
        self.command = command
        self.future: Future[Any] = Future()
        self.answer: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)


class Writer(Generic[C]):
    """Owns `core` and `store` from `start` to `close`; without a thread, `step` does one round (tests)."""

    def __init__(
        self, core: C, store: Store, clock: Clock, *, tick_ms: int = TICK_MS, on_commit: Callable[[Any], None]
    ) -> None:
        """Use a core whose book is loaded from `store`.

        Args:
            on_commit: given `core.touched()` after each round, in the writer's thread; it must not block.
        """
        self._core, self._store, self._clock = core, store, clock
        self._tick_ms, self._on_commit = tick_ms, on_commit
        self._waiting: deque[_Ask[C]] = deque()
        self._guard = threading.Lock()  # of `_waiting` and `_closed`
        self._closed: str | None = None
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gridmark-writer")
        self._round: list[_Ask[C]] = []
        self._jobs: dict[tuple[int, str], Job] = {}  # of this round, by owner and idempotency key
        self._next_tick_ms = 0
        self._to_place = True
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """Why the market is not fit to serve just now, in a sentence; None = it is."""
        return next(iter(tuple(self._problems.values())), None)

    def do(self, command: Callable[[C, Now], T]) -> Future[T]:
        """Have a command run; its answer comes once its changes are durable. Safe from any thread.

        The command may be run again from the start, when the batch it was part of could not be committed: it must do
        nothing but read and change the core. What it raises is raised to the caller, and its changes are undone.

        Returns:
            A future; it fails with StoreError when the changes could not be committed (they are undone), and with
            BusyError when too many wait.
        """
        ask = _Ask(command)
        with self._guard:
            refusal = self._refusal()
            if refusal is None:
                self._waiting.append(ask)
        if refusal is not None:
            ask.future.set_exception(refusal)
        self._wake.set()
        return ask.future

    def job_by_key(self, owner: int, key: str) -> Job | None:
        """The job submitted under a key, committed or earlier in this batch; for commands only."""
        return self._jobs.get((owner, key)) or self._store.job_by_key(owner, key)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Carry out what is waiting, refuse what comes after, and return when all is committed."""
        self._shut("the server is shutting down")
        if self._thread.ident is None:
            while self._waiting:
                self.step()
        else:
            self._thread.join()

    def step(self) -> bool:
        """One round: what is waiting, the tick when due, placing; one commit; answers. True = more is to be done now.

        Raises:
            StoreError: memory and database disagree for good; the writer must not go on.
        """
        self._round = self._apply_waiting()
        now = self._clock.now()
        ticked = now.mono_ms >= self._next_tick_ms
        more = self._own_work(now, tick=ticked)
        try:
            self._commit()
        except DamagedError as error:
            self._give_up(error)
            raise
        except StaleWriteError as error:
            more = self._one_by_one(now, error, tick=ticked)
        except StoreError as error:
            self._give_up(error)
        finally:
            self._answer()
        return more

    def _work(self) -> None:
        try:
            more = False
            while True:
                if not more:
                    self._wake.wait(self._until_tick_s())
                self._wake.clear()
                more = self.step()
                if self._closed is not None and not self._waiting:
                    return
        except BaseException as error:  # noqa: BLE001 - told to everyone who waits, who would wait for ever
            self._stop(error)

    def _until_tick_s(self) -> float:
        return max(0, self._next_tick_ms - self._clock.now().mono_ms) / 1000

    def _refusal(self) -> StoreError | None:
        if self._closed is not None:
            return StoreError(self._closed)
        if len(self._waiting) >= WAITING_MAX:
            return BusyError(f"{WAITING_MAX} commands are waiting; try again in a few seconds")
        return None

    def _apply_waiting(self) -> list[_Ask[C]]:
        applied: list[_Ask[C]] = []
        began_ms = self._clock.now().mono_ms
        while self._waiting and len(applied) < BATCH_COMMANDS:
            ask = self._waiting.popleft()
            if not ask.future.set_running_or_notify_cancel():
                continue
            applied.append(ask)
            now = self._clock.now()
            self._apply(ask, now)
            if now.mono_ms - began_ms >= BATCH_MS:
                break
        return applied

    def _apply(self, ask: _Ask[C], now: Now) -> None:
        book = self._core.book
        mark = book.mark()
        try:
            ask.answer, ask.error = ask.command(self._core, now), None
        except BaseException as error:  # noqa: BLE001 - raised to the one who asked, when the round is over
            book.undo(mark)
            ask.answer, ask.error = None, error
            return
        for change in book.pending[mark.place :]:
            if isinstance(change.after, Job):
                self._jobs[change.after.owner, change.after.idempotency_key] = change.after

    def _own_work(self, now: Now, *, tick: bool) -> bool:
        """Tick and place; True = there may be more to place."""
        if tick:
            self._next_tick_ms = now.mono_ms + self._tick_ms
            self._guarded("tick", lambda: self._core.tick(now))
            if "write" in self._problems:
                self._probe()
        if not (self._to_place or self._core.book.pending):
            return False
        placed = self._guarded("placing", lambda: self._core.dispatch(now, PLACED_AT_ONCE)) or 0
        self._to_place = placed >= PLACED_AT_ONCE
        return self._to_place

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
            self._store.write(book.pending, book.counters)
            book.committed()
            self._problems.pop("write", None)
        self._jobs.clear()

    def _one_by_one(self, now: Now, error: StaleWriteError, *, tick: bool) -> bool:
        """The database refused the batch: find the command at fault, so that the others are not refused with it.

        Raises:
            StaleWriteError: it is none of the commands: tick or placing start from what the database does not hold.
        """
        _log.error("a batch of %d commands was refused: %s", len(self._round), error)
        self._undo()
        for ask in self._round:
            self._apply(ask, now)
            try:
                self._commit()
            except DamagedError:
                raise
            except StoreError as alone:
                self._undo()
                ask.error = alone
        self._answer()
        more = self._own_work(now, tick=tick)
        try:
            self._commit()
        except (StaleWriteError, DamagedError):
            raise
        except StoreError as failed:
            self._problems["write"] = str(failed)
            self._undo()
        return more

    def _give_up(self, error: StoreError) -> None:
        """The disk is full, or the like: nothing of the batch has happened; the next may fare better."""
        _log.error("a batch of %d commands could not be committed: %s", len(self._round), error)
        self._problems["write"] = str(error)
        self._undo()
        for ask in self._round:
            ask.error = error

    def _undo(self) -> None:
        self._core.book.undo()
        self._jobs.clear()
        self._to_place = True

    def _answer(self) -> None:
        answered, self._round = self._round, []
        for ask in answered:
            ask.tell()
        touched = self._core.touched()
        try:
            self._on_commit(touched)
        except BaseException:  # noqa: BLE001 - logged; what is committed stays committed whoever fails to hear of it
            _log.exception("telling of a commit failed")

    def _shut(self, why: str) -> None:
        with self._guard:
            self._closed = self._closed or why
        self._wake.set()

    def _stop(self, error: BaseException) -> None:
        """Memory and database cannot be reconciled: nothing is served any more until the next start reads it anew."""
        why = f"the writer has stopped: {error}; start the server again"
        _log.critical("%s", why, exc_info=error)
        self._problems = {"stopped": why}
        self._shut(why)
        waiting = [ask for ask in self._waiting if ask.future.set_running_or_notify_cancel()]
        for ask in (*self._round, *waiting):
            ask.future.set_exception(StoreError(why))
        self._round = []
        self._waiting.clear()
