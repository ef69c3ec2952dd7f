"""The loops of STREAM: exact results, wrong ones found, streaming stores really emitted."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import numba
import numpy as np
import pytest

from kernels.cpu import streams
from kernels.cpu.arrays import Arrays
from kernels.cpu.crew import Crew
from kernels.cpu.pages import HUGE_BYTES
from kernels.spec import WrongResultError

CPUS = tuple(sorted(os.sched_getaffinity(0)))
WORKERS = (CPUS[0], CPUS[-1])


@pytest.fixture(scope="module")
def arrays() -> Iterator[Arrays]:
    """Two workers with one large page of each array."""
    with Crew(WORKERS) as crew, Arrays(crew, 3 << 20) as found:
        yield found


def vectors(found: Arrays) -> list[np.ndarray]:
    """c, a and b as a whole."""
    count = found.bytes_each // 8
    return [found._block.array("f8", count, offset_bytes=place * found.bytes_each) for place in range(3)]


def test_parts_are_equal_and_end_with_a_page(arrays: Arrays) -> None:
    """3 MiB for two workers become two pages: 4 MiB, and a pass counts the bytes STREAM counts."""
    assert arrays.bytes_each == 2 * HUGE_BYTES
    assert arrays.work_bytes("copy") == 2 * arrays.bytes_each
    assert arrays.work_bytes("triad") == 3 * arrays.bytes_each
    assert arrays.work_bytes("read") == arrays.bytes_each


@pytest.mark.parametrize("streaming", [False, True])
def test_loops_do_what_they_say(arrays: Arrays, *, streaming: bool) -> None:
    """Against numpy, element by element, exactly."""
    c, a, b = vectors(arrays)
    expected = {"write": np.full_like(a, 3.0), "copy": a, "scale": 3.0 * a, "add": a + b, "triad": a + 3.0 * b}

    for operation, values in expected.items():
        arrays.seconds(operation, passes=1, streaming=streaming)
        assert np.array_equal(c, values), operation
        arrays.check(operation)


def test_inputs_vary(arrays: Arrays) -> None:
    """A copy from the wrong place would show: neighbours differ, and so do a and b."""
    _, a, b = vectors(arrays)

    assert a[:3].tolist() == [0.0, 0.125, 0.25]
    assert b[:2].tolist() == [0.875, 1.0]
    assert len(np.unique(a)) == streams.PERIOD


def test_read_sums_exactly(arrays: Arrays) -> None:
    """Each worker's sum is its part's."""
    arrays.seconds("read", passes=1, streaming=False)
    c, a, _ = vectors(arrays)
    half = len(a) // 2

    assert (c[0], c[half]) == (a[:half].sum(), a[half:].sum())
    arrays.check("read")


@pytest.mark.parametrize("operation", streams.OPERATIONS)
def test_each_check_needs_a_new_pass(arrays: Arrays, operation: str) -> None:
    """A pass that writes nothing is found out: the result of the one before was spoiled."""
    arrays.seconds(operation, passes=1, streaming=False)
    arrays.check(operation)

    with pytest.raises(WrongResultError, match=operation):
        arrays.check(operation)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.25 + 2**-52])
def test_one_wrong_element_is_found_and_named(arrays: Arrays, wrong: float) -> None:
    """Any value but the right one, a last bit included, at any place."""
    arrays.seconds("copy", passes=1, streaming=True)
    vectors(arrays)[0][400_002] = wrong

    with pytest.raises(WrongResultError, match="1 of 524288 elements wrong, the first at index 400002"):
        arrays.check("copy")


def test_a_wrong_sum_is_found(arrays: Arrays) -> None:
    """A read that skips the last element of a part."""
    arrays.seconds("read", passes=1, streaming=False)
    vectors(arrays)[0][0] -= 0.125

    with pytest.raises(WrongResultError, match="read"):
        arrays.check("read")


@pytest.mark.alone
def test_passes_are_repeated(arrays: Arrays) -> None:
    """No pass takes next to no time; the crew's clock runs for what was done."""
    none = min(arrays.seconds("triad", passes=0, streaming=False) for _ in range(5))
    many = min(arrays.seconds("triad", passes=20, streaming=False) for _ in range(3))

    assert 0 <= none < many / 5


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86-64 instructions")
def test_streaming_stores_are_in_the_machine_code() -> None:
    """movnt for the streaming loop and its fence; none for the plain one. Compiled anew: cached code shows nothing."""

    def assembly(function: object) -> str:
        fresh = numba.njit(function.py_func)  # type: ignore[attr-defined]
        fresh.compile("void(int64, int64, int64, int64, int64)")
        return str(next(iter(fresh.inspect_asm().values())))

    streaming, plain = assembly(streams._streaming), assembly(streams._plain)

    assert "movntp" in streaming
    assert "sfence" in streaming
    assert "movntp" not in plain
