"""Rounds in numpy: exact, and quick enough for a verifier that has nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.chain import derive
from kernels.chain.derive import Order, States, Tile, Words
from kernels.chain.params import Params

#: 128 * 128 * 1024 = 2^24, up to which float32 holds every integer: the sum over so many products is exact in any order
BLOCK = 1024
#: numbers mixed at a time, so that what comes between stays in a core's cache
CHUNK = 1 << 16
#: between the keys of neighbouring rows: odd, so that no two of 2^32 are the same; the golden ratio's bits
ROW_STEP = 0x9E3779B1

TileOf = Callable[[int], Tile]


def mix32(x: Words) -> Words:
    """A bijection of 32-bit words, in place (lowbias32 by C. Wellons, "Prospecting for Hash Functions", 2018)."""
    rest = np.empty_like(x)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 0)):
        np.right_shift(x, np.uint32(shift), out=rest)
        np.bitwise_xor(x, rest, out=x)
        if factor:
            np.multiply(x, np.uint32(factor), out=x)
    return x


def row_keys(params: Params, key: int, units: Sequence[int] | NDArray[np.int64]) -> Words:
    """The key of each row, shape (len(units), rows): the round's and the row's own number among all of the device.

    Were they one, rows that were once made equal would stay equal, and one lie would spare all work but one row's.
    """
    firsts = np.asarray(units, dtype=np.int64)[:, np.newaxis] * params.rows
    numbers = (firsts + np.arange(params.rows)).astype(np.uint32)
    return numbers * np.uint32(ROW_STEP) + np.uint32(key)


def _mixed(sums: NDArray[Any], keys: Words, into: NDArray[Any], bf16: bool) -> None:
    """Some rows of `quantise`; keys of shape (rows, 1)."""
    mixed = mix32(sums.astype(np.int32, copy=False).view(np.uint32) + keys)
    if bf16:
        np.right_shift(mixed, np.uint32(16), out=mixed)
        np.multiply(mixed, np.uint32(derive.STATE_SPAN), out=mixed)
        np.right_shift(mixed, np.uint32(16), out=mixed)
        np.subtract(mixed.view(np.int32), derive.STATE_HALF, out=into, casting="unsafe")
    else:
        into[:] = mixed.astype(np.uint8).view(np.int8)


def quantise(sums: NDArray[Any], keys: int | Words, arithmetic: str) -> States:
    """Q: sums (integers, in int32 or exactly in a float type) mixed with a key down to a state's numbers.

    int8: the mix's low byte; bf16: its high half, spread over -255..255 and kept as int16.

    Args:
        sums: shape (..., n).
        keys: one for all, or one for each row: shape (...).
    """
    bf16, n = arithmetic == "bf16", sums.shape[-1]
    result = np.empty(sums.shape, dtype=np.int16 if bf16 else np.int8)
    rows, into = sums.reshape(-1, n), result.reshape(-1, n)
    per_row = np.broadcast_to(np.asarray(keys, dtype=np.uint32), sums.shape[:-1]).reshape(-1, 1)
    step = max(1, CHUNK // n)
    for at in range(0, len(rows), step):
        _mixed(rows[at : at + step], per_row[at : at + step], into[at : at + step], bf16)
    return result


def product(x: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    """x @ w, exactly: shapes (m, n) and (n, n), of numbers as chains have them."""
    n = w.shape[0]
    if n <= BLOCK:
        return np.asarray(x.astype(np.float32) @ w.astype(np.float32))
    sums = np.zeros((x.shape[0], w.shape[1]), dtype=np.int32)
    for k in range(0, n, BLOCK):
        left, right = x[:, k : k + BLOCK].astype(np.float32), w[k : k + BLOCK].astype(np.float32)
        sums += (left @ right).astype(np.int32)
    return sums


def compute_tile(params: Params, order: Order, number: int) -> int:
    """The tile that round `number` of a compute chain multiplies by."""
    return int(order.words[number]) * params.tiles >> 32


def memory_tiles(params: Params, order: Order, number: int, states: States) -> NDArray[np.int64]:
    """The tile of each unit in round `number`: only its state tells, so none can be read ahead."""
    heads = np.ascontiguousarray(states[:, 0, :4]).view("<u4").reshape(-1).astype(np.uint32)
    chosen = mix32(heads ^ order.words[number]).astype(np.uint64) * np.uint64(params.tiles)
    return (chosen >> np.uint64(32)).astype(np.int64)


def replay(
    params: Params, states: States, order: Order, rounds: range, tile_of: TileOf, *, units: Sequence[int] | None = None
) -> States:
    """The states, shape (units, rows, n), after these rounds of a segment of that order.

    Args:
        units: the number of each; None = they are all that the device has.

    Raises:
        ValueError: not one number for each.
    """
    numbers = range(params.units) if units is None else units
    if len(numbers) != len(states):
        raise ValueError(f"{len(states)} states need as many units, got {len(numbers)}")
    for number in rounds:
        if params.kind == "compute":
            tile = tile_of(compute_tile(params, order, number))
            sums = product(states[:, 0], tile)[:, np.newaxis]
        else:
            chosen = memory_tiles(params, order, number, states)
            sums = np.stack([product(state, tile_of(int(t))) for state, t in zip(states, chosen, strict=True)])
        states = quantise(sums, row_keys(params, int(order.keys[number]), numbers), params.arithmetic)
    return states
