"""The mix, compiled: one pass over the sums instead of ten."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.native import compiled


@compiled()
def mix(x: Any) -> Any:
    """mix32 of one word."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@compiled()
def q8(sums: NDArray[Any], key: Any, step: Any, into: NDArray[Any]) -> None:
    """Q8 of sums (int32, or float32 that hold integers), written to `into` as whatever it stores; both (rows, n).

    key: uint32, of the first row; step: uint32, from one row's key to the next one's.
    """
    for row in range(len(sums)):
        own = np.uint32(key + np.uint32(step * np.uint32(row)))
        line, to = sums[row], into[row]
        for i in range(to.size):
            to[i] = np.int8(mix(np.uint32(np.uint32(np.int32(line[i])) + own)))


@compiled()
def q9(sums: NDArray[Any], key: Any, step: Any, into: NDArray[Any]) -> None:
    """Q9, likewise."""
    for row in range(len(sums)):
        own = np.uint32(key + np.uint32(step * np.uint32(row)))
        line, to = sums[row], into[row]
        for i in range(to.size):
            high = np.uint32(mix(np.uint32(np.uint32(np.int32(line[i])) + own)) >> np.uint32(16))
            # cast once more: numba's difference of two int32 has 64 bits, which halves the speed
            to[i] = np.int32(np.int32(np.uint32(high * np.uint32(511)) >> np.uint32(16)) - np.int32(255))


@compiled()
def memory_step(
    states: NDArray[Any], pool: NDArray[Any], word: Any, key: Any, step: Any, into: NDArray[Any], sums: NDArray[Any]
) -> None:
    """One round of a memory chain for some units: states and into of shape (units, rows, n), pool (tiles, n, n), int8.

    key: of the first unit's first row; sums: room for (rows, n) int32.
    """
    units, rows, n = states.shape
    tiles = np.uint64(pool.shape[0])
    for unit in range(units):
        head = np.uint32(0)
        for byte in range(4):
            head |= np.uint32(np.uint32(np.uint8(states[unit, 0, byte])) << np.uint32(8 * byte))
        tile = pool[np.int64(np.uint64(mix(np.uint32(head ^ word))) * tiles >> np.uint64(32))]
        sums[:] = 0
        # four rows of the tile at a time: sums are loaded and stored a quarter as often, and the tile is read once
        for k in range(0, n, 4):
            w0, w1, w2, w3 = tile[k], tile[k + 1], tile[k + 2], tile[k + 3]
            for row in range(rows):
                x0, x1 = np.int32(states[unit, row, k]), np.int32(states[unit, row, k + 1])
                x2, x3 = np.int32(states[unit, row, k + 2]), np.int32(states[unit, row, k + 3])
                line = sums[row]
                for j in range(n):
                    line[j] += x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
        q8(sums, np.uint32(key + np.uint32(step * np.uint32(unit * rows))), step, into[unit])
