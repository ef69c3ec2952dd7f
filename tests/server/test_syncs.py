"""Syncs that are told together: what one of them does wrong is its own affair."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from scheduler import lease
from scheduler.clock import Now
from scheduler.desk import Refused
from scheduler.store.errors import BusyError, StaleWriteError
from scheduler.wire import SyncAnswer, SyncRequest
from server import syncs
from server.syncs import AT_ONCE, GATHER_S, Syncs, waited_for

NOW = Now(mono_ms=0, unix_ms=0)
TOLD = SyncRequest(boot_id="boot", held=(), wait=False)


@dataclass
class Market:
    """Rules and writer: nodes below 0 are refused, 13 cannot be written, and there is news for everybody."""

    batches: list[int] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)
    busy: bool = False
    news: bool = True
    changed: list[int] = field(default_factory=list)

    @property
    def book(self) -> Any:
        return self

    def mark(self) -> int:
        return len(self.changed)

    def undo(self, to: int) -> None:
        self.undone += self.changed[to:]
        del self.changed[to:]

    def sync(self, node: int, epoch: int, request: SyncRequest, now: Now) -> SyncAnswer:
        self.changed.append(node)
        if node < 0:
            raise Refused("forbidden", f"node {node} is retired")
        return SyncAnswer(wishes=(), lease_ms=node, next_sync_ms=lease.RENEW_MS)

    def answer(self, node: int, epoch: int, now: Now) -> SyncAnswer:
        return SyncAnswer(wishes=(), lease_ms=-node, next_sync_ms=lease.RENEW_MS)

    def has_news(self, node: int, answer: SyncAnswer) -> bool:
        return self.news

    def do(self, command: Callable[[Any, Now], None]) -> Future[None]:
        future: Future[None] = Future()
        before = len(self.changed)
        command(self, NOW)
        told = self.changed[before:]
        self.batches.append(len(told))
        if self.busy:
            future.set_exception(BusyError("too many wait"))
        elif 13 in told:
            del self.changed[before:]
            future.set_exception(StaleWriteError("13 is not as it was"))
        else:
            future.set_result(None)
        return future


def answers(market: Market, *nodes: int, request: SyncRequest = TOLD) -> list[Any]:
    """What came of one sync of each node, all begun at once: a lease in milliseconds, or an error."""

    async def ask() -> list[Any]:
        under_way = Syncs(market.do)
        waited = []
        for node in nodes:
            future, done = waited_for(asyncio.get_running_loop())
            under_way.begin(node, 1, request, done)
            waited.append(future)
        found = await asyncio.gather(*waited, return_exceptions=True)
        assert (under_way.nodes, under_way.held) == (0, 0)
        return [one if isinstance(one, BaseException) else one.lease_ms for one in found]

    return asyncio.run(ask())


def test_what_comes_at_once_is_told_at_once() -> None:
    """As one command, or a few."""
    market = Market()

    assert answers(market, *range(1, 13)) == list(range(1, 13))
    assert market.batches == [12]
    assert len(answers(market, *range(20, 20 + AT_ONCE + 1))) == AT_ONCE + 1
    assert market.batches == [12, AT_ONCE, 1]


def test_one_that_is_refused_is_undone_alone() -> None:
    """The others' changes stay."""
    market = Market()
    first, refused, last = answers(market, 1, -2, 3)

    assert (first, str(refused), last) == (1, "node -2 is retired", 3)
    assert (market.changed, market.undone, market.batches) == ([1, 3], [-2], [2])


def test_one_that_cannot_be_written_takes_no_other_with_it() -> None:
    """Each is told again by itself."""
    market = Market()
    first, failed, last = answers(market, 1, 13, 3)

    assert (first, type(failed), last) == (1, StaleWriteError, 3)
    assert (market.changed, market.batches) == ([1, 3], [3, 1, 1, 1])


def test_a_writer_that_takes_no_more_is_told_to_all() -> None:
    """None of them is told again."""
    market = Market(busy=True)

    assert [type(one) for one in answers(market, 1, 2)] == [BusyError, BusyError]
    assert market.batches == [2]


def test_a_ring_while_a_sync_is_told_is_not_lost() -> None:
    """It is asked once more before it would be held back."""
    market = Market(news=False)

    async def ask() -> SyncAnswer:
        under_way = Syncs(market.do)
        future, done = waited_for(asyncio.get_running_loop())
        under_way.begin(7, 1, SyncRequest(boot_id="boot", held=()), done)
        under_way.ring([7, 8])
        await asyncio.sleep(2 * GATHER_S)
        assert under_way.held == 1
        market.news = True
        under_way.ring([7])
        answer: SyncAnswer = await future
        return answer

    assert asyncio.run(ask()).lease_ms == -7
    assert market.batches == [1, 0, 0]


def test_who_left_is_not_told() -> None:
    """Nor kept."""
    market = Market()

    async def ask() -> tuple[int, int]:
        under_way = Syncs(market.do)
        future, done = waited_for(asyncio.get_running_loop())
        one = under_way.begin(7, 1, TOLD, done)
        under_way.leave(one)
        under_way.leave(one)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not future.done()
        return under_way.nodes, under_way.held

    assert asyncio.run(ask()) == (0, 0)
    assert market.batches == []


def test_who_comes_with_a_fleet_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two turns of those that came, each in its order, the loop does what else there is."""
    monkeypatch.setattr(syncs, "TURN_S", 0.0)
    seen: list[int | str] = []

    async def ask() -> None:
        loop, under_way = asyncio.get_running_loop(), Syncs(Market().do)
        for number in range(3):
            under_way.in_turn(partial(seen.append, number))
        loop.call_soon(seen.append, "another")
        for _ in range(8):
            await asyncio.sleep(0)

    asyncio.run(ask())

    assert seen == [0, "another", 1, 2]
