"""How long the market takes to answer, in this process: ten thousand nodes, six filters, the best fifty; and to place.

`python -m tests.bench.market_query [NODES]` prints one JSON document: milliseconds of CPU and of wall time per call,
in the order of a seeded mix of questions. Between two calls a node changes, as nodes do, so that no column is always
the one from before.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from scheduler.clock import Now
from scheduler.lifecycle import Standing
from scheduler.market.offers import search
from scheduler.placement.index import Index
from scheduler.placement.place import IndexPlacer
from scheduler.records import Attempt, Capacity, Figure, JobSpec, MarketNode, Resources, Work

NODES = 10_000
CALLS = 400
GB = 10**9
HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
MODELS = ("H100 SXM", "H100 PCIe", "A100 SXM 80GB", "L40S", "RTX 4090")
REGIONS = ("eu-west", "eu-north", "us-east", "us-west", "asia-east")
METRICS = {
    "matmul.bf16": ("FLOP/s", 600e12),
    "matmul.fp32": ("FLOP/s", 60e12),
    "memory.triad": ("B/s", 2.5e12),
    "memory.read": ("B/s", 2.6e12),
    "disk.read": ("B/s", 6e9),
    "network.down": ("B/s", 1.2e9),
    "network.rtt": ("s", 2e-3),
    "memlatency.dram": ("s", 1e-7),
}
#: six filters each, that leave little, a sixth, nearly half, and nothing (which is explained)
QUESTIONS = (
    (
        'gpu = "H100 SXM" and count >= 8 and p05(matmul.bf16) >= 600 TFLOP/s and age(memory.triad) < 6h '
        'and price < 20 $/h and region in ("eu-west", "eu-north")'
    ),
    (
        'gpu ~ "100" and count >= 4 and p05(matmul.bf16) >= 500 TFLOP/s and age(memory.triad) < 24h '
        "and price / count < 4 $/h and network.rtt < 5 ms"
    ),
    (
        "count >= 1 and vram >= 40 GB and p05(memory.triad) >= 1 TB/s and age(memory.triad) < 24h "
        "and price < 100 $/h and health > 50 %"
    ),
    (
        'gpu = "H100 SXM" and count >= 8 and p05(matmul.bf16) >= 900 TFLOP/s and price < 1 $/h '
        'and region = "eu-west" and memory_free >= 256 GB'
    ),
)


def nodes(count: int, draw: random.Random) -> list[MarketNode]:
    """A market of `count` nodes."""
    return [_node(number, draw) for number in range(1, count + 1)]


def _node(number: int, draw: random.Random) -> MarketNode:
    gpus = draw.choice((1, 2, 4, 8, 8))
    figures = {}
    for key, (unit, centre) in METRICS.items():
        value = centre * draw.uniform(0.7, 1.2)
        at_ms = NOW_MS - draw.randrange(30 * HOUR_MS)
        figures[key] = Figure(value=value, low=value * 0.98, high=value * 1.02, n=40, at_ms=at_ms, unit=unit)
    return MarketNode(
        id=number,
        name=f"node-{number:05d}",
        supplier=number % 500,
        public_key="",
        machine=f"{number:032x}",
        standing=draw.choices((Standing.READY, Standing.DEGRADED, Standing.QUARANTINED), (90, 7, 3))[0],
        online=draw.random() < 0.95,
        device_kind="cuda",
        model=draw.choice(MODELS),
        capacity=Capacity(
            gpu_milli=(1000,) * gpus, cpu_milli=16_000 * gpus, memory_bytes=128 * GB * gpus, disk_bytes=1000 * GB
        ),
        vram_bytes=draw.choice((24, 48, 80)) * GB,
        region=draw.choice(REGIONS),
        price_uh=int(gpus * draw.uniform(1.5, 4.5) * 1e6),
        executors=("container",),
        shares_gpus=draw.random() < 0.3,
        figures=figures,
        capability={"general": draw.uniform(20, 120)},
        health=draw.uniform(0.4, 1.1),
        reported_ms=NOW_MS - draw.randrange(40 * HOUR_MS),
    )


def timed(call: Callable[[int], object], between: Callable[[int], None]) -> dict[str, float]:
    """Milliseconds per call over CALLS of them, with something else in between."""
    cpu_ms, wall_ms = [], []
    for step in range(CALLS + 20):
        between(step)
        cpu, wall = time.thread_time(), time.perf_counter()
        call(step)
        cpu_ms.append((time.thread_time() - cpu) * 1e3)
        wall_ms.append((time.perf_counter() - wall) * 1e3)
    cpu_ms, wall_ms = sorted(cpu_ms[20:]), sorted(wall_ms[20:])
    last = int(0.99 * CALLS)
    return {
        "cpu_p50_ms": round(statistics.median(cpu_ms), 3),
        "cpu_p99_ms": round(cpu_ms[last], 3),
        "wall_p50_ms": round(statistics.median(wall_ms), 3),
        "wall_p99_ms": round(wall_ms[last], 3),
    }


def measured(count: int) -> dict[str, object]:
    """Every figure for a market of `count` nodes."""
    draw = random.Random(1)
    index, rows = Index(), nodes(count, draw)
    begun = time.perf_counter()
    for row in rows:
        index.changed(None, row)
    loaded_s = time.perf_counter() - begun

    def change(step: int) -> None:
        place = draw.randrange(count)
        before = rows[place]
        rows[place] = replace(before, online=not before.online, price_uh=before.price_uh + step % 7)
        index.changed(before, rows[place])
        token = count + step
        attempt = Attempt(
            token=token, job=token, n=1, node=before.id, node_epoch=1, resources=Resources(), placed_ms=NOW_MS
        )
        index.changed(None, attempt)

    def ask(question: str) -> Callable[[int], object]:
        return lambda step: search(index, text=question, sort="price / count", limit=50, now_ms=NOW_MS)

    placer = IndexPlacer(index)
    spec = JobSpec(
        name="job",
        command=("true",),
        image="x",
        resources=Resources(gpus=2, cpu_milli=8000, memory_bytes=64 * GB),
        where="p05(matmul.bf16) >= 500 TFLOP/s and network.rtt < 5 ms",
        work=Work(metric="matmul.bf16", amount=1e18),
    )
    impossible = replace(spec, resources=Resources(gpus=16))
    now = Now(mono_ms=0, unix_ms=NOW_MS)
    found = [search(index, text=question, limit=50, now_ms=NOW_MS).count for question in QUESTIONS]
    return {
        "nodes": count,
        "load_s": round(loaded_s, 3),
        "found": found,
        "search": [timed(ask(question), change) for question in QUESTIONS],
        "search_all": timed(ask(""), change),
        "place": timed(lambda step: placer.place(spec, frozenset(), now), change),
        "refuse": timed(lambda step: placer.place(impossible, frozenset(), now), change),
    }


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]) if len(sys.argv) > 1 else NODES), indent=1))
