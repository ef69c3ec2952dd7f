"""Our own product on a GPU, by numba's simulator: a pytest call of its own, as numba must be told before it is loaded.

    NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/kernels/cuda/simulated.py

tests/kernels/cuda/test_gemm.py makes that call.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 in the environment", allow_module_level=True)

from numba import cuda

from kernels.cuda.gemm import DEPTH, EACH, grid, kernel

SIDE = 8  #: the fewest threads a side that the kernel knows: the simulator runs each in a thread of the host
TILE = SIDE * EACH
SHAPES = [
    (TILE, TILE, DEPTH),  # one tile, no edge
    (TILE + 1, TILE + 3, DEPTH + 1),  # an edge everywhere: four blocks, two steps
    (1, 1, 1),
    (TILE - 1, 5, 2 * DEPTH),  # narrow
]


def product(a: Any, b: Any, c: Any) -> None:
    """c = aᵀ·b."""
    cuda.jit(kernel(SIDE))[grid(c.shape, SIDE), (SIDE, SIDE)](a, b, c)


def integers(shape: tuple[int, int], seed: int) -> Any:
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_of_small_integers_are_exact(shape: tuple[int, int, int]) -> None:
    """fp32 has nothing to round in them; what C held before is gone. An index beyond an array is an error here."""
    m, n, k = shape
    a, b = integers((k, m), 1), integers((k, n), 2)
    c = np.full((m, n), np.nan, dtype=np.float32)

    product(a, b, c)

    assert np.array_equal(c, a.T.astype(np.float64) @ b.astype(np.float64))


def test_sums_are_kept_in_single_precision() -> None:
    """2^24 + 1 + 1 is 2^24 when each sum is rounded to 24 bits, and 2^24 + 2 in double."""
    a = np.array([[2.0**24], [1], [1]], dtype=np.float32)
    c = np.zeros((1, 1), dtype=np.float32)

    product(a, np.ones((3, 1), dtype=np.float32), c)

    assert c[0, 0] == 2.0**24


def test_a_block_writes_its_own_tile_only() -> None:
    """Of two by two blocks each tile is what that block alone should write."""
    m = n = TILE + 2
    a, b = np.ones((1, m), dtype=np.float32), np.arange(n, dtype=np.float32).reshape(1, n)
    c = np.zeros((m, n), dtype=np.float32)

    product(a, b, c)

    assert np.array_equal(c, np.tile(np.arange(n, dtype=np.float32), (m, 1)))
