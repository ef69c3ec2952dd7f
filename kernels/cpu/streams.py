"""The loops of STREAM in fp64, each with plain and with non-temporal stores.

    read   sum(a)          8 bytes an element
    write  c = s           8
    copy   c = a          16
    scale  c = s a        16
    add    c = a + b      24
    triad  c = a + s b    24

Bytes are counted as STREAM counts them (J. McCalpin, https://www.cs.virginia.edu/stream/ref.html): what the program
reads and writes. A plain store also makes the cache fetch the line it is about to overwrite, which nobody asked for
and nobody counts; a non-temporal store does not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from kernels.cpu.native import compiled, emitted, fence, monotonic_ns, rendezvous

Vector = np.ndarray[Any, np.dtype[np.float64]]

OPERATIONS = ("read", "write", "copy", "scale", "add", "triad")
#: bytes read plus written per element
BYTES = {"read": 8, "write": 8, "copy": 16, "scale": 16, "add": 24, "triad": 24}
FACTOR = 3.0  #: s; sums and products of the inputs below stay exact, so results compare equal or are wrong
PERIOD = 1 << 10  # of the inputs' values: eighths of 0..1023, so that a sum of 2^40 of them is still exact

# one cache line of x86-64; wider than the registers of most CPUs, LLVM splits it into what the CPU has
LANES = 8
STEP = 8 * LANES
_LINE = ir.VectorType(ir.DoubleType(), LANES)


def _spread(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """A vector with `scalar` in every lane."""
    first = builder.insert_element(ir.Constant(_LINE, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_LINE, ir.Undefined), lanes)


def _line(operation: str, *, streaming: bool) -> Any:
    """One cache line of `operation`: (c, a, b: addresses aligned to a line, s)."""

    @emitted(types.void, types.intp, types.intp, types.intp, types.float64)
    def line(builder: ir.IRBuilder, target: ir.Value, left: ir.Value, right: ir.Value, factor: ir.Value) -> None:
        to, first, second = (builder.inttoptr(address, _LINE.as_pointer()) for address in (target, left, right))
        value = _spread(builder, factor) if operation == "write" else builder.load(first, align=STEP)
        if operation == "scale":
            value = builder.fmul(value, _spread(builder, factor))
        elif operation == "add":
            value = builder.fadd(value, builder.load(second, align=STEP))
        elif operation == "triad":
            product = builder.fmul(builder.load(second, align=STEP), _spread(builder, factor))
            value = builder.fadd(value, product)
        store = builder.store(value, to, align=STEP)
        if streaming:
            store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))

    return line


_write, _write_streaming = _line("write", streaming=False), _line("write", streaming=True)
_copy, _copy_streaming = _line("copy", streaming=False), _line("copy", streaming=True)
_scale, _scale_streaming = _line("scale", streaming=False), _line("scale", streaming=True)
_add, _add_streaming = _line("add", streaming=False), _line("add", streaming=True)
_triad, _triad_streaming = _line("triad", streaming=False), _line("triad", streaming=True)


@compiled(fastmath={"reassoc"})
def total(values: Vector) -> float:
    """The sum of values, shape (n,), n a multiple of 4, in whatever order is fastest.

    Four places are read at once: one stream alone does not keep a core's prefetchers busy.
    """
    quarter = len(values) // 4
    first, second = values[:quarter], values[quarter : 2 * quarter]
    third, fourth = values[2 * quarter : 3 * quarter], values[3 * quarter :]
    result = 0.0
    for i in range(quarter):
        result += (first[i] + second[i]) + (third[i] + fourth[i])
    return result


@compiled()
def _plain(operation: int, to: int, left: int, right: int, count: int) -> None:
    """One pass with plain stores; an `if` chain, because a function taken from a table is not inlined."""
    places = range(0, 8 * count, STEP)
    if operation == 1:
        for at in places:
            _write(to + at, left + at, right + at, FACTOR)
    elif operation == 2:
        for at in places:
            _copy(to + at, left + at, right + at, FACTOR)
    elif operation == 3:
        for at in places:
            _scale(to + at, left + at, right + at, FACTOR)
    elif operation == 4:
        for at in places:
            _add(to + at, left + at, right + at, FACTOR)
    else:
        for at in places:
            _triad(to + at, left + at, right + at, FACTOR)


@compiled()
def _streaming(operation: int, to: int, left: int, right: int, count: int) -> None:
    """One pass with non-temporal stores, done when all of them are."""
    places = range(0, 8 * count, STEP)
    if operation == 1:
        for at in places:
            _write_streaming(to + at, left + at, right + at, FACTOR)
    elif operation == 2:
        for at in places:
            _copy_streaming(to + at, left + at, right + at, FACTOR)
    elif operation == 3:
        for at in places:
            _scale_streaming(to + at, left + at, right + at, FACTOR)
    elif operation == 4:
        for at in places:
            _add_streaming(to + at, left + at, right + at, FACTOR)
    else:
        for at in places:
            _triad_streaming(to + at, left + at, right + at, FACTOR)
    fence()


@compiled()
def run(
    counter: int, target: int, room: int, operation: int, streaming: bool, passes: int, c: Vector, a: Vector, b: Vector
) -> tuple[int, int]:
    """A crew's kernel: `passes` passes of one loop over this worker's part; (start, end) in ns.

    Args:
        counter, target, room: of the crew.
        operation: place in OPERATIONS.
        c, a, b: shape (n,), n a multiple of 8, each aligned to 64 bytes; the sum of a read goes to c[0].
    """
    to, left, right = c.ctypes.data, a.ctypes.data, b.ctypes.data
    rendezvous(counter, target)
    start = monotonic_ns(room)
    for _ in range(passes):
        if operation == 0:
            c[0] = total(a)
        elif streaming:
            _streaming(operation, to, left, right, len(c))
        else:
            _plain(operation, to, left, right, len(c))
    return start, monotonic_ns(room)


@compiled()
def fill(counter: int, target: int, room: int, first: int, c: Vector, a: Vector, b: Vector) -> tuple[int, int]:
    """A crew's kernel: first touch of this worker's part, whose place in the whole arrays begins at `first`."""
    rendezvous(counter, target)
    start = monotonic_ns(room)
    for i in range(len(c)):
        c[i] = math.nan
        a[i] = _left(first + i)
        b[i] = _right(first + i)
    return start, monotonic_ns(room)


@compiled()
def check(
    counter: int, target: int, room: int, operation: int, first: int, c: Vector, verdict: np.ndarray[Any, Any]
) -> tuple[int, int]:
    """A crew's kernel: compare c with the closed form, then spoil it so that it must be written anew.

    verdict[0] becomes the number of wrong elements (NaN is wrong), verdict[1] the place of the first in the whole.
    """
    rendezvous(counter, target)
    start = monotonic_ns(room)
    wrong, where = 0, -1
    if operation == 0:
        expected = 0.0
        for i in range(len(c)):
            expected += _left(first + i)
        if c[0] != expected:
            wrong, where = 1, first
        c[0] = math.nan
    else:
        for i in range(len(c)):
            if c[i] != _closed_form(operation, first + i):
                where = first + i if wrong == 0 else where
                wrong += 1
            c[i] = math.nan
    verdict[0], verdict[1] = wrong, where
    return start, monotonic_ns(room)


@compiled()
def _left(place: int) -> float:
    return place % PERIOD / 8


@compiled()
def _right(place: int) -> float:
    return (place + 7) % PERIOD / 8


@compiled()
def _closed_form(operation: int, place: int) -> float:
    """What c holds at `place` after a pass of anything but a read."""
    left: float = _left(place)
    right: float = _right(place)
    if operation == 1:
        return FACTOR
    if operation == 2:
        return left
    if operation == 3:
        return FACTOR * left
    if operation == 4:
        return left + right
    return left + FACTOR * right
