"""Rounds in numpy: exact, and quick enough for a verifier that has nothing else."""

from __future__ import annotations

from collections.abc import Callable
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


def _mixed(sums: NDArray[Any], key: int, into: NDArray[Any], bf16: bool) -> None:
    """One chunk of `quantise`."""
    words = sums.astype(np.int32, copy=False).view(np.uint32) + np.uint32(key)
    mixed = mix32(words)
    if bf16:
        np.right_shift(mixed, np.uint32(16), out=mixed)
        np.multiply(mixed, np.uint32(derive.STATE_SPAN), out=mixed)
        np.right_shift(mixed, np.uint32(16), out=mixed)
        np.subtract(mixed.view(np.int32), derive.STATE_HALF, out=into, casting="unsafe")
    else:
        into[:] = mixed.astype(np.uint8).view(np.int8)


def quantise(sums: NDArray[Any], key: int, arithmetic: str) -> States:
    """Q: sums (integers, in int32 or exactly in a float type) mixed with `key` down to a state's numbers.

    int8: the mix's low byte; bf16: its high half, spread over -255..255 and kept as int16.
    """
    bf16 = arithmetic == "bf16"
    result = np.empty(sums.shape, dtype=np.int16 if bf16 else np.int8)
    flat, into = sums.reshape(-1), result.reshape(-1)
    for at in range(0, flat.size, CHUNK):
        _mixed(flat[at : at + CHUNK], key, into[at : at + CHUNK], bf16)
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


def replay(params: Params, states: States, order: Order, rounds: range, tile_of: TileOf) -> States:
    """The states, shape (units, rows, n), after these rounds of a segment of that order."""
    for number in rounds:
        if params.kind == "compute":
            tile = tile_of(compute_tile(params, order, number))
            sums = product(states[:, 0], tile)[:, np.newaxis]
        else:
            chosen = memory_tiles(params, order, number, states)
            sums = np.stack([product(state, tile_of(int(t))) for state, t in zip(states, chosen, strict=True)])
        states = quantise(sums, int(order.keys[number]), params.arithmetic)
    return states
