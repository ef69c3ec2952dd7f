"""Connections on which nothing is asked: closed when their time is over, by one timer however much was asked before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.direct import Protocol

KEEP_S = 5


@dataclass
class Timer:
    """A call to come."""

    at_s: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Loop:
    """Time that passes when it is told to."""

    now_s: float = 100.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now_s + delay_s, call))
        return self.timers[-1]

    def wait(self, seconds: float) -> None:
        """Let time pass, and ring what rings."""
        until_s = self.now_s + seconds
        while due := [one for one in self.timers if not one.cancelled and one.at_s <= until_s]:
            first = min(due, key=lambda one: one.at_s)
            self.timers.remove(first)
            self.now_s = first.at_s
            first.call()
        self.now_s = until_s


@dataclass
class Transport:
    """A connection that can only be closed."""

    closed: bool = False

    def get_extra_info(self, _name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def connection(loop: Loop, transport: Transport) -> Protocol:
    def app(_scope: Any) -> None:
        raise AssertionError("nothing is asked in full")

    config = uvicorn.Config(app, timeout_keep_alive=KEEP_S, log_config=None, lifespan="off", ws="none")
    made: Any = Protocol
    found: Protocol = made(config=config, server_state=ServerState(), app_state={}, _loop=loop, runtime=None)
    found.connection_made(transport)  # type: ignore[arg-type]
    return found


def test_a_connection_that_rests_is_closed(connection: Protocol, loop: Loop, transport: Transport) -> None:
    """When its time is over, not before."""
    connection.on_response_complete()
    loop.wait(KEEP_S - 0.1)
    assert not transport.closed

    loop.wait(0.2)
    assert transport.closed


def test_its_time_begins_anew_with_every_answer(connection: Protocol, loop: Loop, transport: Transport) -> None:
    """And one timer does for all of them."""
    for _ in range(10):
        connection.on_response_complete()
        loop.wait(KEEP_S - 1)
        assert len(loop.timers) == 1
    connection.on_response_complete()
    loop.wait(KEEP_S - 0.1)
    assert not transport.closed

    loop.wait(0.2)
    assert transport.closed


def test_a_connection_is_not_closed_while_it_is_asked(connection: Protocol, loop: Loop, transport: Transport) -> None:
    """However long the answer takes; afterwards its time begins."""
    connection.on_response_complete()
    connection.data_received(b"GET /healthz HTTP/1.1\r\n")
    loop.wait(3 * KEEP_S)
    assert (transport.closed, loop.timers) == (False, [])

    connection.on_response_complete()
    loop.wait(KEEP_S)
    assert transport.closed


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_connection_that_is_gone_leaves_no_timer(connection: Protocol, loop: Loop, error: Exception | None) -> None:
    """Which would keep all of it for as long."""
    connection.on_response_complete()
    connection.connection_lost(error)

    assert all(one.cancelled for one in loop.timers)
