"""A pointer chase on a GPU: one thread, one random cycle, a working set per level of the memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.cpu.chase import Cycle
from kernels.cuda.library import Gpu
from kernels.spec import WrongResultError

NODE_BYTES = 128  # a cache line of every GPU: four sectors, of which one is loaded
LAY_SHAPE = (64, 256)


class Walk:
    """A cycle laid out on a device; walks go on where the last ended."""

    def __init__(self, gpu: Gpu, cycle: Cycle, *, near: bool, warm: int, hops: int) -> None:
        """`near`: through the first-level cache; `warm` and `hops` (a multiple of 8): of one call."""
        self._gpu, self._cycle = gpu, cycle
        self.warm, self.hops = warm, hops
        count = len(cycle.order)
        self.bytes = count * NODE_BYTES
        words = NODE_BYTES // 8
        self._nodes = gpu.empty(count * words, "uint64")
        self._begin = gpu.address(self._nodes)
        successor = gpu.upload(cycle.order)
        gpu.launcher("chase", "chase_lay", *LAY_SHAPE, self._nodes, successor, np.uint64(count), np.uint64(words))()
        self._state = gpu.upload(np.array([self._begin, 0], dtype=np.uint64))
        self._kernel = "chase_near" if near else "chase_far"
        self._step = self._launcher(warm, hops)
        self._walked = 0
        self.context: dict[str, object] = {"working_set_bytes": self.bytes, "node_bytes": NODE_BYTES, "hops": hops}

    def call(self) -> None:
        """Queue one walk."""
        self._step()
        self._walked += self.warm + self.hops

    def round(self) -> None:
        """Queue a walk around the whole cycle, so that it is in the cache it fits in."""
        count = -(-len(self._cycle.order) // 8) * 8
        self._launcher(0, count)()
        self._walked += count

    def check(self) -> None:
        """Compare where the walk stands with where that many hops lead; keep the cycles that a hop took.

        Raises:
            WrongResultError: it stands elsewhere.
        """
        at, cycles = (int(value) for value in self._gpu.download(self._state))
        node, rest = divmod(at - self._begin, NODE_BYTES)
        count = len(self._cycle.order)
        wanted = self._walked % count
        if rest or not 0 <= node < count or self._cycle.rank(node) != wanted:
            raise WrongResultError(
                f"after {self._walked} hops the chase stands at byte {at - self._begin} of {self.bytes}, which is not "
                f"{wanted} hops from its begin; a load returned what was never stored"
            )
        self.context["cycles_per_hop"] = cycles / self.hops

    def _launcher(self, warm: int, hops: int) -> Callable[[], None]:
        return self._gpu.launcher("chase", self._kernel, 1, 32, self._state, np.uint64(warm), np.uint64(hops))
