"""Many stretches of different segments redone together: what a verifier spends its seconds on.

Each stretch is a chain of its own and none waits for another, so those that come to need the same tile, in whichever
round, pass through it together: a tile is fetched from memory and turned into float32 once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.chain.arithmetic import BLOCK, TileOf, compute_tile, memory_tiles, product, quantise, row_keys
from kernels.chain.derive import Order, States, Tile, Words
from kernels.chain.params import Params
from kernels.chain.tiles import Tiles

#: rows of a tile that are float32 at a time: 4 MiB of n = 4096, still in a cache when they are read
PIECE = 256


@dataclass(frozen=True, slots=True)
class Stretch:
    """A unit's state and the rounds of a segment that it is to go through."""

    unit: int
    state: States  #: shape (rows, n)
    order: Order
    rounds: range


def replay_many(params: Params, stretches: Sequence[Stretch], tiles: Tiles) -> list[States]:
    """The state, shape (rows, n), that each stretch ends with.

    Beside the tiles (see Tiles) it holds 256 n float32 and a few numbers per element of the states.
    """
    if params.kind == "memory":
        return _by_round(params, stretches, tiles)
    return _by_tile(params, stretches, tiles)


def _by_tile(params: Params, stretches: Sequence[Stretch], tile_of: TileOf) -> list[States]:
    """Compute chains: whichever tile most of them wait for is next."""
    states = [stretch.state for stretch in stretches]
    done = [0] * len(stretches)
    waiting: dict[int, list[int]] = defaultdict(list)

    def queue(which: int) -> None:
        stretch = stretches[which]
        if done[which] < len(stretch.rounds):
            waiting[compute_tile(params, stretch.order, stretch.rounds[done[which]])].append(which)

    for which in range(len(stretches)):
        queue(which)
    while waiting:
        wanted = max(waiting, key=lambda index: len(waiting[index]))
        passing = waiting.pop(wanted)
        sums = _thin_product(np.concatenate([states[which] for which in passing]), tile_of(wanted))
        for row, which in enumerate(passing):
            stretch = stretches[which]
            keys = _keys(params, stretch, stretch.rounds[done[which]])
            states[which] = quantise(sums[row : row + 1], keys, params.arithmetic)
            done[which] += 1
            queue(which)
    return states


def _thin_product(x: States, w: Tile) -> NDArray[np.int32]:
    """x @ w for few rows: `w` becomes float32 piece by piece."""
    n = w.shape[0]
    left = x.astype(np.float32)
    piece = np.empty((min(PIECE, n), n), dtype=np.float32)
    sums, part = np.zeros((len(x), n), dtype=np.int32), np.empty((len(x), n), dtype=np.float32)
    for block in range(0, n, BLOCK):
        whole = np.zeros_like(part)
        for k in range(block, min(block + BLOCK, n), len(piece)):
            np.copyto(piece, w[k : k + len(piece)])
            np.matmul(left[:, k : k + len(piece)], piece, out=part)
            whole += part
        sums += whole.astype(np.int32)
    return sums


def _by_round(params: Params, stretches: Sequence[Stretch], tiles: Tiles) -> list[States]:
    """Memory chains: the tiles of each one's next round are made together, as making one is what takes the time."""
    states = [stretch.state for stretch in stretches]
    for step in range(max((len(stretch.rounds) for stretch in stretches), default=0)):
        going = [which for which, stretch in enumerate(stretches) if step < len(stretch.rounds)]
        chosen = {}
        for which in going:
            stretch = stretches[which]
            number = stretch.rounds[step]
            chosen[which] = int(memory_tiles(params, stretch.order, number, states[which][np.newaxis])[0])
        tiles.prepare(list(chosen.values()))
        for which in going:
            stretch = stretches[which]
            keys = _keys(params, stretch, stretch.rounds[step])
            states[which] = quantise(product(states[which], tiles(chosen[which])), keys, params.arithmetic)
    return states


def _keys(params: Params, stretch: Stretch, number: int) -> Words:
    """Of the rows of its unit in round `number`."""
    return row_keys(params, int(stretch.order.keys[number]), [stretch.unit]).reshape(-1)
