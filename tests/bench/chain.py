"""`python -m tests.bench.chain`: what proving leaves of a CPU's speed, and what the verifier's arithmetic costs.

The engine runs whole segments, hashed and chained, in turns with the bare products of the same size by torch; the
figure is the median of the ratios. The verifier redoes stretches at a large GPU's sizes on one thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from kernels.chain import derive
from kernels.chain.engine import open_engine
from kernels.chain.params import Arithmetic, Params
from kernels.chain.replay import Stretch, replay_many
from kernels.chain.tiles import Tiles
from kernels.cpu.blas import set_numpy_threads

SEED, CHALLENGE, SALT = bytes(range(32)), bytes(16), bytes(32)
ROUNDS, TURNS = 32, 9
SIDES = (256, 512, 1024)


def seconds(call: Callable[[], object], calls: int) -> float:
    """Of so many calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def compute(arithmetic: Arithmetic, n: int, *, units: int, tiles: int, rounds: int) -> Params:
    """A compute chain."""
    return Params(
        kind="compute", arithmetic=arithmetic, n=n, units=units, rows=1, tiles=tiles, depth=0, rounds=rounds,
        commit_every=rounds,
    )  # fmt: skip


def proving(n: int, threads: int) -> dict[str, float]:
    """Speed of segments over that of the same products in float32, and in int8, by torch."""
    import torch

    engines = {}
    for arithmetic in ("int8", "bf16"):
        engines[arithmetic] = open_engine("cpu", threads=threads)
        params = compute(arithmetic, n, units=n, tiles=4, rounds=ROUNDS)
        engines[arithmetic].prepare(params, seed=SEED, challenge=CHALLENGE, device=0)
    generator = torch.Generator().manual_seed(0)
    floats = [torch.randn(n, n, generator=generator) for _ in range(2)]
    small = [torch.randint(-128, 128, (n, n), dtype=torch.int8, generator=generator) for _ in range(2)]
    wide, whole = torch.empty(n, n), torch.empty(n, n, dtype=torch.int32)
    ratios: dict[str, list[float]] = {"int8 / float32": [], "bf16 / float32": [], "int8 / int8": []}
    for _ in range(TURNS):
        torch.set_num_threads(threads)
        bare_s = seconds(lambda: torch.mm(*floats, out=wide), ROUNDS)
        int8_s = seconds(lambda: torch._int_mm(*small, out=whole), ROUNDS)
        proved_s = {name: seconds(lambda engine=engine: engine.advance(SALT), 1) for name, engine in engines.items()}  # type: ignore[misc]
        ratios["int8 / float32"].append(bare_s / proved_s["int8"])
        ratios["bf16 / float32"].append(bare_s / proved_s["bf16"])
        ratios["int8 / int8"].append(int8_s / proved_s["int8"])
    for engine in engines.values():
        engine.close()
    return {name: round(median(found), 3) for name, found in ratios.items()}


def judging(params: Params, openings: int, rounds: int) -> dict[str, float]:
    """CPU seconds of so many openings that each span `rounds` rounds, tiles and all."""
    set_numpy_threads(1)
    start = time.process_time()
    tiles = Tiles(params, SEED)
    states = derive.first_states(params, SEED, range(openings))
    stretches = [
        Stretch(unit, states[unit], derive.order(params, CHALLENGE, 0, unit, bytes(32), SALT), range(rounds))
        for unit in range(openings)
    ]
    ends = replay_many(params, stretches, tiles)
    assert len({end.tobytes() for end in ends}) == openings
    return {"openings": openings, "cpu_s": round(time.process_time() - start, 2)}


def main() -> None:
    """Print both as JSON."""
    threads = len(os.sched_getaffinity(0))
    memory = Params(
        kind="memory", arithmetic="int8", n=512, units=1024, rows=8, tiles=1 << 18, depth=16, rounds=64, commit_every=1
    )
    judged: dict[str, Any] = {}
    for openings in (16, 64):
        for arithmetic in ("int8", "bf16"):
            for tiles in (2, 16):
                large = compute(arithmetic, 4096, units=16384, tiles=tiles, rounds=16)
                judged[f"{arithmetic}, {tiles} tiles, {openings}"] = judging(large, openings, 16)
        judged[f"memory, {openings}"] = judging(memory, openings, 1)
    found = {
        "numpy": np.__version__,
        "threads": threads,
        "proving": {str(n): proving(n, threads) for n in SIDES},
        "judging": judged,
    }
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
