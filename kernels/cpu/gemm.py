"""A matrix product in fp32 of our own: packed, blocked for the caches, its inner tile held in vector registers.

It owes nothing to a BLAS, so that two independent programs must agree on what the machine can do. The structure is that
of K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34 (2008).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types

from kernels.cpu.crew import Crew
from kernels.cpu.native import compiled, emitted, monotonic_ns, rendezvous
from kernels.cpu.pages import Block

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Words = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Tile:
    """What one call of the inner kernel computes: `rows` x `vectors * lanes` elements of C, held in registers."""

    rows: int
    vectors: int
    lanes: int  #: of a vector register, fp32


def _tile() -> Tile:
    """The tile for the vector unit here; accumulators, one row of B and a broadcast fill its registers."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return Tile(rows=6, vectors=4, lanes=16)  # 24 + 4 + 1 of 32; 12 x 2 has more broadcasts and was 8 % slower
    if features.get("avx2") and features.get("fma"):
        return Tile(rows=6, vectors=2, lanes=8)  # 12 + 2 + 1 of 16
    if platform.machine() == "aarch64":
        return Tile(rows=8, vectors=3, lanes=4)  # 24 + 3 + 2 of 32
    return Tile(rows=4, vectors=2, lanes=4)


TILE = _tile()
ROWS, COLUMNS = TILE.rows, TILE.vectors * TILE.lanes
# Of K taken at a time. 256 keeps a panel of B in a first-level cache of 32 KiB, but then C is read and written twice as
# often, which cost 8 % on a Zen 4; the hardware fetches a panel from the second level in time.
DEPTH = 512
BLOCK_ROWS = 120  # of A packed at a time: BLOCK_ROWS x DEPTH x 4 bytes, 240 KiB, stay in the second-level cache

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, TILE.lanes)
_INDEX = ir.IntType(64)
_LINE = 64


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        first, empty, ir.Constant(ir.VectorType(ir.IntType(32), TILE.lanes), [0] * TILE.lanes)
    )


def _at(builder: ir.IRBuilder, address: ir.Value, offset: int | ir.Value, kind: ir.Type) -> ir.Value:
    place = builder.add(address, ir.Constant(_INDEX, offset) if isinstance(offset, int) else offset)
    return builder.inttoptr(place, kind.as_pointer())


@emitted(types.void, types.intp, types.intp, types.intp, types.intp, types.intp, types.boolean)
def _multiply_tile(
    builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value, stride: ir.Value, depth: ir.Value, add: ir.Value
) -> None:
    """C (+)= A·B for one tile. a, b: packed panels, `depth` steps long; c: its corner; stride: bytes a row of C."""
    fused = builder.module.globals.get(f"llvm.fmuladd.v{TILE.lanes}f32") or ir.Function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{TILE.lanes}f32"
    )
    before = builder.block
    loop, after = builder.append_basic_block("tile.loop"), builder.append_basic_block("tile.after")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(_INDEX)
    left, right = builder.phi(_INDEX), builder.phi(_INDEX)
    sums = [builder.phi(_VECTOR) for _ in range(ROWS * TILE.vectors)]
    for phi, start in ((step, ir.Constant(_INDEX, 0)), (left, a), (right, b)):
        phi.add_incoming(start, before)
    row_of_b = [
        builder.load(_at(builder, right, 4 * TILE.lanes * v, _VECTOR), align=4 * TILE.lanes)
        for v in range(TILE.vectors)
    ]
    new = []
    for row in range(ROWS):
        factor = _splat(builder, builder.load(_at(builder, left, 4 * row, _FLOAT), align=4))
        new += [builder.call(fused, [factor, row_of_b[v], sums[row * TILE.vectors + v]]) for v in range(TILE.vectors)]
    for phi, value in zip(sums, new, strict=True):
        phi.add_incoming(ir.Constant(_VECTOR, [0.0] * TILE.lanes), before)
        phi.add_incoming(value, loop)
    next_step = builder.add(step, ir.Constant(_INDEX, 1))
    step.add_incoming(next_step, loop)
    left.add_incoming(builder.add(left, ir.Constant(_INDEX, 4 * ROWS)), loop)
    right.add_incoming(builder.add(right, ir.Constant(_INDEX, 4 * COLUMNS)), loop)
    builder.cbranch(builder.icmp_signed("<", next_step, depth), loop, after)
    builder.position_at_end(after)
    _store_tile(builder, new, c, stride, add)


def _store_tile(builder: ir.IRBuilder, sums: list[ir.Value], c: ir.Value, stride: ir.Value, add: ir.Value) -> None:
    with builder.if_else(add) as (then, otherwise):
        for branch, adds in ((then, True), (otherwise, False)):
            with branch:
                for row in range(ROWS):
                    start = builder.add(c, builder.mul(stride, ir.Constant(_INDEX, row)))
                    for v in range(TILE.vectors):
                        place = _at(builder, start, 4 * TILE.lanes * v, _VECTOR)
                        value = sums[row * TILE.vectors + v]
                        if adds:
                            value = builder.fadd(builder.load(place, align=4), value)
                        builder.store(value, place, align=4)


