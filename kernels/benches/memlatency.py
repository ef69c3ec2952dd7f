"""Load latency of one core: a pointer chase inside each level of cache, and in main memory on large and small pages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Setting, Skip, Step, Variant, Work

if TYPE_CHECKING:
    from kernels.cpu.chase import Chase
    from kernels.device import Device

KEYS = ("memlatency.dram", "memlatency.l1", "memlatency.l2", "memlatency.l3", "memlatency.dram_4k")
LEVELS = ("l1", "l2", "l3", "dram", "dram_4k")
LINE_FALLBACK_BYTES = 64
LLC_MULTIPLE = 4
DRAM_LEAST_BYTES = 256 << 20
LLC_FALLBACK_BYTES = 64 << 20
MEMORY_PART = 0.5
# each call takes a few milliseconds at what a level usually costs: 1, 4, 15 and 100 ns
HOPS = {"l1": 1 << 21, "l2": 1 << 19, "l3": 1 << 17, "dram": 1 << 15, "dram_4k": 1 << 15}
SHARES = {"memlatency.dram": 2.0, "memlatency.dram_4k": 2.0}


def on_cpu(setting: Setting) -> Iterator[Step]:
    """One chase at a time, on one pinned CPU."""
    from kernels.cpu import chase
    from kernels.cpu.crew import pinned

    device = setting.device
    node_bytes = device.line_bytes or LINE_FALLBACK_BYTES
    cpu = device.cpus[device.threads - 1]  # the first CPU takes most interrupts
    with pinned(cpu) as is_pinned:
        cycle = None
        for level in LEVELS:
            key = f"memlatency.{level}"
            if not setting.wants(key):
                continue
            size_bytes, problem = _working_set(device, level)
            if problem:
                yield Skip(key=key, reason=problem)
                continue
            nodes = size_bytes // node_bytes
            if cycle is None or len(cycle.order) != nodes:  # both kinds of page hold the same cycle
                cycle = chase.cycle(nodes, setting.seed)
            with chase.Chase(cycle, node_bytes=node_bytes, huge=level != "dram_4k") as laid:
                yield _case(level, laid, {"cpu": cpu, "pinned": is_pinned, "node_bytes": node_bytes})


def _working_set(device: Device, level: str) -> tuple[int, str]:
    """Bytes that stay at `level` and nowhere nearer, or 0 and why there are none.

    A cycle is the worst case of a cache that replaces the line used longest ago: a set twice as large as the level
    before never hits there. The last level is shared with cores and, on a rented machine, with neighbours that we
    cannot see, so we ask for no more of it than that.
    """
    l1, l2, llc = device.l1d_bytes, device.l2_bytes, device.llc_core_bytes
    if level == "l1":
        return (l1 // 2, "") if l1 else (0, "this machine does not tell the size of its first-level cache")
    if level == "l2":
        if not l1 or not l2 or l2 < 4 * l1:
            return 0, f"no second-level cache that is at least four times the first (l1d {l1}, l2 {l2} bytes)"
        return max(2 * l1, l2 // 4), ""
    if level == "l3":
        if not l2 or not llc or llc < 4 * l2:
            return 0, f"no last-level cache that is at least four times the second (l2 {l2}, last level {llc} bytes)"
        return 2 * l2, ""
    size_bytes = max(LLC_MULTIPLE * (llc or LLC_FALLBACK_BYTES), DRAM_LEAST_BYTES)
    room = device.memory_bytes
    if room is not None and size_bytes > room * MEMORY_PART:
        return 0, f"needs {size_bytes >> 20} MiB in half of the free memory, found {room >> 20} MiB free"
    return size_bytes, ""


def _case(level: str, laid: Chase, context: dict[str, object]) -> Case:
    backing = laid.backing()
    hops = HOPS[level]
    variant = Variant(label="chase", call=partial(laid.walk, hops), work=Work(steps=hops), check=laid.check)
    context |= {
        "threads": 1,
        "working_set_bytes": laid.bytes,
        "page_bytes": backing.page_bytes,
        "huge_ratio": backing.huge_ratio,
    }
    return Case(key=f"memlatency.{level}", unit="s", variants=(variant,), share=SHARES.get(level, 1.0), context=context)


BENCH = Bench(
    name="memlatency",
    version=1,
    title="Memory latency",
    keys={"cpu": KEYS},
    open={"cpu": on_cpu},
    waived={"cuda": "no CUDA case yet"},
    needs=("numpy", "numba"),
    seconds={"quick": 5.0, "standard": 15.0, "deep": 30.0},
    startup_s=1.0,
    shares=SHARES,
)
