"""A matrix product in fp32 of our own for GPUs: tiles in shared memory, eight by eight sums a thread in registers.

It owes nothing to a vendor's BLAS, so that two independent programs must agree on what the device can do. The structure
is that of V. Volkov and J. Demmel, Benchmarking GPUs to Tune Dense Linear Algebra, SC 2008. Written for numba's CUDA
target, whether it comes with numba or as the package numba-cuda; only this module loads it, and it is itself loaded
only by `kernels.cuda.products`, when the product is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numba import cuda

Matrix = Any  #: of the device, two-dimensional, rows contiguous, float32
SIDE = 16  #: threads along either side of a block
DEPTH = 16  #: of K that a block holds at a time
EACH = 8  #: sums of a thread along either side, SIDE apart: neighbours then read neighbouring words of shared memory
#: two blocks of 256 threads share the registers of a multiprocessor, so that one computes while the other loads
MOST_REGISTERS = 128


def product(a: Any, b: Any, c: Any, *, index: int) -> Callable[[], None]:
    """A call that queues c = aᵀ·b on the legacy default stream of GPU `index`; compiled and run once already.

    `a` is stored by columns: its row is a step of K, so that neighbouring threads read neighbouring addresses of both.

    Args:
        a: shape (k, m); b: shape (k, n); c: shape (m, n); float32, contiguous, anything that shows a CUDA array.

    Raises:
        ImportError: numba finds no driver, or no compiler (libNVVM).
    """
    cuda.select_device(index)
    arrays = [cuda.as_cuda_array(array) for array in (a, b, c)]
    call: Callable[[], None] = partial(_compiled()[grid(c.shape, SIDE), (SIDE, SIDE)], *arrays)
    call()
    return call


@cache
def _compiled() -> Any:
    return cuda.jit(kernel(SIDE), max_registers=MOST_REGISTERS)


def _on_device(function: Callable[..., Any]) -> Any:
    """Compiled into the kernels that call it."""
    return cuda.jit(device=True)(function)


def grid(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Blocks of `side` x `side` threads along the columns and the rows of C."""
    rows, columns = shape
    tile = side * EACH
    return -(-columns // tile), -(-rows // tile)


def kernel(side: int) -> Callable[[Matrix, Matrix, Matrix], None]:
    """The kernel as Python; its sizes are constants of the closure, so that the compiler unrolls by them.

    Args:
        side: a multiple of 8, so that its threads fetch whole steps of K.
    """
    tile = side * EACH
    held = DEPTH * tile  # elements of a tile of either operand
    taken = side * side // tile  # steps of K that all threads together fetch at once, an element each
    zero = np.float32(0)
    # an index without a sign cannot count from an array's end: the addresses below are then one base and constants
    width, o1, o2, o3, o4, o5, o6, o7 = (np.uint64(n) for n in (tile, *(side * i for i in range(1, EACH))))

    def multiply(a: Matrix, b: Matrix, c: Matrix) -> None:
        left = cuda.shared.array(held, np.float32)
        right = cuda.shared.array(held, np.float32)
        depth, rows = a.shape
        columns = b.shape[1]
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        row, column = cuda.blockIdx.y * tile, cuda.blockIdx.x * tile
        number = y * side + x
        above, beside = number // tile, number % tile
        nothing = (zero, zero, zero, zero, zero, zero, zero, zero)
        s0, s1, s2, s3 = nothing, nothing, nothing, nothing
        s4, s5, s6, s7 = nothing, nothing, nothing, nothing
        for first in range(0, depth, DEPTH):
            for load in range(0, DEPTH, taken):
                k = first + load + above
                left[load * tile + number] = a[k, row + beside] if k < depth and row + beside < rows else zero
                right[load * tile + number] = b[k, column + beside] if k < depth and column + beside < columns else zero
            cuda.syncthreads()
            at_a, at_b = np.uint64(y), np.uint64(x)
            for _ in range(DEPTH):
                of_b = (
                    right[at_b], right[at_b + o1], right[at_b + o2], right[at_b + o3],
                    right[at_b + o4], right[at_b + o5], right[at_b + o6], right[at_b + o7],
                )  # fmt: skip
                s0 = _step_row(s0, left[at_a], of_b)
                s1 = _step_row(s1, left[at_a + o1], of_b)
                s2 = _step_row(s2, left[at_a + o2], of_b)
                s3 = _step_row(s3, left[at_a + o3], of_b)
                s4 = _step_row(s4, left[at_a + o4], of_b)
                s5 = _step_row(s5, left[at_a + o5], of_b)
                s6 = _step_row(s6, left[at_a + o6], of_b)
                s7 = _step_row(s7, left[at_a + o7], of_b)
                at_a, at_b = at_a + width, at_b + width
            cuda.syncthreads()
        _store_row(c, row + y, column + x, s0, side)
        _store_row(c, row + y + side, column + x, s1, side)
        _store_row(c, row + y + 2 * side, column + x, s2, side)
        _store_row(c, row + y + 3 * side, column + x, s3, side)
        _store_row(c, row + y + 4 * side, column + x, s4, side)
        _store_row(c, row + y + 5 * side, column + x, s5, side)
        _store_row(c, row + y + 6 * side, column + x, s6, side)
        _store_row(c, row + y + 7 * side, column + x, s7, side)

    return multiply


@_on_device
def _step_row(sums: Any, factor: Any, row: Any) -> Any:
    """Eight fused multiply-adds; tuples, not an array, so that all sums stay in registers."""
    return (
        sums[0] + factor * row[0],
        sums[1] + factor * row[1],
        sums[2] + factor * row[2],
        sums[3] + factor * row[3],
        sums[4] + factor * row[4],
        sums[5] + factor * row[5],
        sums[6] + factor * row[6],
        sums[7] + factor * row[7],
    )


@_on_device
def _store_row(c: Matrix, row: Any, column: Any, sums: Any, side: int) -> None:
    """Eight sums of a row of C, `side` apart; what lies beyond an edge is left out."""
    rows, columns = c.shape
    if row < rows:
        for number in range(EACH):
            if column + number * side < columns:
                c[row, column + number * side] = sums[number]
