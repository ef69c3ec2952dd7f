"""An exhaustive search over product shapes: what our choice of a few has to come near.

In the manner of mamf-finder (stas00/ml-engineering, compute/accelerator/benchmarks): every m, n and k of a grid is
tried for a few calls. The order is shuffled, so a search that ends early has seen a fair part of the grid; the best of
it are then timed for longer, or luck would win.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from kernels.cuda.products import PRECISIONS, obstacle
from kernels.spec import BenchError
from tests.gpu.bench import goals
from tests.gpu.bench.ground import Clock, Ground
from tests.gpu.bench.parts import guarded, release
from tests.gpu.bench.reference import Product
from tests.gpu.bench.rows import Pair, Row, skipped

Shape = tuple[int, int, int]
SIDES = tuple(range(1024, 16385, 512))
DEPTHS = tuple(range(1024, 16385, 1024))
CALLS = 5
KEPT = 8
FINAL_PART = 0.15  # of the time, for the best of them


@dataclass(frozen=True, slots=True)
class Best:
    """What a search found."""

    shape: Shape
    rate: float
    tried: int
    of: int


def shapes(seed: int) -> list[Shape]:
    """The whole grid, shuffled."""
    grid = list(itertools.product(SIDES, SIDES, DEPTHS))
    random.Random(seed).shuffle(grid)
    return grid


def search(
    candidates: list[Shape],
    make: Callable[[Shape], Product],
    ground: Ground,
    *,
    now: Callable[[], float],
    seconds: float,
) -> Best:
    """Try the candidates in order for `seconds`; a shape that the device has no room or product for is passed over.

    Raises:
        BenchError: none could be multiplied.
    """
    start = now()
    rates: dict[Shape, float] = {}
    for shape in candidates:
        if rates and now() - start >= seconds * (1 - FINAL_PART):
            break
        rate = _tried(shape, make, ground.clock)
        if rate is not None:
            rates[shape] = rate
    if not rates:
        raise BenchError("no shape of the grid could be multiplied")
    finalists = sorted(rates, key=lambda shape: -rates[shape])[:KEPT]
    final: dict[Shape, float] = {}
    for shape in finalists:
        if final and now() - start >= seconds:
            break
        final[shape] = make(shape).rate(ground)
    best = max(final, key=lambda shape: final[shape])
    return Best(best, final[best], len(rates), len(candidates))


def _tried(shape: Shape, make: Callable[[Shape], Product], clock: Clock) -> float | None:
    try:
        product = make(shape)
        clock(product.call, 2)
        return product.flops * CALLS / clock(product.call, CALLS)
    except (MemoryError, RuntimeError):
        return None


def pairs(ground: Ground, *, seconds: float, keys: Sequence[str], now: Callable[[], float]) -> Iterator[Pair | Row]:
    """For each precision a search of `seconds`, then ours beside the best shape of it."""
    for key in keys:
        precision = next(each for each in PRECISIONS if each.key == key)
        problem = obstacle(precision, ground.device.capability)
        if problem:
            yield skipped(key, "search", problem)
            continue
        make = partial(Product, key, device=ground.torch_device, seed=ground.seed)
        with guarded(key, "search") as problems:
            best = search(shapes(ground.seed), make, ground, now=now, seconds=seconds)
            release()
            name = f"best of {best.tried} shapes of {best.of}: {'x'.join(map(str, best.shape))}"
            product = make(best.shape)
            with ground.case(key) as case:
                yield Pair(
                    key=key,
                    unit=case.unit,
                    ours=ground.ours(case),
                    others={name: partial(product.rate, ground)},
                    goals={name: goals.SEARCH},
                )
            del product
        yield from problems
        release()
