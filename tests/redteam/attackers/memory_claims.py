"""More memory than there is: what does not fit is made anew, fetched from elsewhere, or never looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kernels.chain import derive
from kernels.chain.derive import Tile
from kernels.chain.engine import Engine
from kernels.chain.params import Params
from kernels.chain.tiles import Tiles
from qualify.proof.sizing import POOL_SHARE
from tests.redteam.attack import Attack, ends
from tests.redteam.bout import Bout
from tests.redteam.hardware import H100, MEMORIES, RTX4090, RTX5090, Card, Pace, side_by_side
from tests.redteam.rogue import Rogue

PCIE5, NVLINK = 55e9 * MEMORIES, 450e9 * MEMORIES  #: bytes/s, one way

Missing = Callable[[Card, Params], float]  #: bytes/s at which tiles that do not fit are had


def anew(card: Card, params: Params) -> float:
    """Made from the seed: 2 n operations a byte and layer, on tensor cores that have nothing else to do."""
    return card.int8_ops_per_s / (2 * params.n * params.depth)


def from_host(card: Card, params: Params) -> float:
    return PCIE5


def from_peer(card: Card, params: Params) -> float:
    return NVLINK


def with_too_little(card: Card, had: Missing) -> Pace:
    """As long as the slower of both ways takes: reading what fits, and having the rest, each at its best, at once."""

    def seconds(params: Params, _: int) -> float:
        if params.kind == "compute":
            return card.seconds(params)
        missing = max(0.0, 1 - POOL_SHARE * card.memory_bytes / params.pool_bytes)
        wanted = params.read_bytes_per_segment
        return max((1 - missing) * wanted / card.memory_bytes_per_s, missing * wanted / had(card, params))

    return seconds


def _memory(claim: Card, pace: Pace, engine: Callable[[], Engine] = Rogue) -> Callable[[Bout], str]:
    """Only what the memory phase needs is claimed beside it."""

    def run(bout: Bout) -> str:
        bout.line.claim(replace(claim, bf16_flops=0.0), 1)
        return bout.check(pace, engine)

    return run


class Shallow(Tiles):
    """Tiles that are made through one layer only: cheap to make anew."""

    def make(self, indices: Sequence[int]) -> NDArray[np.int8]:
        self._layers, self._keys = self._layers[:1], self._keys[:1]
        return super().make(indices)


class Folded(Tiles):
    """A quarter of the pool, standing for all of it."""

    def __call__(self, index: int) -> Tile:
        return super().__call__(index % max(1, self._params.tiles // 4))


class WithTiles(Rogue):
    """Reads another pool than it should."""

    def __init__(self, kind: type[Tiles]) -> None:
        self.kind = kind

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        super().prepare(params, seed=seed, challenge=challenge, device=device)
        if params.kind == "memory":
            self.tiles = self.kind(params, seed)


class ChoosesTiles(Rogue):
    """Goes to tiles that it holds instead of those that its states lead to."""

    def work(self, states: derive.States, order: derive.Order, rounds: range) -> derive.States:
        if self.params.kind == "memory":
            order = derive.Order(np.zeros_like(order.words), order.keys)
        return super().work(states, order, rounds)


def _bigger(card: Card, gigabytes: float, **also: float) -> Card:
    return replace(card, memory_bytes=int(gigabytes * 1e9 * MEMORIES), **also)  # type: ignore[arg-type]  # rates are floats


FILLS = "gittensor, whose fill of a GPU's memory follows from (seed, index) and is made as fast as it is read"
SPILLS = "fills of memory that are never read under a clock"

ATTACKS = (
    Attack(
        name="memory-made-anew",
        against=FILLS,
        does="lists an RTX 4090 with 80 GB and makes what does not fit whenever it is read",
        run=_memory(_bigger(RTX4090, 80), with_too_little(RTX4090, anew)),
        ends=ends("below_floor"),
        truth=RTX4090.proves(),
    ),
    Attack(
        name="memory-of-the-host",
        against=SPILLS,
        does="lists an RTX 4090 with 80 GB and reads the rest from the host over PCIe 5",
        run=_memory(_bigger(RTX4090, 80), with_too_little(RTX4090, from_host)),
        ends=ends("below_floor"),
        truth=RTX4090.proves(),
    ),
    Attack(
        name="memory-of-a-peer",
        against=SPILLS,
        does="lists an H100 with an H200's 141 GB and reads the rest from an unlisted neighbour over NVLink",
        run=_memory(_bigger(H100, 141), with_too_little(H100, from_peer)),
        ends=ends("below_floor"),
        truth=H100.proves(),
    ),
    Attack(
        name="slow-and-large",
        against="floors that follow from what is claimed: ours",
        does="lists an RTX 5090 with 56 GB, 10 TOP/s and 150 GB/s, so that tiles made anew are quick enough",
        run=_memory(
            _bigger(RTX5090, 56, int8_ops_per_s=H100.int8_ops_per_s / 164, memory_bytes_per_s=150e9 * MEMORIES),
            with_too_little(RTX5090, anew),
        ),
        ends=ends("below_floor", "pass"),
        truth=RTX5090.proves(),
    ),
    Attack(
        name="shallow-tiles",
        against=FILLS,
        does="makes its tiles through one layer instead of sixteen",
        run=_memory(H100, side_by_side(H100), lambda: WithTiles(Shallow)),
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
    Attack(
        name="a-quarter-of-the-pool",
        against="lium, which filled a matrix of the first card's memory and took the rest on trust",
        does="holds a quarter of the tiles and reads them in place of the others",
        run=_memory(H100, side_by_side(H100), lambda: WithTiles(Folded)),
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
    Attack(
        name="reads-what-is-near",
        against="reads whose order is known beforehand",
        does="goes to tiles that are in the cache instead of those that its states lead to",
        run=_memory(H100, side_by_side(H100), ChoosesTiles),
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
    Attack(
        name="several-small-as-one",
        against="every protocol whose work can be divided by rows: ours too",
        does="lists two RTX 4090 as one card of twice the size; what is listed is what is there, but not on one card",
        run=_memory(
            replace(
                RTX4090,
                int8_ops_per_s=2 * RTX4090.int8_ops_per_s,
                memory_bytes=2 * RTX4090.memory_bytes,
                memory_bytes_per_s=2 * RTX4090.memory_bytes_per_s,
            ),
            lambda params, _: RTX4090.seconds(params) / 2,
        ),
        ends=ends("pass"),
        truth=RTX4090.proves(2),
    ),
)
