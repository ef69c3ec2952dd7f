"""Streams of block operations on a disk that is made of a dictionary and a clock that is told."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import aio, blockio
from kernels.blockio import Stream
from kernels.scratch import BLOCK_BYTES, PAGE_BYTES, Filesystem, Scratch
from kernels.spec import BenchError, WrongResultError

PAGE_WORDS = PAGE_BYTES // 8


class Clock:
    """Advances only when the disk works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Disk:
    """Holds blocks by offset; each takes `seconds`, one after the other, finished in the order submitted."""

    engine = "fake"

    def __init__(self, clock: Clock, *, seconds: float, depth: int, block_bytes: int) -> None:
        self.data = np.zeros((depth, block_bytes // 8), dtype=np.uint64)
        self._clock, self._seconds = clock, seconds
        self._flying: deque[tuple[int, int, bool]] = deque()
        self.blocks: dict[int, NDArray[np.uint64]] = {}
        self.most_in_flight = 0
        self.overlaps = 0
        self.lose_after: int | None = None  #: writes from this one on are acknowledged and dropped
        self._writes = 0

    def submit(self, slots: aio.Slots, offsets: NDArray[np.int64], *, write: bool) -> None:
        for slot, offset in zip(slots.tolist(), offsets.tolist(), strict=True):
            self.overlaps += any(offset == other for _, other, _ in self._flying)
            self._flying.append((slot, offset, write))
        self.most_in_flight = max(self.most_in_flight, len(self._flying))

    def wait(self) -> aio.Slots:
        slot, offset, write = self._flying.popleft()
        self._clock.now_s += self._seconds
        if write:
            self._writes += 1
            if self.lose_after is None or self._writes <= self.lose_after:
                self.blocks[offset] = self.data[slot].copy()
        else:
            self.data[slot] = self.blocks[offset]
        return np.array([slot], dtype=np.intp)

    def close(self) -> None:
        self._flying.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk(clock: Clock) -> Disk:
    """Four operations in flight, a hundredth of a second each."""
    return Disk(clock, seconds=0.01, depth=4, block_bytes=PAGE_BYTES)


@pytest.fixture
def scratch(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """A scratch file of 256 pages whose queue is the fake disk."""
    made = Scratch(tmp_path, size_bytes=BLOCK_BYTES, seed=1, filesystem=Filesystem(kind="fake", source=None))
    made.close()
    monkeypatch.setattr(made, "queue", lambda **_: disk)
    return made


def run(scratch: Scratch, clock: Clock, pages: int, *, write: bool, seconds: float) -> Stream:
    """A stream over the first `pages` pages."""
    order = np.arange(pages, dtype=np.int64)
    return blockio.stream(scratch, order, block_bytes=PAGE_BYTES, depth=4, write=write, seconds=seconds, now=clock)


def test_the_rate_is_operations_over_time(scratch: Scratch, clock: Clock) -> None:
    """One operation in 10 ms is 100 a second, in every sample."""
    found = run(scratch, clock, 50, write=True, seconds=1.0)

    assert found.rates() == pytest.approx([100.0] * len(found.rates()))
    assert len(found.rates()) >= 10


def test_the_queue_is_kept_full_and_what_ends_late_does_not_count(scratch: Scratch, clock: Clock, disk: Disk) -> None:
    """Four in flight; of those the last, finished beyond the time, are waited for and left out."""
    found = run(scratch, clock, 50, write=True, seconds=0.205)

    assert disk.most_in_flight == 4
    assert sum(found.counts) == 20
    assert clock.now_s == pytest.approx(0.24)


def test_a_block_is_never_written_twice_at_once(scratch: Scratch, clock: Clock, disk: Disk) -> None:
    """Five blocks written over and over by four in flight: which came last must be known."""
    run(scratch, clock, 5, write=True, seconds=0.5)

    assert disk.overlaps == 0
    assert scratch.written == 5


def test_what_was_written_reads_back(scratch: Scratch, clock: Clock) -> None:
    """Several passes of writing, then several of reading: the newest generation comes back."""
    run(scratch, clock, 20, write=True, seconds=0.5)

    assert sum(run(scratch, clock, 20, write=False, seconds=0.5).counts) == 49


def test_a_lost_write_voids_the_figure(scratch: Scratch, clock: Clock, disk: Disk) -> None:
    """A disk that acknowledges and forgets is fast, and wrong."""
    disk.lose_after = 30
    run(scratch, clock, 20, write=True, seconds=0.5)

    with pytest.raises(WrongResultError, match="generation 2, 3 was written"):
        run(scratch, clock, 20, write=False, seconds=0.5)


def test_a_body_changed_on_disk_is_found_by_reading_back(scratch: Scratch, clock: Clock, disk: Disk) -> None:
    """Stamps alone would pass; every byte of what is verified is compared."""
    run(scratch, clock, 20, write=True, seconds=0.2)
    disk.blocks[7 * PAGE_BYTES][100] ^= np.uint64(1 << 40)

    with pytest.raises(WrongResultError, match=r"page 7 .* changed at byte 800"):
        blockio.verify(scratch, np.arange(20), until=clock.now_s + 10, now=clock)


def test_verifying_stops_in_time_but_checks_something(scratch: Scratch, clock: Clock) -> None:
    """However late it is, some pages are compared; a figure that was never checked does not count."""
    run(scratch, clock, 40, write=True, seconds=1.0)

    assert 0 < blockio.verify(scratch, np.arange(40), until=clock.now_s - 1, now=clock) < 40


def test_a_failed_operation_is_a_bench_error(
    scratch: Scratch, clock: Clock, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the size, what was done and the kernel's words."""

    def full() -> aio.Slots:
        disk._flying.clear()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "wait", full)

    with pytest.raises(BenchError, match="a write of 4096 bytes failed: No space left on device"):
        run(scratch, clock, 8, write=True, seconds=1.0)


def test_one_operation_gives_no_rate(scratch: Scratch, clock: Clock) -> None:
    """A disk too slow for the budget is an error, not a division by nothing."""
    with pytest.raises(BenchError, match="only 1 operations finished"):
        run(scratch, clock, 8, write=True, seconds=0.015).rates()


def test_slices_end_where_operations_ended() -> None:
    """2 operations after 1 s, 2 more each half second: the ramp goes, then 4 a second in every slice."""
    found = Stream(moments=(1.0, 1.5, 2.0, 2.5), counts=(2, 2, 2, 2), engine="fake")

    assert found.rates() == (4.0, 4.0, 4.0)


def test_synchronous_writes_are_timed_one_by_one(tmp_path: Path) -> None:
    """On a real file: as many times as pages, each page written anew and found again."""
    made = Scratch(tmp_path, size_bytes=BLOCK_BYTES, seed=1, filesystem=Filesystem(kind=None, source=None))
    order = np.arange(0, 256, 256, dtype=np.int64)
    blockio.stream(made, order, block_bytes=BLOCK_BYTES, depth=2, write=True, seconds=0.0)

    lasted, pages = blockio.sync_writes(made, seconds=0.02)
    checked = blockio.verify(made, pages, until=float("inf"))
    made.close()

    assert all(seconds > 0 for seconds in lasted)
    assert pages.tolist() == list(range(min(len(lasted), 256)))
    assert checked == len(pages)
