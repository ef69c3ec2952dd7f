"""All-reduce over local processes or over all GPUs: what a collective costs here, by message size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Profile, Reading, Setting, Skip, Step, Variant, Work

if TYPE_CHECKING:
    from kernels.collective import Group

KEYS = ("allreduce.busbw", "allreduce.algbw", "allreduce.latency", "allreduce.pair")
ALONE_BYTES = 1 << 20
KIB, MIB = 1 << 10, 1 << 20
SIZES: dict[Profile, tuple[int, ...]] = {
    "quick": (8, 4 * KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB),
    "standard": (*(8 * 8**k for k in range(8)), 64 * MIB),
    "deep": (*(8 * 4**k for k in range(12)), 64 * MIB),
}
#: NVLink and PCIe show their pace from some 100 MiB on
GPU_SIZES: dict[Profile, tuple[int, ...]] = {
    "quick": (8, 64 * KIB, 16 * MIB, 256 * MIB),
    "standard": (8, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, 1024 * MIB),
    "deep": tuple(sorted({*(8 * 4**k for k in range(16)), 16 * MIB, 256 * MIB, 1024 * MIB, 4096 * MIB})),
}
LATENCY_BYTES = 8
LARGEST_SHARE = 5.0  # tens of milliseconds a call: an interval of its median takes this much longer
PAIR_SHARE = 2.0
#: gloo joins every rank with every other; beyond this the sockets and the start cost more than the figure tells
MAX_RANKS = 32
#: of the memory that is free, for all ranks together
MEMORY_PART = 0.25
#: of a GPU's, for its rank
GPU_MEMORY_PART = 0.2
#: a batch that takes longer has hung; the largest takes well below a second on a machine that is fit
PATIENCE_S = 10.0


def bus_bytes(size_bytes: int, ranks: int) -> int:
    """Bytes each link carries during an all-reduce of `size_bytes` per rank.

    A ring moves every byte 2(n-1)/n times over each link, so a rate made of it compares with the link's own peak
    whatever the number of ranks.

    Source: NVIDIA nccl-tests, doc/PERFORMANCE.md, "AllReduce".
    """
    return round(size_bytes * 2 * (ranks - 1) / ranks)


def rank_count(setting: Setting) -> int:
    """How many ranks take part: one per useful thread, at least two; on GPUs one for each."""
    if setting.device.kind == "cuda":
        import torch

        return int(torch.cuda.device_count())
    return max(2, min(setting.device.threads, MAX_RANKS))


def sizes(setting: Setting) -> tuple[int, ...]:
    """The message sizes whose buffers fit into the memory left."""
    device = setting.device
    if device.kind == "cuda":
        offered, most = GPU_SIZES[setting.profile], (device.memory_total_bytes or 1 << 62) * GPU_MEMORY_PART
    else:
        room = device.memory_bytes or 1 << 62
        offered, most = SIZES[setting.profile], room * MEMORY_PART / rank_count(setting)  # its ranks share one memory
    return tuple(size for size in offered if size <= most) or (LATENCY_BYTES,)


def readings(setting: Setting, size_bytes: int) -> tuple[Reading, ...]:
    """What is wanted of the samples that all ranks give at one size."""
    ranks = rank_count(setting)
    bus = Work(bytes=bus_bytes(size_bytes, ranks))
    offered = [
        Reading(key="allreduce.busbw", unit="B/s", work=bus),
        Reading(key="allreduce.algbw", unit="B/s", work=Work(bytes=size_bytes)),
    ]
    if ranks == 2 and size_bytes == sizes(setting)[-1]:
        offered.append(Reading(key="allreduce.pair", unit="B/s", work=bus))
    return tuple(reading for reading in offered if setting.wants(reading.key))


def plan(setting: Setting) -> list[tuple[float, int, int, tuple[Reading, ...]]]:
    """The cases: share of the time, ranks that take part, size in bytes, figures. The headline's gets most time."""
    ranks, every = rank_count(setting), sizes(setting)
    latency = Reading(key="allreduce.latency", unit="s", work=Work(steps=1))
    pair = Reading(key="allreduce.pair", unit="B/s", work=Work(bytes=bus_bytes(every[-1], 2)))
    cases: list[tuple[float, int, int, tuple[Reading, ...]]] = []
    cases.append((1.0, ranks, LATENCY_BYTES, (latency,) if setting.wants(latency.key) else ()))
    cases += [(LARGEST_SHARE if size == every[-1] else 1.0, ranks, size, readings(setting, size)) for size in every]
    if ranks > 2 and setting.wants(pair.key):
        cases.append((PAIR_SHARE, 2, every[-1], (pair,)))
    return [case for case in cases if case[3]]


