"""The products a CPU has for a chain's rounds: which of them are exact here, and which is the quickest of those."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kernels.chain.arithmetic import BLOCK, ROW_STEP, product, quantise
from kernels.chain.derive import States, Tile
from kernels.chain.params import Params
from kernels.cpu.blas import set_numpy_threads
from kernels.spec import UnsupportedError

#: numbers that make a thread of their own worth while: it takes 30 microseconds to hand work over, and 30 to mix these
SPREAD = 1 << 18
#: of a round: below, numpy is done before torch and numba are loaded, and one thread before another has woken up
PLAIN_OPS, SHARED_OPS = 4e6, 1e7
#: of the product by which the quicker one is found out
TRIAL_ROWS, TRIAL_OPS = 256, 1 << 28

Item = TypeVar("Item")
Quantise = Callable[[NDArray[Any], Any, Any, NDArray[Any]], None]


class Product(Protocol):
    """Rounds by one library."""

    def tile(self, numbers: Tile) -> Any:
        """A tile as this product takes it."""
        ...

    def rounds(self, states: States, tiles: Sequence[Any], keys: Sequence[int], first_row: int | None) -> States:
        """States, shape (m, n), after one round with each of these tiles and keys; `first_row` as Mixer has it."""
        ...


class Mixer:
    """Q over many numbers, by as many threads as are worth while; it knows what products may use, too."""

    def __init__(self, threads: int, *, bf16: bool, plain: bool = False) -> None:
        """`plain`: nothing but numpy."""
        self.plain, self._threads, self._bf16 = plain, threads, bf16
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(threads) if threads > 1 else None
        self._kernel: Quantise = self._by_numpy
        if not plain:
            with suppress(ImportError):  # numba is not installed
                from kernels.chain import jit

                self._kernel = jit.q9 if bf16 else jit.q8

    def threads(self, ops: float) -> int:
        """That are worth while for a round of so many operations."""
        return self._threads if ops >= SHARED_OPS else 1

    def __call__(self, sums: NDArray[Any], key: int, into: NDArray[Any], first_row: int | None) -> None:
        """Write Q of the sums to `into`, both of shape (rows, n) and C-contiguous.

        first_row: the number of the first row, which its key depends on; None = all have one key.
        """
        step = 0 if first_row is None else ROW_STEP
        parts = min(self._threads, sums.size // SPREAD)
        size = -(-len(sums) // parts) if parts > 1 else len(sums)

        def part(at: int) -> None:
            own = key + step * ((first_row or 0) + at) & 0xFFFFFFFF
            self._kernel(sums[at : at + size], np.uint32(own), np.uint32(step), into[at : at + size])

        self.share(part, range(0, len(sums), size))

    def share(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Do `work` on each item, all at the same time."""
        if self._pool is None or len(items) < 2:
            for item in items:
                work(item)
        else:
            list(self._pool.map(work, items))

    def close(self) -> None:
        """Send the threads home."""
        if self._pool:
            self._pool.shutdown()

    def _by_numpy(self, sums: NDArray[Any], key: Any, step: Any, into: NDArray[Any]) -> None:
        keys = (int(key) + int(step) * np.arange(len(sums), dtype=np.uint64)).astype(np.uint32)
        into[:] = quantise(sums, keys, "bf16" if self._bf16 else "int8")


class IntProduct:
    """Integers all the way, by torch; exact where the CPU's instructions do not saturate (see `quickest`)."""

    def __init__(self, mixer: Mixer) -> None:
        """Raises ImportError: torch is not installed, or not wanted."""
        if mixer.plain:
            raise ImportError("nothing but numpy is wanted")
        import torch

        self._torch, self._mixer = torch, mixer

    def tile(self, numbers: Tile) -> Any:
        return self._torch.from_numpy(numbers)

    def rounds(self, states: States, tiles: Sequence[Any], keys: Sequence[int], first_row: int | None) -> States:
        x = np.array(states, order="C")
        sums = np.empty(x.shape, dtype=np.int32)
        left, result = self._torch.from_numpy(x), self._torch.from_numpy(sums)
        self._torch.set_num_threads(self._mixer.threads(2.0 * x.size * x.shape[1]))
        for tile, key in zip(tiles, keys, strict=True):
            self._torch._int_mm(left, tile, out=result)  # noqa: SLF001 - torch's only integer product
            self._mixer(sums, key, x, first_row)
        return x


