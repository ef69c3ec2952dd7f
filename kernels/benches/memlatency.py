"""Load latency of one core or one GPU thread: a pointer chase in each level of cache, and in main memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Setting, Skip, Step, Variant, Work

if TYPE_CHECKING:
    from kernels.cpu.chase import Chase
    from kernels.cuda.library import Gpu
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
GPU_KEYS = ("memlatency.dram", "memlatency.l1", "memlatency.l2")
GPU_L1_BYTES = 16 << 10  # a part of every first-level cache since Volta
GPU_DRAM_LEAST_BYTES = 1 << 30
GPU_L2_MULTIPLE = 8
# some milliseconds a call at 20, 150 and 600 ns; the first level is empty when a call begins: enough hops to hide that
GPU_HOPS = {"l1": 1 << 19, "l2": 1 << 15, "dram": 1 << 13}
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


def on_cuda(setting: Setting) -> Iterator[Step]:
    """One chase at a time by one thread; a call's time by events, a hop's cycles by the SM's own counter beside it."""
    levels = [key.removeprefix("memlatency.") for key in GPU_KEYS if setting.wants(key)]
    if not levels:
        return
    from kernels.cuda.library import open_gpu

    gpu = open_gpu(setting.device.index)
    for level in levels:
        size_bytes = _gpu_working_set(level, gpu.l2_bytes)
        free_bytes = gpu.free_bytes()
        if size_bytes > free_bytes * MEMORY_PART:
            reason = f"needs {size_bytes >> 20} MiB in half of the free memory, found {free_bytes >> 20} MiB free"
            yield Skip(key=f"memlatency.{level}", reason=reason)
            continue
        yield _gpu_case(gpu, level, size_bytes, setting.seed)
        gpu.trim()


def _gpu_working_set(level: str, l2_bytes: int) -> int:
    """Bytes that stay at `level`: a quarter of the L2, which may be two halves of which each SM has one near."""
    if level == "l1":
        return GPU_L1_BYTES
    return l2_bytes // 4 if level == "l2" else max(GPU_L2_MULTIPLE * l2_bytes, GPU_DRAM_LEAST_BYTES)


def _gpu_case(gpu: Gpu, level: str, size_bytes: int, seed: int) -> Case:
    from kernels.cpu import chase
    from kernels.cuda.walk import NODE_BYTES, Walk

    cycle = chase.cycle(size_bytes // NODE_BYTES, seed)
    warm = len(cycle.order) if level == "l1" else 0
    laid = Walk(gpu, cycle, near=level == "l1", warm=warm, hops=GPU_HOPS[level])
    if level == "l2":
        laid.round()
    work = Work(steps=warm + GPU_HOPS[level])
    variant = Variant(label="chase", call=laid.call, work=work, check=laid.check)
    key = f"memlatency.{level}"
    return Case(key=key, unit="s", variants=(variant,), share=SHARES.get(key, 1.0), context=laid.context)


BENCH = Bench(
    name="memlatency",
    version=1,
    title="Memory latency",
    keys={"cpu": KEYS, "cuda": GPU_KEYS},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("numpy", "numba"),
    seconds={"quick": 5.0, "standard": 15.0, "deep": 30.0},
    quiet=True,
    startup_s=1.0,
    shares=SHARES,
)
