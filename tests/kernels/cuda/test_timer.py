"""The timer by events: what it asks of a driver, and which times it believes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kernels.cuda.timer import QUEUED_CALLS, EventTimer
from kernels.spec import BenchError


@dataclass
class ScriptedDriver:
    """A device whose calls last `call_s` each; time passes when the host waits for it, and when it launches."""

    call_s: float = 1e-3
    launch_s: float = 5e-6
    tampered: float = 1.0  #: how the events' clock runs
    late_s: list[float] = field(default_factory=list)  #: by which the host wakes late, batch by batch
    gives_up: bool = False
    host_s: float = 0.0
    queued_s: float = 0.0
    device_s: float = 0.0
    held: bool = False
    log: list[str] = field(default_factory=list)

    def call(self) -> None:
        self.log.append("held call" if self.held else "free call")
        self.host_s += self.launch_s
        self.queued_s += self.call_s

    def now(self) -> float:
        return self.host_s

    def block(self) -> None:
        self.held = True
        self.log.append("block")

    def release(self) -> None:
        self.held = False
        self.log.append("release")

    def gave_up(self) -> bool:
        return self.gives_up

    def mark(self) -> float:
        return self.device_s + self.queued_s

    def wait(self, event: float) -> None:
        assert not self.held, "it would wait for ever"
        self.host_s += event - self.device_s + (self.late_s.pop(0) if self.late_s else 0.0)
        self.device_s, self.queued_s = event, 0.0

    def seconds(self, start: float, end: float) -> float:
        return (end - start) * self.tampered

    def synchronize(self) -> None:
        self.wait(self.mark())


def caller(driver: ScriptedDriver) -> Callable[[], object]:
    return driver.call


def test_launch_cost_stays_outside() -> None:
    """Ten calls of 1 ms, launched at 5 µs each, take 10 ms."""
    driver = ScriptedDriver()

    assert EventTimer(driver).time(caller(driver), 10) == pytest.approx(0.010)


def test_launches_slower_than_the_device_stay_outside_too() -> None:
    """Calls of 2 µs that Python launches at 5 µs each are timed as 2 µs."""
    driver = ScriptedDriver(call_s=2e-6)

    assert EventTimer(driver).time(caller(driver), 100) == pytest.approx(200e-6)


def test_a_call_s_first_run_is_free_and_its_others_are_held() -> None:
    """Loading a kernel may wait for the stream; once is enough for a call."""
    driver = ScriptedDriver()
    timer, call = EventTimer(driver), caller(driver)

    timer.time(call, 2)
    timer.time(call, 1)

    held = ["block", "held call", "release"]
    assert driver.log == ["free call", "block", "held call", *held[1:], *held]


def test_a_long_batch_is_queued_in_parts() -> None:
    """A queue has room for so many launches; a part that did not fit would wait behind the hold for ever."""
    driver = ScriptedDriver(call_s=1e-5)

    seconds = EventTimer(driver).time(caller(driver), 2 * QUEUED_CALLS + 1)

    assert seconds == pytest.approx((2 * QUEUED_CALLS + 1) * 1e-5)
    assert driver.log.count("block") == 3


def test_a_clock_that_was_tampered_with_is_not_believed() -> None:
    """Events that run at 95 % of the host's clock: an error with both times, after three attempts."""
    driver = ScriptedDriver(tampered=0.95)

    with pytest.raises(BenchError, match=r"events say 0\.095000 s for 100 calls, the host's clock 0\.100000 s"):
        EventTimer(driver).time(caller(driver), 100)

    assert driver.log.count("block") == 3


def test_a_host_that_was_preempted_is_asked_again() -> None:
    """5 ms late once: the batch is repeated and counted."""
    driver = ScriptedDriver(late_s=[0.0, 0.0, 0.005])  # the free run, before the batch, the batch
    timer = EventTimer(driver)

    assert timer.time(caller(driver), 10) == pytest.approx(0.010)
    assert timer.disagreements == 1


def test_a_call_that_waits_for_the_device_is_an_error() -> None:
    """The hold gave up: what was timed is the wait."""
    driver = ScriptedDriver(gives_up=True)

    with pytest.raises(BenchError, match="a call waits for the device"):
        EventTimer(driver).time(caller(driver), 1)


def test_the_stream_is_let_go_when_a_call_fails() -> None:
    """An error while queueing must not leave the device held."""
    driver = ScriptedDriver()
    calls = iter(range(1))

    def call() -> None:
        if next(calls, None) is None:
            raise BenchError("no memory")

    with pytest.raises(BenchError, match="no memory"):
        EventTimer(driver).time(call, 1)

    assert driver.log[-1] == "release"
