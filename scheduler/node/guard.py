"""Ends a supervisor that was stopped when its attempt's lease is over: it cannot freeze its job any more.

A debugger or a stray SIGSTOP does that to one process, while its agent is well and the server is not heard. The server
will give the job to another node; the kernel ends it here when its supervisor is killed.
"""

from __future__ import annotations

import asyncio

from scheduler.node import kernel
from scheduler.node.supervised import ENDED, Supervised

#: a supervisor that is well has frozen its job this long after the lease ended; the server waits for five times as long
LATE_S = 1.0
NS = 1_000_000_000


async def guard(supervised: Supervised) -> None:
    """Until cancelled."""
    while True:  # noqa: ASYNC110 - no event tells of a process that stands still
        await asyncio.sleep(look(supervised, kernel.now_ns()))


def look(supervised: Supervised, now_ns: int) -> float:
    """Do what is to be done now; returns seconds until it is to be looked at again."""
    try:
        late_ns = supervised.deadline_ns() + int(LATE_S * NS)
    except (OSError, ValueError):  # its lease file is gone or cannot be read: nothing can be said of it
        return LATE_S
    if now_ns < late_ns:
        return (late_ns - now_ns) / NS
    status = supervised.status()
    at_rest = status is not None and (status.state == "frozen" or status.state in ENDED)
    if not at_rest and supervised.is_stopped():
        supervised.end()
    return LATE_S
