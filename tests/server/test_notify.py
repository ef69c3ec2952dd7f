"""Bells."""

from __future__ import annotations

import asyncio

from server.notify import Bells


def test_a_ring_between_look_and_wait_is_heard() -> None:
    """The event stays set."""

    async def check() -> bool:
        bells = Bells()
        with bells.listen("a") as event:
            bells.ring(["a"])
            return event.is_set()

    assert asyncio.run(check())


def test_only_its_own_bell_is_heard_and_nothing_is_left_behind() -> None:
    """Others' rings pass; who listens no more is forgotten."""

    async def check() -> tuple[bool, bool, int]:
        bells = Bells()
        with bells.listen("a", "b") as both, bells.listen("c") as other:
            bells.ring(["b", "nobody"])
            found = (both.is_set(), other.is_set())
        return (*found, bells.keys)

    assert asyncio.run(check()) == (True, False, 0)


def test_all_are_rung_when_the_server_stops() -> None:
    """Nobody waits any longer."""

    async def check() -> bool:
        bells = Bells()
        with bells.listen("a") as one, bells.listen("b") as two:
            bells.ring_all()
            return one.is_set() and two.is_set()

    assert asyncio.run(check())
