"""A crew of threads, one pinned to each CPU, that run a compiled kernel at the same time and time it themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

LINE_BYTES = 128  # two x86 lines, one of Apple's and POWER's: what one thread writes never shares a line with another's
RELEASED = 1 << 62  # a count no rendezvous waits beyond

#: kernel(counter, target, room, *part) -> (start_ns, end_ns); meets at `native.rendezvous` before it starts its clock
Kernel = Callable[..., tuple[int, int]]
Task = tuple[Kernel, tuple[Any, ...]]


@contextmanager
def pinned(*cpus: int) -> Iterator[bool]:
    """Keep the calling thread on these CPUs, so that what it touches first lies in their memory.

    Yields whether the kernel agreed.
    """
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError):
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


class Crew:
    """Threads that wait for work; a context manager. What a worker touches first lies in its own NUMA node.

    Waking Python threads costs tens of microseconds each. The kernels therefore meet inside compiled code before
    their clocks start, and the crew's time runs from the first start to the last end: nothing of Python is in it.
    """

    def __init__(self, cpus: Sequence[int]) -> None:
        if not cpus:
            raise ValueError("a crew needs at least one CPU")
        self.cpus = tuple(cpus)
        self.pinned = True  #: False once the kernel refused to pin a worker
        self._words = np.zeros(LINE_BYTES // 8 * (len(cpus) + 2), dtype=np.int64)
        self._base = -(-self._words.ctypes.data // LINE_BYTES) * LINE_BYTES
        self._counter = (self._base - self._words.ctypes.data) // self._words.itemsize
        self._met = 0
        self._tasks: list[SimpleQueue[Task | None]] = [SimpleQueue() for _ in cpus]
        self._results: SimpleQueue[tuple[int, int] | BaseException] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(place,), daemon=True) for place in range(len(cpus))]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, kernel: Kernel, parts: Sequence[tuple[Any, ...]]) -> float:
        """Run `kernel` once per worker on its part; seconds from the first start to the last end.

        Raises:
            ValueError: not one part per worker.
        """
        if len(parts) != len(self.cpus):
            raise ValueError(f"{len(self.cpus)} workers need as many parts, got {len(parts)}")
        self._met += len(parts)
        for place, part in enumerate(parts):
            room = self._base + LINE_BYTES * (place + 1)
            self._tasks[place].put((kernel, (self._base, self._met, room, *part)))
        found = [self._results.get() for _ in parts]
        for result in found:
            if isinstance(result, BaseException):
                self._words[self._counter] = self._met  # as if all had met, so the crew can be used again
                raise result
        times = [result for result in found if isinstance(result, tuple)]
        return (max(end for _, end in times) - min(start for start, _ in times)) * 1e-9

    def close(self) -> None:
        """Send the workers home and wait until they are gone."""
        for tasks in self._tasks:
            tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, place: int) -> None:
        try:
            os.sched_setaffinity(0, {self.cpus[place]})
        except OSError:
            self.pinned = False
        while (task := self._tasks[place].get()) is not None:
            kernel, arguments = task
            try:
                self._results.put(kernel(*arguments))
            except BaseException as error:  # noqa: BLE001 - handed to the caller of run(), who would wait for ever
                self._words[self._counter] = RELEASED  # the others would spin for ever
                self._results.put(error)
