"""Looking after processes in tests: who is there, and when they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil


def gone(pids: Iterable[int], *, within_s: float = 5.0) -> list[int]:
    """Wait for `pids` to end; those that are still there, zombies not counted."""
    left = list(pids)
    until = time.monotonic() + within_s
    while left and time.monotonic() < until:
        left = [pid for pid in left if _lives(pid)]
        time.sleep(0.01)
    return left


def wait_for(condition: Callable[[], Any], *, within_s: float = 5.0) -> Any:
    """The first true value of `condition`; fails the test when there is none in time."""
    until = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.01)
    return value


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def listening(pid: int) -> set[str]:
    """The addresses a process listens on."""
    found = psutil.Process(pid).net_connections(kind="inet")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
