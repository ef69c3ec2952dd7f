"""An event loop whose time passes only when everybody waits, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

#: that passes at once: what is less than the last digit of a time would not pass at all
LEAST_S = 1e-6
T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sockets work as ever; what is handed to a thread is done here, before anything else goes on."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        super().__init__(_Impatient(self._pass))

    def time(self) -> float:
        """Seconds that everybody has waited so far."""
        return self._passed_s

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """See asyncio; a thread would live in another time."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits it
            done.set_exception(error)
        return done

    def _pass(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("everybody waits, and for nothing that will come")
        self._passed_s += max(seconds, LEAST_S)


class _Impatient(selectors.DefaultSelector):
    """Looks, and instead of waiting has time passed."""

    def __init__(self, waited: Callable[[float | None], None]) -> None:
        super().__init__()
        self._waited = waited

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See selectors."""
        ready = super().select(0)
        if not ready and timeout != 0:
            self._waited(timeout)
        return ready


def run(story: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """A story in a time of its own, to its end and that of everything it began."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(story(loop))
