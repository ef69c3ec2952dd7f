"""A product by torch or numpy and nothing of ours: `python -m tests.bench.direct_matmul torch float32 1536 20`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

WARM_CALLS = 3


def by_torch(dtype: str, side: int) -> Callable[[], object]:
    """A call that multiplies two matrices of N(0, 1)."""
    import torch

    left, right = (torch.randn(side, side, dtype=getattr(torch, dtype)) for _ in range(2))
    result = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=result)


def by_numpy(dtype: str, side: int) -> Callable[[], object]:
    """A call that multiplies two matrices of N(0, 1)."""
    import numpy as np

    random = np.random.default_rng(1)
    left, right = (random.standard_normal((side, side)).astype(dtype) for _ in range(2))
    result = np.empty_like(left)
    return lambda: np.matmul(left, right, out=result)


def main(library: str, dtype: str, side: int, calls: int) -> None:
    """Print the median FLOP/s of `calls` calls."""
    call = (by_torch if library == "torch" else by_numpy)(dtype, side)
    for _ in range(WARM_CALLS):
        call()
    rates = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        rates.append(2 * side**3 / (time.perf_counter() - start))
    print(json.dumps({"median": median(rates), "best": max(rates)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