@compiled()
def _pack_rows(a: Matrix, row: int, rows: int, k: int, depth: int, packed: Matrix) -> None:
    """Panels of ROWS rows of A, step by step of K; rows beyond the last are zero."""
    for panel in range(0, rows, ROWS):
        base = panel * depth
        for i in range(ROWS):
            if panel + i < rows:
                for step in range(depth):
                    packed[base + step * ROWS + i] = a[row + panel + i, k + step]
            else:
                for step in range(depth):
                    packed[base + step * ROWS + i] = 0.0


@compiled()
def _pack_columns(b: Matrix, k: int, depth: int, first: int, last: int, packed: Matrix) -> None:
    """Panels first..last-1 of COLUMNS columns of B, step by step of K; columns beyond the last are zero."""
    columns = b.shape[1]
    for panel in range(first, last):
        base, column = panel * COLUMNS * depth, panel * COLUMNS
        width = min(COLUMNS, columns - column)
        for step in range(depth):
            for j in range(width):
                packed[base + step * COLUMNS + j] = b[k + step, column + j]
            for j in range(width, COLUMNS):
                packed[base + step * COLUMNS + j] = 0.0


@compiled()
def _multiply_block(
    rows: int, columns: int, depth: int, a: Matrix, b: Matrix, c: Matrix, row: int, edge: Matrix, add: bool
) -> None:
    """Rows row..row+rows-1 of C (+)= packed A · packed B."""
    stride = c.shape[1] * 4
    for column in range(0, columns, COLUMNS):
        b_at = b.ctypes.data + 4 * column * depth
        for panel in range(0, rows, ROWS):
            a_at = a.ctypes.data + 4 * panel * depth
            if panel + ROWS <= rows and column + COLUMNS <= columns:
                c_at = c.ctypes.data + (row + panel) * stride + 4 * column
                _multiply_tile(a_at, b_at, c_at, stride, depth, add)
            else:
                _multiply_tile(a_at, b_at, edge.ctypes.data, 4 * COLUMNS, depth, False)
                for i in range(min(ROWS, rows - panel)):
                    for j in range(min(COLUMNS, columns - column)):
                        value = edge[i * COLUMNS + j]
                        c[row + panel + i, column + j] = c[row + panel + i, column + j] + value if add else value


@compiled()
def run(
    counter: int,
    target: int,
    room: int,
    meeting: int,
    worker: int,
    workers: int,
    a: Matrix,
    b: Matrix,
    c: Matrix,
    packed_a: Matrix,
    packed_b: Matrix,
    edge: Matrix,
) -> tuple[int, int]:
    """A crew's kernel: this worker's rows of C = A·B; the workers share the packing of B and meet at `meeting`."""
    rows, columns = c.shape
    panels = (columns + COLUMNS - 1) // COLUMNS
    groups = (rows + ROWS - 1) // ROWS
    first_row = min(rows, groups * worker // workers * ROWS)
    last_row = min(rows, groups * (worker + 1) // workers * ROWS)
    met = 0
    rendezvous(counter, target)
    start = monotonic_ns(room)
    for k in range(0, a.shape[1], DEPTH):
        depth = min(DEPTH, a.shape[1] - k)
        _pack_columns(b, k, depth, panels * worker // workers, panels * (worker + 1) // workers, packed_b)
        met += workers
        rendezvous(meeting, met)
        for row in range(first_row, last_row, BLOCK_ROWS):
            block = min(BLOCK_ROWS, last_row - row)
            _pack_rows(a, row, block, k, depth, packed_a)
            _multiply_block(block, columns, depth, packed_a, packed_b, c, row, edge, k > 0)
        met += workers
        rendezvous(meeting, met)
    return start, monotonic_ns(room)


class Gemm:
    """Products C = A·B by a crew, with room for its packed panels."""

    def __init__(self, crew: Crew, columns: int) -> None:
        """For any C of at most `columns` columns."""
        self._crew = crew
        self._meeting = np.zeros(32, dtype=np.int64)
        panel_b = -(-columns // COLUMNS) * COLUMNS * DEPTH
        panel_a = BLOCK_ROWS * DEPTH
        line = _LINE // 4
        sizes = [panel_b] + [panel_a, ROWS * COLUMNS] * len(crew.cpus)
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // line) * line
        self._block = Block(4 * total, huge=True)
        views = [
            self._block.array("f4", size, offset_bytes=4 * start) for size, start in zip(sizes, starts, strict=True)
        ]
        self._packed_b, self._own = views[0], list(zip(views[1::2], views[2::2], strict=True))

    def __enter__(self) -> Gemm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()

    def seconds(self, a: Matrix, b: Matrix, c: Matrix) -> float:
        """Write a·b to c, all C-contiguous; seconds from the first worker's start to the last one's end."""
        self._meeting[:] = 0
        workers = len(self._crew.cpus)
        return self._crew.run(
            run,
            [
                (self._meeting.ctypes.data, worker, workers, a, b, c, own[0], self._packed_b, own[1])
                for worker, own in enumerate(self._own)
            ],
        )
