"""What each figure means: the formula behind it, in words that need no source code."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    "matmul": "Matrix product",
    "memory": "Memory bandwidth",
    "memlatency": "Memory latency",
    "launch": "Cost of a call",
    "hostlink": "Link to the host",
    "peerlink": "Link between devices",
    "allreduce": "All-reduce",
    "network": "Network",
    "disk": "Disk",
    "stress": "Stress",
}

#: by key, or by bench for all its other keys
FORMULAS: Mapping[str, str] = {
    "matmul": "2·M·N·K operations of a matrix product ÷ its time; data is N(0,1), verified by Freivalds' check.",
    "matmul.int8": "2·M·N·K integer operations ÷ their time; the product is compared exactly.",
    "memory": "Bytes read plus written, as the loop names them ÷ its time; arrays are ≥ 4 × the last-level cache.",
    "memory.read": "Bytes read, 8 per element, ÷ the time of a sum over one array.",
    "memory.write": "Bytes written, 8 per element, ÷ the time of filling one array.",
    "memory.copy": "c[i] = a[i]: 16 bytes per element ÷ the time.",
    "memory.scale": "b[i] = s·c[i]: 16 bytes per element ÷ the time.",
    "memory.add": "c[i] = a[i] + b[i]: 24 bytes per element ÷ the time.",
    "memory.triad": "a[i] = b[i] + s·c[i]: 24 bytes per element ÷ the time (STREAM).",
    "memlatency": "Time of one random cycle through all lines (Sattolo) ÷ its steps; each load waits for the last.",
    "memlatency.dram_4k": "As memlatency.dram, on 4 KiB pages: the difference is what translating addresses costs.",
    "launch": "Time of one call that does nothing, through the runtime named.",
    "allreduce": "Time of the slowest rank.",
    "allreduce.busbw": "Size ÷ time × 2(n−1)/n: bytes each link of a ring carried per second; sums are exact.",
    "allreduce.algbw": "Size of one rank's message ÷ time of the slowest rank.",
    "allreduce.pair": "As allreduce.busbw, between two ranks alone.",
    "allreduce.latency": "Time of an all-reduce of 8 bytes, slowest rank.",
    "network": "Bytes received ÷ time over TCP, measured by the far end.",
    "network.rtt": "Time from sending one small TCP message to its echo.",
    "disk": "Bytes or operations ÷ time with direct I/O, so that no cache of the system answers.",
    "disk.sync": "Time until a small write is reported durable (fdatasync).",
    "hostlink": "Bytes copied ÷ time.",
    "peerlink": "Bytes copied ÷ time.",
}


def title(bench: str) -> str:
    """A few words for a bench; a bench unknown here goes by its own name."""
    return TITLES.get(bench, bench)


def of(key: str) -> str:
    """The formula behind a figure; empty when this version does not know it."""
    return FORMULAS.get(key) or FORMULAS.get(key.partition(".")[0], "")
