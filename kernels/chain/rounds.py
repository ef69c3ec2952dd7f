"""A CPU's rounds: compute chains by a library's product, memory chains by steps through a pool in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.chain import arithmetic, derive
from kernels.chain.arithmetic import compute_tile
from kernels.chain.derive import Order, States, Words
from kernels.chain.params import Params
from kernels.chain.products import Mixer, quickest
from kernels.spec import UnsupportedError

#: of tiles that are made together; what lies between is five times as much
MADE_BYTES = 1 << 22


class Compute:
    """All units through one tile after the other."""

    def __init__(self, params: Params, seed: bytes, mixer: Mixer) -> None:
        self._params = params
        self._product = quickest(params, mixer)
        self._tiles = [self._product.tile(derive.tile(params, seed, index)) for index in range(params.tiles)]

    def run(self, states: States, units: range, order: Order, rounds: range) -> States:
        """The states of these units, shape (units, 1, n), after these rounds."""
        tiles = [self._tiles[compute_tile(self._params, order, number)] for number in rounds]
        keys = [int(order.keys[number]) for number in rounds]
        return self._product.rounds(states[:, 0], tiles, keys, units.start)[:, np.newaxis]


class Memory:
    """Every unit through the tile that its own state tells."""

    def __init__(self, params: Params, seed: bytes, mixer: Mixer) -> None:
        """Makes the whole pool.

        Raises:
            UnsupportedError: there is no room for it.
        """
        self._params, self._mixer = params, mixer
        try:
            self._pool = np.empty((params.tiles, params.n, params.n), dtype=np.int8)
        except MemoryError as error:
            raise UnsupportedError(f"no room for a pool of {params.pool_bytes} bytes") from error
        self._fill(seed)
        self._step: Callable[..., None] | None = None
        if not mixer.plain:
            with suppress(ImportError):  # numba is not installed
                from kernels.chain import jit

                self._step = jit.memory_step

    def run(self, states: States, units: range, order: Order, rounds: range) -> States:
        """The states of these units, shape (units, rows, n), after these rounds."""
        if self._step is None:
            return arithmetic.replay(self._params, states, order, rounds, self._pool.__getitem__, units=units)
        now, then = np.array(states, order="C"), np.empty(states.shape, dtype=np.int8)
        for number in rounds:
            keys = arithmetic.row_keys(self._params, int(order.keys[number]), units)[:, 0]
            self._advance(self._step, now, then, order.words[number], keys)
            now, then = then, now
        return now

    def _advance(self, step: Callable[..., None], now: States, then: States, word: Any, keys: Words) -> None:
        def part(cut: slice) -> None:
            sums = np.empty(now.shape[1:], dtype=np.int32)
            step(now[cut], self._pool, word, keys[cut.start], np.uint32(arithmetic.ROW_STEP), then[cut], sums)

        size = -(-len(now) // self._mixer.threads(2.0 * now.size * now.shape[2]))
        self._mixer.share(part, [slice(at, at + size) for at in range(0, len(now), size)])

    def _fill(self, seed: bytes) -> None:
        params, n = self._params, self._params.n
        # a layer multiplies many tiles as a round of a compute chain multiplies many states
        product = quickest(replace(params, kind="compute", units=MADE_BYTES // n**2 * n), self._mixer)
        layers = [product.tile(derive.layer(params, seed, index)) for index in range(params.depth)]
        keys = [derive.layer_key(seed, index) for index in range(params.depth)]
        step = max(1, MADE_BYTES // n**2)
        for at in range(0, params.tiles, step):
            part: NDArray[np.int8] = self._pool[at : at + step]
            for place in range(len(part)):
                part[place] = derive.tile(params, seed, at + place)
            part[:] = product.rounds(part.reshape(-1, n), layers, keys, None).reshape(part.shape)
