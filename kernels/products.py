"""Random square matrices, their products by each library, and the check of what came out."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels.spec import Variant, WrongResultError

if TYPE_CHECKING:
    import torch

    from kernels.device import Device
    from kernels.freivalds import Freivalds

POOL = 3  # random matrices; the pairs (0, 1), (1, 2), (2, 0) are multiplied in turn, so none stays in a cache
SAMPLED_ROWS = 16  # of an integer product, compared element by element beside the check of the whole
SIDES = (256, 512, 768, 1024, 1280, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
MEMORY_PART = 0.25  # of what is available, for pool and result
SLOWEST_CALL_S = 0.3  # a call this slow leaves too few samples; smaller matrices are taken then
ROWS_TRIED = (8, 64, 512)


@dataclass(frozen=True, slots=True)
class Kind:
    """A precision: how it is stored and summed, and how much work makes one call."""

    stored: str  #: torch's name
    accumulated: str  #: the type sums are kept in
    item_bytes: int  #: of the larger of operand and result
    thread_flops: float  #: of one call and thread, at most: 40 to 80 ms of a core with wide vectors


FP32 = Kind("float32", "float32", 4, 5e9)
FP64 = Kind("float64", "float64", 8, 3e9)
BF16 = Kind("bfloat16", "float32", 2, 1e10)
INT8 = Kind("int8", "int32", 4, 2e10)
TRIED = (BF16, INT8)  #: what a CPU may do so slowly that the time of a call must be found out first


@dataclass(frozen=True, slots=True)
class Libraries:
    """How the libraries were set up."""

    threads: int
    numpy_threads: int | None  #: None = numpy's BLAS cannot be told
    torch_isa: str  #: the vector instructions torch chose
    settle_s: float  #: after which the idle threads of one library leave the CPUs to another

    def have_numpy(self, kind: Kind) -> bool:
        """Whether numpy multiplies this kind with the threads asked for."""
        return kind in (FP32, FP64) and self.numpy_threads == self.threads


class Operands:
    """Random square matrices of one kind, multiplied pair by pair."""

    def __init__(self, kind: Kind, side: int, *, seed: int) -> None:
        import torch

        self.side = side
        self.flops = 2 * side**3  #: of one product
        self._kind = kind
        generator = torch.Generator().manual_seed(seed)
        self._pool = [_random(kind.stored, side, generator) for _ in range(POOL)]
        result = "int32" if kind.stored == "int8" else kind.stored
        self.result = torch.zeros(side, side, dtype=getattr(torch, result))
        self._turn = 0  # the pair multiplied last
        self._seed = seed
        self._checks: dict[int, Freivalds] = {}

    def next_pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The operands of the next product."""
        self._turn = (self._turn + 1) % POOL
        return self._pair()

    def by_torch(self) -> None:
        """The next product, by torch."""
        left, right = self.next_pair()
        multiply(left, right, self.result)

    def by_numpy(self) -> None:
        """The next product, by numpy."""
        import numpy as np

        left, right = self.next_pair()
        np.matmul(left.numpy(), right.numpy(), out=self.result.numpy())

    def check(self) -> None:
        """Check the result against the pair multiplied last, then spoil it so that each check needs a new product.

        Raises:
            WrongResultError: it is not their product.
        """
        from kernels.freivalds import Freivalds

        left, right = self._pair()
        if self._turn not in self._checks:
            self._checks[self._turn] = Freivalds(left, right, seed=self._seed)
        self._checks[self._turn].check(self.result, accumulated=self._kind.accumulated)
        if not self.result.is_floating_point():
            _compare_rows(left, right, self.result)
        self.spoil()

    def spoil(self) -> None:
        """Make the result wrong, so that it must be computed anew."""
        self.result.fill_(math.nan if self.result.is_floating_point() else -1)

    def _pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._pool[self._turn], self._pool[(self._turn + 1) % POOL]


