"""Commands on their way to the writer: who asked, and the line they wait in."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from scheduler.clock import Now
from scheduler.store.errors import BusyError, StoreError

#: commands waiting; more are refused, because their callers would give up before their turn
WAITING_MAX = 20_000

C = TypeVar("C")


class Ask(Generic[C]):
    """A command; what it answered is kept until the commit has made it true."""

    __slots__ = ("answer", "command", "error", "future")

    def __init__(self, command: Callable[[C, Now], Any]) -> None:
        self.command = command
        self.future: Future[Any] = Future()
        self.answer: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        """Answer whoever asked."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)


class Waiting(Generic[C]):
    """The line: anybody adds, the writer takes."""

    def __init__(self) -> None:
        self._asks: deque[Ask[C]] = deque()
        self._guard = threading.Lock()
        self._something = threading.Event()
        self._closed: str | None = None

    def add(self, ask: Ask[C]) -> None:
        """Let a command wait; one that cannot is answered at once."""
        with self._guard:
            refusal = self._refusal()
            if refusal is None:
                self._asks.append(ask)
        if refusal is not None:
            ask.future.set_exception(refusal)
        self._something.set()

    def take(self) -> Ask[C] | None:
        """The first one whose caller still wants it; None = nobody waits."""
        while self._asks:
            ask = self._asks.popleft()
            if ask.future.set_running_or_notify_cancel():
                return ask
        return None

    def wait(self, longest_s: float) -> None:
        """Return when a command waits, when the line was closed, or after `longest_s`."""
        if not self._asks:
            self._something.wait(longest_s)
        self._something.clear()

    def close(self, why: str) -> None:
        """Refuse what comes from now on; those in the line stay."""
        with self._guard:
            self._closed = self._closed or why
        self._something.set()

    @property
    def is_over(self) -> bool:
        """Whether nobody waits and nobody will."""
        return self._closed is not None and not self._asks

    def _refusal(self) -> StoreError | None:
        if self._closed is not None:
            return StoreError(self._closed)
        if len(self._asks) >= WAITING_MAX:
            return BusyError(f"{WAITING_MAX} commands are waiting; try again in a few seconds")
        return None
