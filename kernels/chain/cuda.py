"""Chains on a GPU: products by torch, all else by the kernels of chain.cu; the host only gives each segment's order.

Not run on hardware yet: the kernels are compiled for each architecture and run on a CPU by the tests, and so is this
engine with them. What only a GPU can show: that its tensor cores' float32 sums of bfloat16 are exact in these ranges
(`prepare` finds out and refuses the chain if not), and every speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.chain import arithmetic, derive
from kernels.chain.arithmetic import compute_tile
from kernels.chain.derive import Order
from kernels.chain.engine import DeviceEngine, Engine, Opening
from kernels.chain.launches import Launches, levels_from, padded, raw_states
from kernels.chain.params import Params
from kernels.chain.products import extremes
from kernels.chain.record import CHECKPOINTS, GROUP, Record
from kernels.cuda.library import Gpu, open_gpu
from kernels.spec import UnsupportedError

if TYPE_CHECKING:
    import torch

#: the integer product takes more than 16 rows
LEAST_ROWS = 32
#: of the memory that the tiles leave, for the states that are kept
KEPT_PART = 0.25
#: of tiles that are made together; what lies between is five times as much
MADE_BYTES = 1 << 24
CHECKED_ROWS = 4

Multiply = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], object]


def multiply_int8(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
    """int8 by int8 to int32."""
    import torch

    torch._int_mm(left, right, out=into)  # noqa: SLF001 - torch has no public name for it


def multiply_bf16(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
    """bfloat16 by bfloat16 to float32: no sum is ever rounded to 16 bits, parts of a split K included."""
    import torch

    torch.mm(left, right, out_dtype=torch.float32, out=into)


@dataclass(frozen=True, slots=True)
class Products:
    """What a device multiplies by; tests have others."""

    int8: Multiply = multiply_int8
    bf16: Multiply = multiply_bf16


def open_cuda(index: int) -> Engine:
    """The engine of a GPU.

    Raises:
        UnsupportedError: torch or cupy is not there, or sees no such GPU.
    """
    from kernels.cuda.device import find
    from kernels.cuda.products import require_torch

    count = len(find())
    if index >= count:
        raise UnsupportedError(f"there is no GPU {index}: CUDA shows {count}, numbered from 0")
    where = require_torch(index)

    import torch

    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return engine_of(open_gpu(index), where, enter=lambda: torch.cuda.set_device(index))


def engine_of(
    gpu: Gpu, where: str, *, products: Products | None = None, enter: Callable[[], object] = lambda: None
) -> Engine:
    """The engine of an open GPU.

    Args:
        where: torch's name of it.
        enter: makes it current, as threads have one each.
    """
    return DeviceEngine(_Gpu(gpu, where, products or Products(), enter))


class _Gpu:
    """Implements kernels.chain.engine.Device."""

    def __init__(self, gpu: Gpu, where: str, products: Products, enter: Callable[[], object]) -> None:
        self._gpu, self._where, self._products, self._enter = gpu, where, products, enter

    def enter(self) -> None:
        self._enter()

    def begin(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> _Run:
        import torch

        launches = Launches(self._gpu, self._where)
        room_bytes = self._gpu.free_bytes() - params.pool_bytes * params.item_bytes
        kept = int(room_bytes * KEPT_PART) // (params.units * params.state_bytes)
        record = Record[Any](
            params, seed=seed, challenge=challenge, device=device, checkpoints=max(2, min(CHECKPOINTS, kept))
        )
        try:
            chain = (_Compute if params.kind == "compute" else _Memory)(params, seed, launches, self._products)
            return _Run(record, chain, launches)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise UnsupportedError(f"no room on the GPU for {params.pool_bytes} bytes of tiles: {error}") from error

    def free(self) -> None:
        import torch

        torch.cuda.empty_cache()  # or what the next chain may keep would be reckoned without what this one held


class _Run:
    """Implements kernels.chain.engine.Run."""

    def __init__(self, record: Record[torch.Tensor], chain: _Compute | _Memory, launches: Launches) -> None:
        params = record.params
        self._record, self._chain = record, chain
        self._launches, self._params = launches, params
        self._contexts = launches.upload(record.leaf_context), launches.upload(record.node_context)
        self._digests = launches.empty(2 * params.leaves, 32)
        nothing = Order(np.zeros(params.rounds, np.uint32), np.zeros(params.rounds, np.uint32))
        self._hash(chain.segment(nothing), 0)  # the first launch of each kernel loads it
        launches.synchronize()
        chain.rewind()

    @property
    def segments(self) -> int:
        return self._record.segments

    def advance(self, salt: bytes) -> bytes:
        record = self._record
        order = record.begin(salt)
        if record.wants_state:
            record.keep(self._chain.states.clone())
        self._hash(self._chain.segment(order), record.segments)
        return record.end(*levels_from(self._params, self._digests, record.kept_level))

    def open(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return self._record.open(asked, self._chain)

    def _hash(self, committed: torch.Tensor, segment: int) -> None:
        self._launches.tree(self._params, self._contexts, committed, segment, self._digests)


class _Compute:
    """All units through one tile after the other; implements kernels.chain.record.Replayer."""

    def __init__(self, params: Params, seed: bytes, launches: Launches, products: Products) -> None:
        self._params, self._seed, self._launches = params, seed, launches
        self._bf16 = params.arithmetic == "bf16"
        self._multiply = products.bf16 if self._bf16 else products.int8
        height = max(params.units, LEAST_ROWS)
        self._sums = self._room(height)
        self._few_sums = self._room(LEAST_ROWS)
        for sums in (self._sums, self._few_sums):  # a library may have another kernel for few rows
            _check(params, self._multiply, sums)
        self._tiles = [self._tile(index) for index in range(params.tiles)]
        self.rewind()

    def rewind(self) -> None:
        """Begin with the first states."""
        self.states = padded(self._first(range(self._params.units)), len(self._sums))

    def segment(self, order: Order) -> torch.Tensor:
        """Run a segment; what it commits to."""
        self._advance(self.states, self._sums, 0, order, range(self._params.rounds))
        return self.states

    def part(self, kept: torch.Tensor | None, units: range) -> torch.Tensor:
        some = self._first(units) if kept is None else kept[units.start : units.stop]
        return padded(some, LEAST_ROWS)

    def run(self, part: torch.Tensor, units: range, order: Order, rounds: range) -> torch.Tensor:
        self._advance(part, self._few_sums, units.start, order, rounds)
        return part

    def raw(self, part: torch.Tensor) -> list[bytes]:
        return raw_states(part, min(self._params.units, GROUP))

    def _advance(self, states: torch.Tensor, sums: torch.Tensor, first: int, order: Order, rounds: range) -> None:
        for number in rounds:
            self._multiply(states, self._tiles[compute_tile(self._params, order, number)], sums)
            self._launches.mix(sums, int(order.keys[number]), states, first)

    def _room(self, rows: int) -> torch.Tensor:
        return self._launches.empty(rows, self._params.n, dtype="float32" if self._bf16 else "int32")

    def _first(self, units: range) -> torch.Tensor:
        import torch

        raw = self._launches.stream(self._seed, "state", units, self._params.state_bytes)
        return self._launches.wide(raw) if self._bf16 else raw.view(torch.int8)

    def _tile(self, index: int) -> torch.Tensor:
        import torch

        n = self._params.n
        raw = self._launches.stream(self._seed, "tile", range(index, index + 1), n * n).reshape(n, n)
        return _along(self._launches.small(raw) if self._bf16 else raw.view(torch.int8))


class _Memory:
    """Every unit through the tile that its own state tells; implements kernels.chain.record.Replayer."""

    def __init__(self, params: Params, seed: bytes, launches: Launches, products: Products) -> None:
        self._params, self._seed, self._launches = params, seed, launches
        self._multiply = products.int8
        width = params.rows * params.n
        self._committed = launches.empty(params.commits, params.units, width, dtype="int8")
        self._between = [launches.empty(params.units, width, dtype="int8") for _ in range(2)]
        self._pool = launches.empty(params.tiles, params.n, params.n, dtype="int8")
        self._fill()
        self.rewind()

    def rewind(self) -> None:
        """Begin with the first states."""
        self.states = self._first(range(self._params.units))

    def segment(self, order: Order) -> torch.Tensor:
        """Run a segment; what it commits to."""
        listed, every = self._launches.upload_order(order), self._params.commit_every
        now = self.states
        for number in range(self._params.rounds):
            commit, rest = divmod(number + 1, every)
            then = self._between[number % 2] if rest else self._committed[commit - 1]
            self._launches.step(self._params, self._pool, now, then, listed, number, 0)
            now = then
        self.states = now.clone()  # the next segment's commitments are written over it
        return self._committed

    def part(self, kept: torch.Tensor | None, units: range) -> torch.Tensor:
        return self._first(units) if kept is None else kept[units.start : units.stop].clone()

    def run(self, part: torch.Tensor, units: range, order: Order, rounds: range) -> torch.Tensor:
        listed, then = self._launches.upload_order(order), part.clone()
        for number in rounds:
            self._launches.step(self._params, self._pool, part, then, listed, number, units.start)
            part, then = then, part
        return part

    def raw(self, part: torch.Tensor) -> list[bytes]:
        return raw_states(part, len(part))

    def _first(self, units: range) -> torch.Tensor:
        import torch

        return self._launches.stream(self._seed, "state", units, self._params.state_bytes).view(torch.int8)

    def _fill(self) -> None:
        """Make the pool: each layer multiplies many tiles as one matrix."""
        import torch

        n, count = self._params.n, max(1, min(self._params.tiles, MADE_BYTES // self._params.n**2))
        sums = self._launches.empty(max(count * n, LEAST_ROWS), n, dtype="int32")
        _check(self._params, self._multiply, sums)
        raw = self._launches.stream(self._seed, "layer", range(self._params.depth), n * n)
        layers = [_along(layer) for layer in raw.view(torch.int8).view(-1, n, n)]
        keys = [derive.layer_key(self._seed, index) for index in range(self._params.depth)]
        for first in range(0, self._params.tiles, count):
            some = range(first, min(first + count, self._params.tiles))
            tiles = self._launches.stream(self._seed, "tile", some, n * n).view(torch.int8).view(-1, n)
            for layer, key in zip(layers, keys, strict=True):
                self._multiply(tiles, layer, sums[: len(tiles)])
                self._launches.mix(sums[: len(tiles)], key, tiles, None)
            self._launches.lay(tiles.view(-1, n, n), self._pool, first)


def _along(tile: torch.Tensor) -> torch.Tensor:
    """The same matrix stored column by column, as the integer product of CUDA's libraries wants its right operand."""
    return tile.t().contiguous().t()


def _check(params: Params, multiply: Multiply, sums: torch.Tensor) -> None:
    """Compare products of the largest numbers there are, and of random ones, with what they must be.

    Raises:
        UnsupportedError: one differs.
    """
    import torch

    kind = torch.bfloat16 if sums.is_floating_point() else torch.int8
    for x, w in extremes(params, CHECKED_ROWS):
        left = torch.from_numpy(x).repeat(len(sums) // CHECKED_ROWS, 1).to(sums.device, kind)
        multiply(left, _along(torch.from_numpy(w).to(sums.device, kind)), sums)
        wanted = torch.from_numpy(arithmetic.product(x, w).astype(np.int32)).to(sums.device)
        if not bool((sums.view(-1, CHECKED_ROWS, params.n).to(torch.int32) == wanted).all()):
            raise UnsupportedError(
                f"products of {params.arithmetic} are not exact on this device: whole numbers that their sums can "
                "hold came out wrong"
            )