class Turns:
    """Times the calls of libraries whose idle threads would take the CPUs from one another.

    Workers of OpenBLAS and OpenMP spin for a while after their last work: with all CPUs in use, whoever comes next is
    halved. So a change of library first waits until they sleep.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._last = ""

    def clock(self, variant: Variant, calls: int) -> float:
        """Seconds of `calls` calls in a row; the label's first word names the library."""
        library = variant.label.partition(" ")[0]
        if library != self._last:
            time.sleep(self._settle_s)
            self._last = library
        start = time.perf_counter()
        for _ in range(calls):
            variant.call()
        return time.perf_counter() - start


def set_up(threads: int) -> Libraries:
    """Give torch and numpy as many threads; to be called before either is imported, for short waits between them."""
    from kernels.cpu.blas import set_numpy_threads, shorten_spins

    settle_s = shorten_spins(os.environ)

    import torch

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    isa = torch.backends.cpu.get_cpu_capability()
    return Libraries(threads, set_numpy_threads(threads), str(isa), settle_s)


def sides(kind: Kind, device: Device, *, seed: int) -> list[int]:
    """Sides whose products are neither too long for a sample nor too large for the memory, largest first.

    Raises:
        RuntimeError, NotImplementedError: torch cannot multiply this kind here.
    """
    room = math.inf if device.memory_bytes is None else device.memory_bytes * MEMORY_PART
    fitting = [
        side
        for side in SIDES
        if 2 * side**3 <= kind.thread_flops * device.threads and (POOL + 1) * kind.item_bytes * side**2 <= room
    ] or [SIDES[0]]
    if kind in TRIED:
        limit = _affordable_side(kind, fitting[-1], seed)
        fitting = [side for side in fitting if side <= limit] or [SIDES[0]]
    return fitting[::-1]


def _affordable_side(kind: Kind, side: int, seed: int) -> int:
    """The side whose product takes SLOWEST_CALL_S, from the time that ever more rows of one take; `side` at most.

    A CPU without instructions for a type may be a thousand times slower than one with them.
    """
    operands = Operands(kind, side, seed=seed)
    left, right = operands.next_pair()
    call_s = math.inf
    for rows in ROWS_TRIED:
        start = time.perf_counter()
        multiply(left[:rows], right, operands.result[:rows])
        lasted_s = time.perf_counter() - start
        call_s = lasted_s * max(1.0, side / rows)
        if call_s <= SLOWEST_CALL_S:
            return side
        if lasted_s > SLOWEST_CALL_S / 3:
            break
    return int(side * (SLOWEST_CALL_S / call_s) ** (1 / 3))


def multiply(left: torch.Tensor, right: torch.Tensor, result: torch.Tensor) -> None:
    """Write left·right to result, by torch."""
    import torch

    if left.dtype == torch.int8:
        torch._int_mm(left, right, out=result)  # noqa: SLF001 - torch's only integer product; there is no public one
    else:
        torch.mm(left, right, out=result)


def _random(stored: str, side: int, generator: torch.Generator) -> torch.Tensor:
    import torch

    if stored == "int8":
        return torch.empty(side, side, dtype=torch.int8).random_(-128, 128, generator=generator)
    drawn = torch.float32 if stored == "bfloat16" else getattr(torch, stored)
    return torch.empty(side, side, dtype=drawn).normal_(generator=generator).to(getattr(torch, stored))


def _compare_rows(left: torch.Tensor, right: torch.Tensor, result: torch.Tensor) -> None:
    """Compare evenly spaced rows of an integer product with their exact value, element by element."""
    rows = slice(0, None, max(1, left.shape[0] // SAMPLED_ROWS))
    wrong = int((left[rows].double() @ right.double() != result[rows].double()).sum())
    if wrong:
        raise WrongResultError(f"{wrong} elements of {SAMPLED_ROWS} rows of the integer product are not exact")