def on_cpu(setting: Setting) -> Iterator[Step]:
    """The latency of the smallest message, the sweep over sizes, and two ranks alone for comparison."""
    from kernels.collective import group

    patience_s = min(PATIENCE_S, max(1.0, setting.budget_s))
    largest = sizes(setting)[-1]
    with group(rank_count(setting), largest_bytes=largest, seed=setting.seed, patience_s=patience_s) as members:
        for share, among, size_bytes, figures in plan(setting):
            yield _case(members, share, among, size_bytes, figures)


def on_cuda(setting: Setting) -> Iterator[Step]:
    """NCCL, one rank per GPU. With one GPU there is no link to measure: its sums are checked, and that is said."""
    keys = [key for key in KEYS if setting.wants(key)]
    if not keys:
        return
    from kernels.collective import group
    from kernels.cuda.products import require_torch

    require_torch(setting.device.index)
    ranks = rank_count(setting)
    patience_s = max(PATIENCE_S, setting.budget_s)
    if ranks == 1:
        with group(1, largest_bytes=ALONE_BYTES, seed=setting.seed, patience_s=patience_s, backend="nccl") as alone:
            alone.run(ALONE_BYTES, 1, among=1)
            alone.check()
        yield from (Skip(key=key, reason="one GPU: sums of a single rank are right, no link was used") for key in keys)
        return
    largest = sizes(setting)[-1]
    with group(ranks, largest_bytes=largest, seed=setting.seed, patience_s=patience_s, backend="nccl") as members:
        for share, among, size_bytes, figures in plan(setting):
            case = _case(members, share, among, size_bytes, figures, backend="nccl", transport="chosen by NCCL")
            yield replace(case, context={**case.context, "nccl_version": _nccl_version(), "clock": "events"})


def _nccl_version() -> str | None:
    """As "2.27.3"; None where torch was built without it."""
    import torch

    try:
        return ".".join(str(part) for part in torch.cuda.nccl.version())
    except (AttributeError, RuntimeError):
        return None


def _case(
    members: Group,
    share: float,
    among: int,
    size_bytes: int,
    figures: tuple[Reading, ...],
    *,
    backend: str = "gloo",
    transport: str = "TCP over loopback",
) -> Case:
    first, *also = figures
    variant = Variant(
        label=f"{size_bytes} bytes",
        call=partial(members.run, size_bytes, 1, among=among),
        clock=partial(members.run, size_bytes, among=among),
        check=members.check,
        work=first.work,
    )
    swept = first.unit == "B/s"
    return Case(
        key=first.key,
        unit=first.unit,
        variants=(variant,),
        also=tuple(also),
        at=size_bytes if swept else None,
        axis="size_bytes" if swept else "",
        share=share,
        context={"backend": backend, "transport": transport, "ranks": among, "size_bytes": size_bytes},
    )


def shares(setting: Setting) -> float:
    """Of all that is yielded; one GPU yields nothing that takes time."""
    if setting.device.kind == "cuda" and rank_count(setting) < 2:
        return 0.0
    return sum(share for share, *_ in plan(setting))


BENCH = Bench(
    name="allreduce",
    version=1,
    title="All-reduce",
    keys={"cpu": KEYS, "cuda": KEYS},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("torch",),
    seconds={"quick": 6.0, "standard": 20.0, "deep": 60.0},
    startup_s=2.0,
    shares=shares,
)
