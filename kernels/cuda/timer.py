"""Times calls by CUDA events, with the cost of launching kept out and the host's clock as a witness."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from kernels.cuda.library import Gpu
from kernels.spec import BenchError
from kernels.timing import Timer

#: calls queued behind one block; the driver holds about a thousand launches, and a call may be several
QUEUED_CALLS = 128
#: how far events and host may differ: reading the host's clock and waking its thread take tens of microseconds
WITNESS_PART, WITNESS_S = 0.01, 100e-6
ATTEMPTS = 3
CLOCK_CYCLES = 4_000_000  #: two milliseconds or so, some thousand times what events resolve


class Driver(Protocol):
    """The few things a timer needs of a stream; scripted in tests, cupy on a GPU."""

    def now(self) -> float:
        """Seconds of the host's monotonic clock."""
        ...

    def block(self) -> None:
        """Hold the stream: what is queued from now on does not begin until `release`, or until the hold gives up."""
        ...

    def release(self) -> None:
        """Let the stream go on."""
        ...

    def gave_up(self) -> bool:
        """Whether the last hold ended by itself, before `release`; asked when the stream is idle."""
        ...

    def mark(self) -> Any:
        """An event at this place of the stream."""
        ...

    def wait(self, event: Any) -> None:
        """Return when the stream has passed `event`."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two events that were passed."""
        ...

    def synchronize(self) -> None:
        """Return when the device has nothing left to do."""
        ...


class EventTimer:
    """Implements kernels.timing.Timer for work that is queued on a GPU.

    The stream is held until a batch is queued, so the events around it see the device's time and not the pace at
    which Python launches. The host's clock runs from the release of the stream until the end of the batch; where the
    two disagree the time is not believed: the batch is repeated, and after the third time it is an error (a clock
    that was tampered with, or a device shared with others).
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._known: weakref.WeakSet[Callable[[], object]] = weakref.WeakSet()
        self.disagreements = 0  #: batches that were repeated

    def now(self) -> float:
        """Seconds of the host's monotonic clock."""
        return self._driver.now()

    def time(self, call: Callable[[], object], calls: int) -> float:
        """Seconds that the device took for `calls` calls in a row.

        Raises:
            BenchError: a call waits for the device, or events and host's clock disagree.
        """
        if call not in self._known:
            # a kernel's first launch loads it, which may wait for the stream that we are about to hold
            call()
            self._driver.synchronize()
            self._known.add(call)
        seconds, left = 0.0, calls
        while left > 0:
            batch = min(left, QUEUED_CALLS)
            seconds += self._believed(call, batch)
            left -= batch
        return seconds

    def told(self, clock: Callable[[int], float], calls: int) -> float:
        """Seconds that `clock` says its `calls` calls took."""
        return clock(calls)

    def _believed(self, call: Callable[[], object], calls: int) -> float:
        for attempt in range(ATTEMPTS):
            device_s, host_s = self._batch(call, calls)
            if abs(device_s - host_s) <= max(WITNESS_PART * host_s, WITNESS_S):
                return device_s
            self.disagreements += 1
            if attempt == ATTEMPTS - 1:
                break
        raise BenchError(
            f"the device's events say {device_s:.6f} s for {calls} calls, the host's clock {host_s:.6f} s; a clock was "
            "tampered with, or others use the device or this CPU; end them and repeat"
        )

    def _batch(self, call: Callable[[], object], calls: int) -> tuple[float, float]:
        """One batch behind one hold: seconds by the events, and by the host from the release on."""
        driver = self._driver
        driver.synchronize()
        driver.block()
        try:
            start = driver.mark()
            for _ in range(calls):
                call()
            end = driver.mark()
        finally:
            released_s = driver.now()
            driver.release()
        driver.wait(end)
        host_s = driver.now() - released_s
        if driver.gave_up():
            raise BenchError(
                f"the stream was held for too long while {calls} calls were queued: a call waits for the device; it "
                "needs a clock of its own"
            )
        return driver.seconds(start, end), host_s


def sm_clock_hz(gpu: Gpu, timer: Timer) -> float:
    """The clock of the multiprocessors now: a kernel that counts cycles, timed. Ask right after the load."""
    import numpy as np

    flag = gpu.upload(np.zeros(2, dtype=np.uint32))
    count = gpu.launcher("launch", "hold", 1, 1, flag, np.int64(CLOCK_CYCLES))
    return CLOCK_CYCLES / timer.time(count, 1)
