"""The loops of STREAM on a GPU, and the test of all its memory: buffers, launch shapes, checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kernels.cuda.library import Array, Gpu
from kernels.spec import WrongResultError
from kernels.timing import Timer

#: threads per block and blocks per multiprocessor; a loop is tried once with each
SHAPES = ((256, 8), (512, 4), (1024, 2), (256, 32), (512, 16))
CHECK_SHAPE = (256, 8)
AGAIN_SHAPE = (1024, 2)  # every thread that a multiprocessor has room for
PAIR_BYTES = 16
OPERATIONS = {"copy": 0, "write": 1, "scale": 2, "add": 3, "triad": 4}  #: as stream.cu numbers them
ARRAYS = {"read": 1, "write": 1, "copy": 2, "scale": 2, "add": 3, "triad": 3}  #: that an operation passes over
FACTOR = np.float64(0.4)  # STREAM's own
NOTHING = np.float64(-1.0)  # what no operation leaves
ALL_ONES = 2**64 - 1
SLOW_PART = 0.9  # of the median slice; a slice read at less is told


class Streams:
    """Three arrays of `bytes_each` on a device, what the loops do with them, and whether they did."""

    def __init__(self, gpu: Gpu, bytes_each: int, *, seed: int) -> None:
        """`bytes_each`: a multiple of 16."""
        self._gpu = gpu
        self._pairs = np.uint64(bytes_each // PAIR_BYTES)
        self._seeds = np.uint64(2 * seed + 1), np.uint64(2 * seed + 2)
        self.bytes_each = bytes_each
        self._a, self._b, self._c = (gpu.empty(bytes_each // 8, "float64") for _ in range(3))
        most = max(block * per_sm for block, per_sm in SHAPES) * gpu.sms
        self._parts = gpu.empty(most, "uint64")
        for array, seed_word in ((self._a, self._seeds[0]), (self._b, self._seeds[1])):
            self._launcher("stream_fill", CHECK_SHAPE, array, self._pairs, seed_word)()
        self._totals: dict[int, int] = {}
        self.spoil()

    def work_bytes(self, operation: str) -> int:
        """Read plus written by one call."""
        return ARRAYS[operation] * self.bytes_each

    def call(self, operation: str, shape: tuple[int, int]) -> Callable[[], None]:
        """A call that does `operation` once."""
        a, b, c, pairs = self._a, self._b, self._c, self._pairs
        arguments: dict[str, tuple[Any, ...]] = {
            "read": (a, pairs, self._parts),
            "write": (c, pairs, FACTOR),
            "copy": (a, c, pairs),
            "scale": (a, c, pairs, FACTOR),
            "add": (a, b, c, pairs),
            "triad": (a, b, c, pairs, FACTOR),
        }
        return self._launcher(f"stream_{operation}", shape, *arguments[operation])

    def check(self, operation: str, shape: tuple[int, int]) -> None:
        """Compare every element of the last call's result with its closed form, then spoil it.

        Raises:
            WrongResultError: one differs by any bit, or the sum over what was read does.
        """
        if operation == "read":
            self._check_sum(shape[0] * shape[1] * self._gpu.sms, self._pairs, passes=1)
        else:
            found = self._gpu.upload(np.array([0, ALL_ONES], dtype=np.uint64))
            number = np.int32(OPERATIONS[operation])
            self._launcher("stream_check", CHECK_SHAPE, self._c, self._pairs, number, *self._seeds, FACTOR, found)()
            wrong, first = (int(value) for value in self._gpu.download(found))
            if wrong:
                raise WrongResultError(
                    f"memory.{operation}: {wrong} of {2 * int(self._pairs)} elements differ from their closed form, "
                    f"the first at byte {8 * first} of the result"
                )
        self.spoil()

    def spoil(self) -> None:
        """Overwrite all results, so that a call that does nothing cannot pass."""
        self._launcher("stream_write", CHECK_SHAPE, self._c, self._pairs, NOTHING)()
        self._launcher("stream_write", CHECK_SHAPE, self._parts, np.uint64(self._parts.size // 2), np.float64(0.0))()

    def again(self, size_bytes: int, passes: int) -> Callable[[], None]:
        """A call that reads the first `size_bytes` of an array `passes` times, past the first-level caches."""
        pairs = np.uint64(size_bytes // PAIR_BYTES)
        return self._launcher("stream_again", AGAIN_SHAPE, self._a, pairs, np.uint64(passes), self._parts)

    def check_again(self, size_bytes: int, passes: int) -> None:
        """Compare what such a call has read with what is stored, then spoil it.

        Raises:
            WrongResultError: it does not add up.
        """
        threads = AGAIN_SHAPE[0] * AGAIN_SHAPE[1] * self._gpu.sms
        self._check_sum(threads, np.uint64(size_bytes // PAIR_BYTES), passes=passes)
        self.spoil()

    def _check_sum(self, threads: int, pairs: np.uint64, *, passes: int) -> None:
        if int(pairs) not in self._totals:
            total = self._gpu.upload(np.zeros(1, dtype=np.uint64))
            self._launcher("stream_total", CHECK_SHAPE, pairs, self._seeds[0], total)()
            self._totals[int(pairs)] = int(self._gpu.download(total)[0])
        wanted = passes * self._totals[int(pairs)] & ALL_ONES
        # beyond them are parts of a launch with more threads
        found = int(self._gpu.download(self._parts)[:threads].sum(dtype=np.uint64))
        if found != wanted:
            raise WrongResultError(f"memory.read: what was read adds up to {found:#x}, what was stored {wanted:#x}")

    def _launcher(self, kernel: str, shape: tuple[int, int], *arguments: Any) -> Callable[[], None]:
        block, per_sm = shape
        return self._gpu.launcher("stream", kernel, per_sm * self._gpu.sms, block, *arguments)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a test of all free memory found."""

    rates: tuple[float, ...]  #: B/s at which each slice was read back
    context: Mapping[str, object]


