"""Copies between host memory and a device's own, over PCIe or NVLink."""

from __future__ import annotations

from kernels.spec import Bench

BENCH = Bench(
    name="hostlink",
    version=1,
    title="Host link",
    keys={},
    open={},
    waived={"cpu": "a CPU works in host memory: there is no link between the two"},
)
