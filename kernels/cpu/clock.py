"""The clock a core really runs at, from a chain of additions that each take one cycle."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from kernels.cpu.native import assembly, compiled, emitted, monotonic_ns

# An addition of two registers waits one cycle for its operand on every x86-64 CPU since the K8 and the Core 2 (A. Fog,
# Instruction tables, https://www.agner.org/optimize/instruction_tables.pdf; https://uops.info) and on every Arm core
# from Cortex-A53 to Neoverse V2 (Arm's software optimization guides). Additions of a constant are no such measure: some
# cores fold them while they rename registers, in no time at all.
CHAIN = {
    "x86_64": ("addq $1, $0\n", "=r,r,0,~{flags}"),
    "AMD64": ("addq $1, $0\n", "=r,r,0,~{flags}"),
    "aarch64": ("add $0, $0, $1\n", "=r,r,0"),
}
LINKS = 256  # additions emitted in a row; the loop around them costs nothing beside the chain
TURNS = 1200  # of the loop in a segment: 300 000 cycles, about 0.1 ms
SEGMENTS = 10


@emitted(types.int64, types.int64, types.int64)
def _chain(builder: ir.IRBuilder, start: ir.Value, addend: ir.Value) -> ir.Value:
    """`start` after LINKS dependent additions of `addend`."""
    text, constraints = CHAIN[platform.machine()]
    word = ir.IntType(64)
    return assembly(builder, ir.FunctionType(word, [word, word]), text * LINKS, constraints, [addend, start])


@compiled()
def _fastest_ns(turns: int, segments: int, room: int) -> np.int64:
    """The shortest time of `segments` stretches of `turns` chains each, ns."""
    fastest = np.int64(1) << 62
    value = 0
    for _ in range(segments):
        start = monotonic_ns(room)
        for turn in range(turns):
            value = _chain(value, turn)
        fastest = min(fastest, monotonic_ns(room) - start)
    return fastest


def core_clock_hz() -> float | None:
    """The clock of the core this thread runs on, now, in about a millisecond; None on an architecture unknown to us.

    Whatever interrupts the chain makes it longer, so the shortest of ten stretches counts: preemption does not, as long
    as one stretch of 0.1 ms was left alone.
    """
    if platform.machine() not in CHAIN:
        return None
    room: np.ndarray[Any, Any] = np.zeros(2, dtype=np.int64)
    nanoseconds = int(_fastest_ns(TURNS, SEGMENTS, room.ctypes.data))
    return LINKS * TURNS / (nanoseconds * 1e-9)
