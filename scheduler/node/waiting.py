"""Waiting: for the first of several things, and before a server that is away is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

FIRST_S = 0.25
LONGEST_S = 20.0
#: while jobs hang on it: they are frozen until the server is heard again, and it gives them up after one lease
LONGEST_HOLDING_S = 4.0


def pauses(random: Callable[[], float], holding: Callable[[], bool] = lambda: False) -> Callable[[], float]:
    """A series of pauses, in seconds: doubled each time, half of it by chance, so that a fleet does not return at once.

    Args:
        random: uniform in [0, 1).
        holding: whether jobs wait for it to end.
    """
    step = 0

    def pause() -> float:
        nonlocal step
        longest = min(LONGEST_HOLDING_S if holding() else LONGEST_S, FIRST_S * float(2**step))
        step = min(step + 1, 16)
        return longest * (0.5 + 0.5 * random())

    return pause


async def first(*waits: Awaitable[object], seconds: float | None = None) -> None:
    """Until one of them is done, or time is up. Tasks are left alone, coroutines end with this call."""
    own = [asyncio.ensure_future(one) for one in waits if not isinstance(one, asyncio.Future)]
    given = [one for one in waits if isinstance(one, asyncio.Future)]
    try:
        await asyncio.wait({*own, *given}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in own:
            one.cancel()
        await asyncio.gather(*own, return_exceptions=True)
