"""Tiles made from a seed: those of compute chains at once, those of memory pools through layers that make them dear."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.chain import derive
from kernels.chain.arithmetic import product, quantise
from kernels.chain.derive import Tile
from kernels.chain.params import Params

KEPT_BYTES = 1 << 28  #: of tiles that were made; all sixteen of n = 4096
MADE_BYTES = 1 << 21  #: of deep tiles that are made at a time; what lies between is eight times as much


class Tiles:
    """The tiles of one seed, made when asked for; the latest are kept, int8, up to `kept_bytes`."""

    def __init__(self, params: Params, seed: bytes, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._params, self._seed = params, seed
        self._room = max(1, kept_bytes // params.n**2)
        self._kept: OrderedDict[int, Tile] = OrderedDict()
        self._layers = [derive.layer(params, seed, index).astype(np.float32) for index in range(params.depth)]
        self._keys = [derive.layer_key(seed, index) for index in range(params.depth)]

    def __call__(self, index: int) -> Tile:
        """Tile `index`."""
        if index not in self._kept:
            tile = self.make([index])[0] if self._layers else derive.tile(self._params, self._seed, index)
            self._keep(index, tile)
        self._kept.move_to_end(index)
        return self._kept[index]

    def prepare(self, indices: Sequence[int]) -> None:
        """Make those deep tiles among `indices` that are not kept, together; as many as there is room for."""
        missing = sorted(set(indices) - self._kept.keys())[: self._room]
        if self._layers:
            for index, tile in zip(missing, self.make(missing), strict=True):
                self._keep(index, tile)

    def make(self, indices: Sequence[int]) -> NDArray[np.int8]:
        """These tiles, shape (len(indices), n, n)."""
        n = self._params.n
        made = np.empty((len(indices), n, n), dtype=np.int8)
        step = max(1, MADE_BYTES // n**2)
        for at in range(0, len(indices), step):
            part = made[at : at + step]
            for place, index in enumerate(indices[at : at + step]):
                part[place] = derive.tile(self._params, self._seed, index)
            rows = part.reshape(-1, n)
            for layer, key in zip(self._layers, self._keys, strict=True):
                rows[:] = quantise(product(rows, layer), key, "int8")
        return made

    def _keep(self, index: int, tile: Tile) -> None:
        while len(self._kept) >= self._room:
            self._kept.popitem(last=False)
        self._kept[index] = tile
