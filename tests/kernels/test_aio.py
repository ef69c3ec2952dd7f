"""Both queues: what is submitted is done, and what fails is said."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels import aio

PAGE = 4096
Make = Callable[[int], aio.Queue]


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file of eight pages; page k holds the byte k."""
    path = tmp_path / "pages"
    path.write_bytes(b"".join(bytes([k]) * PAGE for k in range(8)))
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


@pytest.fixture(params=[aio.NativeQueue, aio.ThreadQueue])
def queue(request: pytest.FixtureRequest, descriptor: int) -> Iterator[aio.Queue]:
    """A queue of three slots on that file."""
    made: aio.Queue = request.param(descriptor, depth=3, block_bytes=PAGE)
    yield made
    made.close()


def all_of(queue: aio.Queue, count: int) -> list[int]:
    """Wait for `count` operations; their slots."""
    found: list[int] = []
    while len(found) < count:
        found += queue.wait().tolist()
    return sorted(found)


def test_reads_arrive_in_the_slots_they_were_asked_for(queue: aio.Queue) -> None:
    """Pages 7, 0 and 4 into slots 0, 1 and 2."""
    queue.submit(np.array([0, 1, 2]), np.array([7, 0, 4]) * PAGE, write=False)

    assert all_of(queue, 3) == [0, 1, 2]
    assert queue.data.view(np.uint8)[:, 0].tolist() == [7, 0, 4]
    assert queue.data.view(np.uint8)[:, -1].tolist() == [7, 0, 4]


def test_writes_reach_the_file(queue: aio.Queue, descriptor: int) -> None:
    """Slot 2 over page 5, and only over that."""
    queue.data.view(np.uint8)[2] = 99
    queue.submit(np.array([2]), np.array([5 * PAGE]), write=True)

    assert all_of(queue, 1) == [2]
    assert os.pread(descriptor, 3 * PAGE, 4 * PAGE) == bytes([4]) * PAGE + bytes([99]) * PAGE + bytes([6]) * PAGE


def test_a_read_beyond_the_end_is_an_error(queue: aio.Queue) -> None:
    """A short operation must never count as a whole one."""
    queue.submit(np.array([0]), np.array([8 * PAGE]), write=False)

    with pytest.raises(OSError, match="moved 0 of 4096 bytes") as error:
        queue.wait()
    assert error.value.errno == errno.EIO


def test_a_failed_write_carries_the_kernels_reason(queue: aio.Queue, tmp_path: Path) -> None:
    """Writing through a descriptor that is open for reading only: EBADF."""
    path = tmp_path / "other"
    path.write_bytes(bytes(PAGE))
    reading = os.open(path, os.O_RDONLY)
    other = type(queue)(reading, depth=1, block_bytes=PAGE)  # type: ignore[call-arg]
    with pytest.raises(OSError, match="descriptor") as error:  # noqa: PT012 - native queues refuse, threads report
        other.submit(np.array([0]), np.array([0]), write=True)
        other.wait()
    other.close()
    os.close(reading)

    assert error.value.errno == errno.EBADF


def test_blocks_are_aligned_for_direct_io(queue: aio.Queue) -> None:
    """O_DIRECT wants buffers on a page."""
    assert queue.data.ctypes.data % PAGE == 0
    assert queue.data.strides[0] == PAGE


def test_nothing_done_in_time_is_an_error(queue: aio.Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs does not hang the benchmark."""
    monkeypatch.setattr(aio, "STALL_S", 0)

    with pytest.raises(OSError, match="no operation finished") as error:
        queue.wait()
    assert error.value.errno == errno.ETIMEDOUT


def test_native_queues_are_used_where_the_kernel_has_them(descriptor: int) -> None:
    """On this kernel and for files with direct I/O; threads elsewhere."""
    direct = aio.open_queue(descriptor, depth=2, block_bytes=PAGE)
    cached = aio.open_queue(descriptor, depth=2, block_bytes=PAGE, native=False)
    engines = (direct.engine, cached.engine)
    direct.close()
    cached.close()

    assert engines == ("aio", "threads")


def test_without_native_aio_threads_do_it(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture whose call numbers are not known falls back."""
    monkeypatch.setattr(aio, "_CALLS", {})
    made = aio.open_queue(descriptor, depth=2, block_bytes=PAGE)
    made.close()

    assert made.engine == "threads"


def test_other_errors_are_not_hidden_by_the_fallback(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a missing, forbidden or exhausted facility is replaced."""

    def broken(*_: object, **__: object) -> aio.NativeQueue:
        raise OSError(errno.EFAULT, "bad address")

    monkeypatch.setattr(aio, "NativeQueue", broken)

    with pytest.raises(OSError, match="bad address"):
        aio.open_queue(descriptor, depth=2, block_bytes=PAGE)