class FloatProduct:
    """float32 in blocks of K <= 1024, whose sums it holds exactly; by torch where it is installed, else by numpy."""

    def __init__(self, mixer: Mixer) -> None:
        self._mixer, self._threads = mixer, 0
        self._multiply: Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], object]
        self._set_threads: Callable[[int], object] = set_numpy_threads
        self._multiply = lambda left, right, into: np.matmul(left, right, out=into)
        if not mixer.plain:
            with suppress(ImportError):
                import torch

                wrap, self._set_threads = torch.from_numpy, torch.set_num_threads
                self._multiply = lambda left, right, into: torch.mm(wrap(left), wrap(right), out=wrap(into))

    def tile(self, numbers: Tile) -> Any:
        return numbers.astype(np.float32)

    def rounds(self, states: States, tiles: Sequence[Any], keys: Sequence[int], first_row: int | None) -> States:
        x = states.astype(np.float32)
        sums = np.empty_like(x)
        whole = np.empty(x.shape, dtype=np.int32) if x.shape[1] > BLOCK else None
        threads = self._mixer.threads(2.0 * x.size * x.shape[1])
        if threads != self._threads:  # to find numpy's library takes longer than a small round
            self._set_threads(threads)
            self._threads = threads
        for tile, key in zip(tiles, keys, strict=True):
            if whole is None:
                self._multiply(x, tile, sums)
                self._mixer(sums, key, x, first_row)
                continue
            whole[:] = 0
            for k in range(0, x.shape[1], BLOCK):
                self._multiply(x[:, k : k + BLOCK], tile[k : k + BLOCK], sums)
                np.add(whole, sums, out=whole, casting="unsafe")
            self._mixer(whole, key, x, first_row)
        return x.astype(states.dtype)


def quickest(params: Params, mixer: Mixer) -> Product:
    """The quickest product that is exact at the ends of the numbers' ranges.

    Raises:
        UnsupportedError: none is.
    """
    found: list[tuple[float, Product]] = []
    for make in (IntProduct, FloatProduct) if params.arithmetic == "int8" else (FloatProduct,):
        try:
            candidate: Product = make(mixer)
            seconds = _seconds(candidate, params)
        except (ImportError, RuntimeError, NotImplementedError):  # torch has no such product here
            continue
        if seconds is not None:
            found.append((seconds, candidate))
    if not found:
        raise UnsupportedError("no library here multiplies small integers exactly; update torch or numpy")
    return min(found, key=lambda one: one[0])[1]


def _seconds(candidate: Product, params: Params) -> float | None:
    """Seconds of a round of few rows, the least of three; None = one is wrong."""
    rows = max(16, min(params.units, TRIAL_ROWS, TRIAL_OPS // params.n**2))
    least_s = np.inf
    for x, w in extremes(params, rows):
        tile = candidate.tile(w)
        wanted = quantise(product(x, w), 1, params.arithmetic)
        start = time.perf_counter()
        found = candidate.rounds(x, [tile], [1], None)
        least_s = min(least_s, time.perf_counter() - start)
        if not np.array_equal(found, wanted):
            return None
    return float(least_s)


def extremes(params: Params, rows: int) -> Iterator[tuple[States, Tile]]:
    """States, shape (rows, n), and tiles whose products are the largest there are, and random ones."""
    n, bf16 = params.n, params.arithmetic == "bf16"
    low_x, low_w, kind = (-255, -15, np.int16) if bf16 else (-128, -128, np.int8)
    top_x, top_w = (255, 15) if bf16 else (127, 127)
    lowest = np.full((rows, n), low_x, kind)
    yield lowest, np.full((n, n), low_w, np.int8)
    yield lowest, np.full((n, n), top_w, np.int8)
    random = np.random.default_rng(0)
    x = random.integers(low_x, top_x, (rows, n), dtype=kind, endpoint=True)
    yield x, random.integers(low_w, top_w, (n, n), dtype=np.int8, endpoint=True)
