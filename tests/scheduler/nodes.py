"""Nodes of a small market, with figures that are easy to reckon with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.lifecycle import Standing
from scheduler.market.fields import Fields
from scheduler.placement.index import Index
from scheduler.records import Attempt, Capacity, Figure, JobSpec, MarketNode, Resources

GB = 10**9
HOUR_MS = 3_600_000
USD_UH = 1_000_000
#: the moment in which tests play: ten days after the epoch
NOW_MS = 240 * HOUR_MS
UNITS = {"matmul.bf16": "FLOP/s", "memory.triad": "B/s", "memlatency.dram": "s", "network.udp_loss": "ratio"}


def figure(key: str, value: float, *, spread: float = 0.1, age_ms: int = HOUR_MS) -> Figure:
    """A figure whose interval is `spread` of its value to either side; none without a spread."""
    ends = (value * (1 - spread), value * (1 + spread)) if spread else (None, None)
    return Figure(value=value, low=ends[0], high=ends[1], n=10, at_ms=NOW_MS - age_ms, unit=UNITS[key])


def figures(values: Mapping[str, float]) -> dict[str, Figure]:
    """Figures an hour old, each known to a tenth."""
    return {key: figure(key, value) for key, value in values.items()}


def gpu_node(number: int, **changes: Any) -> MarketNode:
    """Eight H100 at 20 $/h, 64 CPUs and 512 GB, measured an hour ago."""
    return MarketNode(
        **{
            "id": number,
            "name": f"node-{number}",
            "supplier": 1,
            "public_key": f"{number:064x}",
            "machine": f"{number:032x}",
            "standing": Standing.READY,
            "online": True,
            "device_kind": "cuda",
            "model": "H100 SXM",
            "capacity": Capacity(gpu_milli=(1000,) * 8, cpu_milli=64_000, memory_bytes=512 * GB, disk_bytes=1000 * GB),
            "vram_bytes": 80 * GB,
            "region": "eu",
            "price_uh": 20 * USD_UH,
            "executors": ("container",),
            "figures": figures({"matmul.bf16": 600e12, "memory.triad": 3e12}),
            "reported_ms": NOW_MS - HOUR_MS,
            **changes,
        }
    )


def cpu_node(number: int, **changes: Any) -> MarketNode:
    """Ten CPUs and 100 GB at 1 $/h, measured an hour ago, as good as a tenth of the reference node."""
    return MarketNode(
        **{
            "id": number,
            "name": f"node-{number}",
            "supplier": 2,
            "public_key": f"{number:064x}",
            "machine": f"{number:032x}",
            "standing": Standing.READY,
            "online": True,
            "device_kind": "cpu",
            "model": "AMD EPYC 9354",
            "capacity": Capacity(cpu_milli=10_000, memory_bytes=100 * GB, disk_bytes=1000 * GB),
            "region": "us",
            "price_uh": USD_UH,
            "executors": ("process", "container"),
            "figures": figures({"matmul.bf16": 2e12, "memory.triad": 100e9, "memlatency.dram": 100e-9}),
            "capability": {"general": 10.0},
            "health": 0.9,
            "reported_ms": NOW_MS - HOUR_MS,
            **changes,
        }
    )


def market(*nodes: MarketNode) -> Index:
    """An index of these nodes."""
    index = Index()
    for node in nodes:
        index.changed(None, node)
    return index


def known_fields() -> Fields:
    """What can be asked where nodes have the figures above."""
    return Fields(figures=UNITS)


def job(*, resources: Mapping[str, int] | None = None, **changes: Any) -> JobSpec:
    """A job of one CPU, 512 MiB and 1 GiB of disk that runs as a process."""
    return JobSpec(**{"name": "job", "command": ("true",), "resources": Resources(**(resources or {})), **changes})


def attempt(token: int, node: int, **changes: Any) -> Attempt:
    """A live attempt that holds a CPU, 512 MiB and 1 GiB of disk."""
    return Attempt(
        **{
            "token": token,
            "job": token,
            "n": 1,
            "node": node,
            "node_epoch": 1,
            "resources": Resources(),
            "placed_ms": NOW_MS,
            **changes,
        }
    )
