"""Timed streams of block operations on a scratch file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels import aio
from kernels.scratch import PAGE_BYTES, Numbers, Scratch
from kernels.spec import BenchError

#: samples a stream is cut into
SLICES = 40
VERIFY_DEPTH = 32
#: enough for the interval of a p99 to be narrow; more would only make the report longer
MAX_SYNC_WRITES = 5000
#: of a stream's operations, while its queue fills
RAMP_PART = 0.05


@dataclass(frozen=True, slots=True)
class Stream:
    """When operations finished: moments in seconds since the start, and how many at each."""

    moments: tuple[float, ...]
    counts: tuple[int, ...]
    engine: str

    def rates(self) -> tuple[float, ...]:
        """Operations per second, one sample for every so many operations.

        Slices of equal count end where an operation finished, so a slow disk's samples are not quantised the way
        those of equal time would be. The ramp at the start is left out.

        Raises:
            BenchError: too few operations finished to give one sample.
        """
        total = np.cumsum(self.counts)
        if len(total) < 2:
            raise BenchError(f"only {sum(self.counts)} operations finished; the disk is too slow for this budget")
        first = int(np.searchsorted(total, total[-1] * RAMP_PART))
        size = max(1, (total[-1] - total[first]) // SLICES)
        wanted = np.arange(total[first], total[-1] + 1, size)
        ends = np.unique(np.searchsorted(total, wanted))
        moments = np.array(self.moments)[ends]
        return tuple((np.diff(total[ends]) / np.diff(moments)).tolist())


def stream(
    scratch: Scratch,
    order: Numbers,
    *,
    block_bytes: int,
    depth: int,
    write: bool,
    seconds: float,
    now: Callable[[], float] = time.perf_counter,
) -> Stream:
    """Keep `depth` operations in flight for `seconds`, over `order` again and again.

    What is read is checked: its stamps as it arrives, every byte of the last `depth` blocks.

    Args:
        order: the first page of each block, no two blocks overlapping.

    Raises:
        WrongResultError: a page came back other than it was written.
        BenchError: an operation failed.
    """
    queue = scratch.queue(depth=depth, block_bytes=block_bytes)
    try:
        return _stream(scratch, queue, order, write, seconds, now)
    except OSError as error:
        raise _failed("write" if write else "read", block_bytes, error) from error
    finally:
        queue.close()


def _stream(
    scratch: Scratch, queue: aio.Queue, order: Numbers, write: bool, seconds: float, now: Callable[[], float]
) -> Stream:
    idle: aio.Slots = np.arange(len(queue.data), dtype=np.intp)
    at = np.full(len(queue.data), -1, dtype=np.int64)  # the first page of the block that each slot holds
    block_pages = queue.data.nbytes // len(queue.data) // PAGE_BYTES
    moments: list[float] = []
    counts: list[int] = []
    position = flying = reached = 0
    start, late = now(), False
    while True:
        if position == len(order) and (flying == 0 or not write):
            position = 0  # writes of two passes must not overlap: which came last could not be told
        pages = order[:0] if late else order[position : position + len(idle)]
        if len(pages):
            slots, idle = idle[: len(pages)], idle[len(pages) :]
            at[slots] = pages
            if write:
                scratch.compose(queue.data, slots, pages)
            queue.submit(slots, pages * PAGE_BYTES, write=write)
            position, flying = position + len(pages), flying + len(pages)
            reached = max(reached, position)
        if not flying:
            break
        done = queue.wait()
        moment = now() - start
        flying -= len(done)
        if not write:
            scratch.check_stamps(queue.data, done, at[done])
        idle = np.concatenate((idle, done))
        if not (late := moment >= seconds):
            moments.append(moment)
            counts.append(len(done))
    if write:
        scratch.written = max(scratch.written, int(order[:reached].max()) + block_pages)
    else:
        held = np.flatnonzero(at >= 0)
        scratch.check_bodies(queue.data, held, at[held])
    return Stream(tuple(moments), tuple(counts), queue.engine)


def verify(scratch: Scratch, pages: Numbers, *, until: float, now: Callable[[], float] = time.perf_counter) -> int:
    """Read single pages back and check every byte, as many of `pages` as there is time for; how many were.

    Raises:
        WrongResultError: a page came back other than it was written.
        BenchError: a read failed.
    """
    queue = scratch.queue(depth=VERIFY_DEPTH, block_bytes=PAGE_BYTES)
    checked = 0
    try:
        while checked < len(pages) and (checked == 0 or now() < until):
            some = pages[checked : checked + len(queue.data)]
            slots = np.arange(len(some), dtype=np.intp)
            queue.submit(slots, some * PAGE_BYTES, write=False)
            left = len(some)
            while left:
                left -= len(queue.wait())
            scratch.check_bodies(queue.data, slots, some)
            checked += len(some)
    except OSError as error:
        raise _failed("read", PAGE_BYTES, error) from error
    finally:
        queue.close()
    return checked


def sync_writes(
    scratch: Scratch, *, seconds: float, now: Callable[[], float] = time.perf_counter
) -> tuple[tuple[float, ...], Numbers]:
    """Seconds of each write of one page followed by fdatasync, one after the other, and the pages written.

    The pages lie one behind the other in a part of the file that is written already, like a database's log.

    Raises:
        BenchError: a write failed.
    """
    pages = np.arange(scratch.written, dtype=np.int64)
    data = aio.aligned_blocks(1, PAGE_BYTES)
    slot = np.zeros(1, dtype=np.intp)
    lasted: list[float] = []
    end = now() + seconds
    try:
        while True:
            page = pages[len(lasted) % len(pages)][None]
            scratch.compose(data, slot, page)
            start = now()
            if os.pwrite(scratch.descriptor, data.data, int(page[0]) * PAGE_BYTES) != PAGE_BYTES:
                raise BenchError(f"a write of {PAGE_BYTES} bytes was cut short; the disk may be full")
            os.fdatasync(scratch.descriptor)
            moment = now()
            lasted.append(moment - start)
            if moment >= end or len(lasted) == MAX_SYNC_WRITES:
                return tuple(lasted), pages[: len(lasted)]
    except OSError as error:
        raise _failed("synchronous write", PAGE_BYTES, error) from error


def _failed(verb: str, size_bytes: int, error: OSError) -> BenchError:
    return BenchError(f"a {verb} of {size_bytes} bytes failed: {error.strerror}; look at the disk and its space")
