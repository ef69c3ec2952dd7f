"""The primitives of compiled code: clock, atomics, caching."""

from __future__ import annotations

import threading
import time
from typing import Any

import numba
import numpy as np
import pytest

from kernels.cpu import native


def test_the_clock_is_the_monotonic_one() -> None:
    """A reading lies between two of Python's own."""
    room = np.zeros(2, dtype=np.int64)

    before = time.monotonic_ns()
    found = native.monotonic_ns(room.ctypes.data)
    after = time.monotonic_ns()

    assert before <= found <= after


def test_fetch_add_counts_every_thread() -> None:
    """Two threads add 20 000 ones each, without the GIL: none is lost."""
    counter = np.zeros(1, dtype=np.int64)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def add(address: int, times: int) -> None:
        for _ in range(times):
            native.fetch_add(address, 1)

    add(counter.ctypes.data, 0)
    threads = [threading.Thread(target=add, args=(counter.ctypes.data, 20_000)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counter[0] == 40_000


def test_rendezvous_waits_for_the_last() -> None:
    """The first of two only returns once the second has come."""
    counter = np.zeros(1, dtype=np.int64)
    native.rendezvous(counter.ctypes.data, 1)  # compiled
    counter[0] = 0
    first = threading.Thread(target=native.rendezvous, args=(counter.ctypes.data, 2))

    first.start()
    first.join(timeout=0.05)
    waited = first.is_alive()
    native.rendezvous(counter.ctypes.data, 2)
    first.join(timeout=10)

    assert waited
    assert not first.is_alive()
    assert counter[0] == 2


def test_without_a_writable_folder_functions_still_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba refuses to decorate with cache=True there; we go on without a cache."""
    tried: list[bool] = []

    def njit(*, nogil: bool, cache: bool = False, **options: Any) -> Any:
        tried.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)

    assert native.compiled()(abs)(-3) == 3
    assert tried == [True, False]
