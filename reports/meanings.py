"""What each figure means: the formula behind it, in words that need no source code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache

import kernels.benches
from kernels.spec import Bench
from qualify import registry

FORMULAS: Mapping[str, str] = {
    "matmul.fp64": "2·n³ operations ÷ time of an n×n product in double precision; N(0,1) data, checked by Freivalds.",
    "matmul.fp32": "2·n³ operations ÷ time of an n×n product in single precision; N(0,1) data, checked by Freivalds.",
    "matmul.bf16": "2·n³ operations ÷ time of an n×n product in bfloat16; N(0,1) data, checked by Freivalds.",
    "matmul.fp16": "2·n³ operations ÷ time of an n×n product in half precision, summed in single; N(0,1) data.",
    "matmul.fp16_acc16": "As matmul.fp16, summed in half precision too: on some parts twice as fast, which tells them.",
    "matmul.tf32": "2·n³ operations ÷ time of a product of floats that the tensor cores round to 10 bits.",
    "matmul.fp8": "2·n³ operations ÷ time of a product of 8-bit floats (e4m3) with fast sums; checked by Freivalds.",
    "matmul.int8": "2·n³ operations ÷ time of an n×n product of 8-bit integers, summed in 32 bits; checked exactly.",
    "matmul.fp32_numba": "As matmul.fp32, by a blocked loop of our own: an independent check of the library.",
    "memory.read": "Sum over a: 8 bytes per element ÷ time. Arrays are ≥ 4 × the last-level cache, here and below.",
    "memory.write": "a[i] = s: 8 bytes per element ÷ time.",
    "memory.copy": "c[i] = a[i]: 16 bytes per element ÷ time.",
    "memory.scale": "b[i] = s·c[i]: 16 bytes per element ÷ time.",
    "memory.add": "c[i] = a[i] + b[i]: 24 bytes per element ÷ time.",
    "memory.triad": "a[i] = b[i] + s·c[i]: 24 bytes per element ÷ time, as STREAM counts.",
    "memory.sweep": "All free memory written and read back in a known pattern, every byte checked: bytes ÷ time.",
    "memlatency.l1": "Time of a walk in random order ÷ its steps, each load waiting for the last; half of L1d.",
    "memlatency.l2": "As memlatency.l1, over a set that fits the second-level cache alone.",
    "memlatency.l3": "As memlatency.l1, over a set that fits the last-level cache alone.",
    "memlatency.dram": "As memlatency.l1, over ≥ 4 × the last-level cache, on 2 MiB pages.",
    "memlatency.dram_4k": "As memlatency.dram, on 4 KiB pages: the difference is the cost of translating addresses.",
    "launch.sync": "Time of torch.add on one element; on a GPU of an empty kernel and the wait for it; median.",
    "launch.sync_p99": "As launch.sync, each call timed by itself: one in a hundred takes longer.",
    "launch.numba": "Time of a compiled function that does next to nothing, median over batches of calls.",
    "launch.numba_p99": "As launch.numba, each call timed by itself: one in a hundred takes longer.",
    "launch.queued": "Time of an empty kernel among hundreds queued back to back.",
    "launch.graph": "Time of an empty kernel as one node of a CUDA graph that is replayed.",
    "hostlink.h2d": "Bytes ÷ time of copies from pinned host memory to the device, by the CPUs next to it.",
    "hostlink.d2h": "Bytes ÷ time of copies from the device to pinned host memory, by the CPUs next to it.",
    "hostlink.both": "Bytes of both ways ÷ time while pinned copies run both ways at once.",
    "hostlink.h2d_pageable": "As hostlink.h2d, from ordinary memory, by way of a buffer of the driver's.",
    "hostlink.d2h_pageable": "As hostlink.d2h, into ordinary memory.",
    "peerlink.slowest": "Bytes ÷ time of copies from one GPU's memory to another's; of all ordered pairs the slowest.",
    "allreduce.busbw": "Size ÷ time × 2(n−1)/n: bytes each link of a ring carried per second; the slowest rank counts.",
    "allreduce.algbw": "Size of one rank's message ÷ time; the slowest rank counts.",
    "allreduce.latency": "Time of an all-reduce of 8 bytes; the slowest rank counts.",
    "allreduce.pair": "As allreduce.busbw, between two ranks alone.",
    "network.rtt": "Time from sending a small message to its echo, median.",
    "network.rtt_p95": "Round trip that one in twenty exceeds.",
    "network.rtt_p99": "Round trip that one in a hundred exceeds.",
    "network.jitter": "Mean change from one round trip to the next.",
    "network.down": "Bytes received ÷ time over TCP, as the receiver counts them, the slow start left out.",
    "network.up": "Bytes received by the far end ÷ time over TCP, as it counts them, the slow start left out.",
    "network.loaded_rtt": "Round trip beside a full flow minus the idle one, in the worse direction.",
    "network.udp_loss": "Datagrams that did not come back ÷ datagrams sent; Wilson's interval.",
    "network.udp_jitter": "Mean change of the one-way delay from one datagram to the next.",
    "disk.read": "Bytes ÷ time of reading in sequence with direct I/O, several requests in flight.",
    "disk.write": "Bytes ÷ time of writing in sequence with direct I/O, several requests in flight.",
    "disk.rand_read": "4 KiB reads at random places ÷ time, with direct I/O, many in flight.",
    "disk.rand_write": "4 KiB writes at random places ÷ time, with direct I/O, many in flight.",
    "disk.sync_p99": "Time until a 4 KiB write is durable (fdatasync); one in a hundred takes longer.",
    "stress.sustained": "Operations ÷ time in the late half of minutes of full load, all GPUs at once; checked.",
    "stress.decline": "Speed of the late half of the load ÷ speed of its first two seconds; of several GPUs the worst.",
}


def title(bench: str) -> str:
    """A few words for a bench; one that this version does not have goes by its own name."""
    return _benches()[bench].title if bench in _benches() else bench


def of(key: str) -> str:
    """The formula behind a figure, or what its bench says of itself; empty when this version does not know it."""
    if key in FORMULAS:
        return FORMULAS[key]
    bench = _benches().get(key.partition(".")[0])
    module = sys.modules.get(next(iter(bench.open.values())).__module__) if bench and bench.open else None
    return (module.__doc__ or "").strip().partition("\n")[0] if module else ""


@cache
def _benches() -> Mapping[str, Bench]:
    """The benches of this version; none when one of them cannot be loaded, for a report must be shown all the same."""
    try:
        return registry.load(kernels.benches, "BENCH")
    except (registry.PluginError, ImportError):
        return {}
