"""Our own product: right for every shape, on every number of workers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from kernels.cpu.crew import Crew
from kernels.cpu.gemm import BLOCK_ROWS, COLUMNS, DEPTH, ROWS, Gemm

CPUS = tuple(sorted(os.sched_getaffinity(0)))
SHAPES = [
    (1, 1, 1),
    (ROWS, COLUMNS, DEPTH),  # one tile, no edge
    (ROWS + 1, COLUMNS + 1, DEPTH + 1),  # an edge everywhere
    (2 * BLOCK_ROWS + 5, 2 * COLUMNS - 3, 2 * DEPTH + 7),  # several blocks of A, three of K
    (3, 200, 40),  # fewer rows than workers have tiles
    (256, 256, 256),
]


@pytest.fixture(scope="module", params=[1, 2, 3])
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    """One, two or three workers, on as many CPUs as there are."""
    with Crew([CPUS[place % len(CPUS)] for place in range(request.param)]) as found:
        yield found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_of_small_integers_are_exact(crew: Crew, shape: tuple[int, int, int]) -> None:
    """Integers up to 8 with sums below 2^24 leave fp32 nothing to round: every element must be equal."""
    rows, columns, depth = shape
    random = np.random.default_rng(rows * 31 + columns)
    a = random.integers(-8, 9, (rows, depth)).astype(np.float32)
    b = random.integers(-8, 9, (depth, columns)).astype(np.float32)
    c = np.full((rows, columns), np.nan, dtype=np.float32)

    with Gemm(crew, columns) as gemm:
        seconds = gemm.seconds(a, b, c)

    assert np.array_equal(c, a.astype(np.float64) @ b.astype(np.float64))
    assert seconds > 0


def test_a_product_overwrites_the_one_before(crew: Crew) -> None:
    """The same C again: nothing of its old contents is added, and packed panels are packed anew."""
    a, b = np.eye(300, dtype=np.float32), np.arange(300 * 300, dtype=np.float32).reshape(300, 300)
    c = np.zeros((300, 300), dtype=np.float32)

    with Gemm(crew, 300) as gemm:
        gemm.seconds(a, b, c)
        gemm.seconds(2 * a, b, c)

    assert np.array_equal(c, 2 * b)
