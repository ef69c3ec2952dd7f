"""Chains on a real GPU: the golden roots, openings at full size, and how much of the bare speed is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import pytest

from kernels.chain.cuda import _along, multiply_bf16, multiply_int8
from kernels.chain.engine import Engine, open_engine
from kernels.chain.params import Arithmetic, Params
from kernels.device import Device
from tests.kernels.chain.golden import CHAINS, ROOTS
from tests.kernels.chain.plain import SALTS
from tests.kernels.chain.test_engine import accepted, prepare

ROUNDS, SEGMENTS, TRIES = 16, 20, 5
LEAST_PART = 0.9


@pytest.fixture
def engine(device: Device) -> Iterator[Engine]:
    opened = open_engine("cuda", device.index)
    yield opened
    opened.close()


def large(arithmetic: Arithmetic) -> Params:
    """As a check of a large GPU has them."""
    return Params(
        kind="compute", arithmetic=arithmetic, n=4096, units=16384, rows=1, tiles=2, depth=0, rounds=ROUNDS,
        commit_every=ROUNDS,
    )  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_the_golden_roots(name: str, engine: Engine) -> None:
    """Bit for bit what every CPU finds."""
    prepare(engine, CHAINS[name])

    assert tuple(engine.advance(salt).hex() for salt in SALTS[:3]) == ROOTS[name]


@pytest.mark.parametrize(
    "params",
    [
        large("int8"),
        large("bf16"),
        Params(
            kind="memory", arithmetic="int8", n=512, units=1024, rows=8, tiles=4096, depth=16, rounds=16, commit_every=1
        ),
    ],
    ids=["int8", "bf16", "memory"],
)
def test_openings_at_full_size_are_accepted(params: Params, engine: Engine) -> None:
    """By the reference in numpy: sums of 4096 products on tensor cores, and trees of thousands of leaves."""
    prepare(engine, params)
    roots = [engine.advance(salt) for salt in SALTS]
    asked = [(0, 0, 0), (3, params.units - 1, params.commits - 1), (7, 1000, params.commits // 2)]

    assert all(accepted(params, one, roots) for one in engine.open_many(asked))


@pytest.mark.parametrize("arithmetic", ["int8", "bf16"])
def test_proving_leaves_nine_tenths_of_the_bare_speed(arithmetic: Arithmetic, engine: Engine, device: Device) -> None:
    """Segments, hashed and answered, against the same products alone; in turns, so that a drift meets both."""
    import torch

    params = large(arithmetic)
    prepare(engine, params)
    where = torch.device("cuda", device.index)
    kind, result = (torch.bfloat16, torch.float32) if arithmetic == "bf16" else (torch.int8, torch.int32)
    left = torch.randint(-15, 16, (params.units, params.n), device=where).to(kind)
    right = _along(torch.randint(-15, 16, (params.n, params.n), device=where).to(kind))
    sums = torch.empty(params.units, params.n, dtype=result, device=where)
    multiply = multiply_bf16 if arithmetic == "bf16" else multiply_int8
    parts = []
    for _ in range(TRIES):
        start = time.perf_counter()
        for _ in range(SEGMENTS * ROUNDS):
            multiply(left, right, sums)
        torch.cuda.synchronize(where)
        middle = time.perf_counter()
        for _ in range(SEGMENTS):
            engine.advance(SALTS[0])
        parts.append((middle - start) / (time.perf_counter() - middle))

    assert median(parts) >= LEAST_PART, parts
