"""Copies straight from one device's memory to another's."""

from __future__ import annotations

from kernels.spec import Bench

BENCH = Bench(
    name="peerlink",
    version=1,
    title="Peer link",
    keys={},
    open={},
    waived={"cpu": "CPUs of one node share their memory: there is no link from device to device"},
)
