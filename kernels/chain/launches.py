"""The kernels of chain.cu, launched on torch's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.chain.arithmetic import ROW_STEP
from kernels.chain.derive import BLOCK_BYTES, Order, key_of
from kernels.chain.merkle import DIGEST_BYTES
from kernels.chain.params import Params
from kernels.cuda.library import Gpu

if TYPE_CHECKING:
    import torch

THREADS = 256  #: of a block
STEP_ROWS = (16, 8, 4, 2, 1)  #: that a thread of a step takes at a time


class Launches:
    """Queues our kernels on the default stream of a GPU, which is torch's too unless it is told otherwise."""

    def __init__(self, gpu: Gpu, where: str) -> None:
        """`where`: torch's name of the device."""
        import torch

        self._torch, self._gpu = torch, gpu
        self.where = where

    def empty(self, *shape: int, dtype: str = "uint8") -> torch.Tensor:
        """Room on the device; holds anything."""
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=self.where)

    def upload(self, raw: bytes) -> torch.Tensor:
        """A copy of these bytes on the device."""
        return self._torch.frombuffer(bytearray(raw), dtype=self._torch.uint8).to(self.where)

    def stream(self, seed: bytes, label: str, indices: range, each_bytes: int) -> torch.Tensor:
        """The begin of each of these streams, shape (len(indices), each_bytes); a multiple of 64 bytes."""
        out = self.empty(len(indices), each_bytes)
        key, blocks = self.upload(key_of(label, seed)), out.numel() // BLOCK_BYTES
        self._launch("chain_stream", blocks, out, key, blocks, each_bytes // BLOCK_BYTES, indices.start)
        return out

    def small(self, raw: torch.Tensor) -> torch.Tensor:
        """Bytes as a bf16 chain's tiles hold them."""
        out = self.empty(*raw.shape, dtype="bfloat16")
        self._launch("chain_small", out.numel(), raw, out, out.numel())
        return out

    def wide(self, raw: torch.Tensor) -> torch.Tensor:
        """16-bit words, given as bytes, as a bf16 chain's states hold them."""
        out = self.empty(len(raw), raw.shape[1] // 2, dtype="bfloat16")
        self._launch("chain_wide", out.numel(), raw, out, out.numel())
        return out

    def mix(self, sums: torch.Tensor, key: int, into: torch.Tensor, first_row: int | None) -> None:
        """Q8 of int32 sums to int8, or Q9 of float32 sums to bfloat16; shape (rows, n).

        first_row: the number of the first row, which its key depends on; None = all have one key.
        """
        kernel = "chain_q9" if sums.is_floating_point() else "chain_q8"
        quads, step = sums.numel() // 4, 0 if first_row is None else ROW_STEP
        shift = (sums.shape[1] // 4).bit_length() - 1  # of an item's number, which leaves its row's
        self._launch(kernel, quads, sums, into, quads, key + step * (first_row or 0) & 0xFFFFFFFF, step, shift)

    def lay(self, tiles: torch.Tensor, pool: torch.Tensor, first: int) -> None:
        """Write tiles, shape (count, n, n), to the pool in the layout that `step` reads, from tile `first` on."""
        count, n, _ = tiles.shape
        items = count * n * n // 16
        self._launch("chain_lay", items, tiles, pool[first : first + count], items, n)

    def step(
        self,
        params: Params,
        pool: torch.Tensor,
        now: torch.Tensor,
        then: torch.Tensor,
        order: torch.Tensor,
        number: int,
        first_unit: int,
    ) -> None:
        """Round `number` of a memory chain for the units from `first_unit` on.

        now and then: shape (units, rows * n); order: as `upload_order` made it.
        """
        units = len(now)
        rows = next(rows for rows in STEP_ROWS if params.rows % rows == 0)
        sizes = (number, units, params.rows, params.n, params.tiles, first_unit)
        self._launch(f"chain_step_{rows}", units * params.n, now, pool, then, order, *sizes)

    def upload_order(self, order: Order) -> torch.Tensor:
        """Words and keys by turns, as 32-bit words."""
        return self.upload(np.stack([order.words, order.keys], axis=1).astype("<u4").tobytes())

    def tree(
        self, params: Params, contexts: tuple[torch.Tensor, torch.Tensor], states: torch.Tensor, segment: int,
        digests: torch.Tensor,
    ) -> None:  # fmt: skip
        """Hash committed states, shape (commits, units, ...), to all levels of the segment's tree, one after the other.

        Args:
            contexts: of leaves and of nodes.
            digests: room for 2 * leaves digests.
        """
        fours = params.state_bytes // 16
        wide = int(params.arithmetic == "bf16")
        leaf, node = contexts
        self._launch(
            "chain_leaves", params.leaves, states, leaf, digests, params.leaves, params.commits, fours, segment, wide
        )
        below, nodes = 0, params.leaves // 2
        while nodes:
            above = below + 2 * nodes
            self._launch("chain_nodes", nodes, digests[below:], node, digests[above:], nodes)
            below, nodes = above, nodes // 2

    def synchronize(self) -> None:
        """Return when all that was queued is done."""
        self._gpu.synchronize()

    def _launch(self, kernel: str, items: int, *arguments: torch.Tensor | int) -> None:
        given = [
            np.uint64(one) if isinstance(one, int) else np.uint64(one.data_ptr()) for one in arguments
        ]  # addresses: torch's memory is not cupy's
        self._gpu.launcher("chain", kernel, -(-items // THREADS), THREADS, *given)()


def levels_from(params: Params, digests: torch.Tensor, level: int) -> tuple[bytes, bytes]:
    """The digests of one level, and the root, of what `tree` has written."""
    first = sum(params.leaves >> below for below in range(level))
    tail = bytes(digests[first : 2 * params.leaves - 1].cpu().numpy())
    return tail[: (params.leaves >> level) * DIGEST_BYTES], tail[-DIGEST_BYTES:]


def raw_states(states: torch.Tensor, count: int) -> list[bytes]:
    """The first `count` states as they are hashed and sent."""
    import torch

    some: Any = states[:count]
    stored = some.to(torch.int16) if some.is_floating_point() else some
    return [line.astype(line.dtype.newbyteorder("<")).tobytes() for line in stored.cpu().numpy()]


def padded(states: torch.Tensor, height: int) -> torch.Tensor:
    """A copy with rows of zeros up to `height`."""
    import torch

    room = torch.zeros(height - len(states), *states.shape[1:], dtype=states.dtype, device=states.device)
    return torch.cat([states, room])