def sweep(gpu: Gpu, timer: Timer, *, slice_bytes: int, spare_bytes: int, nonce: int, until: float) -> Swept:
    """Fill all memory but `spare_bytes` with words that depend on their place, then read them all back; twice.

    All is written before anything is read, so two addresses of one cell cannot both hold. The second pass turns every
    bit. A pass that cannot begin before `until` (timer seconds) is left out, and told.

    Raises:
        WrongResultError: a word came back different.
        MemoryError: there is no room for a single slice.
    """
    slices = _slices(gpu, slice_bytes, spare_bytes)
    tested = slice_bytes * len(slices)
    try:
        rates, passes = _passes(gpu, timer, slices, nonce, until)
    finally:
        # else they are kept for the next array of ours, and no other library of this process finds any
        slices.clear()
        gpu.trim()
    middle = float(np.median(rates))
    slow = [number for number, rate in enumerate(rates) if rate < SLOW_PART * middle]
    return Swept(
        tuple(rates),
        {"tested_bytes": tested, "slice_bytes": slice_bytes, "passes": passes, "wrong_words": 0, "slow_slices": slow},
    )


def _passes(gpu: Gpu, timer: Timer, slices: list[Array], nonce: int, until: float) -> tuple[list[float], int]:
    """The rates of the last pass, and how many passes there were."""
    rates: list[float] = []
    passes = 0
    for flip in (0, ALL_ONES):
        if passes and timer.now() >= until:
            break
        for number, piece in enumerate(slices):
            _pattern(gpu, "pattern_write", piece, number, nonce, flip)()
        rates = [_read_back(gpu, timer, piece, number, nonce, flip) for number, piece in enumerate(slices)]
        passes += 1
    return rates, passes


def _slices(gpu: Gpu, slice_bytes: int, spare_bytes: int) -> list[Array]:
    """As many slices as fit; less than the memory said to be free is found out here, by running out of it."""
    gpu.trim()
    slices: list[Array] = []
    for _ in range(max(0, gpu.free_bytes() - spare_bytes) // slice_bytes):
        try:
            slices.append(gpu.empty(slice_bytes // 8, "uint64"))
        except MemoryError:
            break
    if not slices:
        raise MemoryError(f"a sweep needs {slice_bytes + spare_bytes} bytes free, found {gpu.free_bytes()}")
    return slices


def _pattern(
    gpu: Gpu, kernel: str, piece: Array, number: int, nonce: int, flip: int, *found: Array
) -> Callable[[], None]:
    block, per_sm = CHECK_SHAPE
    words = (np.uint64(piece.size // 2), np.uint64(number * piece.size), np.uint64(nonce), np.uint64(flip))
    return gpu.launcher("pattern", kernel, per_sm * gpu.sms, block, piece, *words, *found)


def _read_back(gpu: Gpu, timer: Timer, piece: Array, number: int, nonce: int, flip: int) -> float:
    found = gpu.upload(np.array([0, ALL_ONES, 0], dtype=np.uint64))
    verify = partial(_pattern(gpu, "pattern_verify", piece, number, nonce, flip, found))
    seconds = timer.time(verify, 1)
    wrong, first, bits = (int(value) for value in gpu.download(found))
    if wrong:
        inside = 8 * (first - number * piece.size)
        raise WrongResultError(
            f"memory sweep: words came back different ({wrong} counted) in the slice of {piece.nbytes} bytes at "
            f"{gpu.address(piece):#x}, the first at address {gpu.address(piece) + inside:#x}, bits {bits:#018x}"
        )
    return float(piece.nbytes / seconds)
