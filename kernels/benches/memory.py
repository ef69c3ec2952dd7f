"""Memory bandwidth of a whole device: the four loops of STREAM, read and write by themselves, a sweep of a GPU's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Observation, Observed, Setting, Skip, Step, UnsupportedError, Variant, Work

if TYPE_CHECKING:
    from kernels.cpu.arrays import Arrays
    from kernels.cuda.library import Gpu
    from kernels.cuda.streams import Streams
    from kernels.timing import Timer

KEYS = ("memory.triad", "memory.copy", "memory.scale", "memory.add", "memory.read", "memory.write")
LLC_MULTIPLE = 4  # STREAM's rule: each array at least four times the last-level caches together
LLC_FALLBACK_BYTES = 64 << 20  # where the machine does not tell: more than most server sockets of eight cores have
MEMORY_PART = 0.5  # of what is available, for the three arrays together
SAMPLE_S = 10e-3  # waking the crew costs a sample some 0.2 ms, in which its cores are not wanted by us
SHARES = {"memory.triad": 1.5, "memory.copy": 1.5}
SWEEP = "memory.sweep"
GPU_LEAST_BYTES = 512 << 20
GPU_SLICE_BYTES = 256 << 20
GPU_SPARE_BYTES = 512 << 20  # left alone by the sweep: libraries and the desktop want some


def on_cpu(setting: Setting) -> Iterator[Step]:
    """The loops asked for, over arrays that every worker touched first."""
    from kernels.cpu.arrays import Arrays
    from kernels.cpu.crew import Crew

    keys = [key for key in KEYS if setting.wants(key)]
    if not keys:
        return
    device = setting.device
    least_bytes = LLC_MULTIPLE * (device.llc_bytes or LLC_FALLBACK_BYTES)
    room = device.memory_bytes
    if room is not None and 3 * least_bytes > room * MEMORY_PART:
        raise UnsupportedError(
            f"memory needs three arrays of {least_bytes >> 20} MiB (four times the last-level cache) in half of the "
            f"free memory, found {room >> 20} MiB free; end other programs or raise the memory limit"
        )
    with Crew(device.cpus[: device.threads]) as crew, Arrays(crew, least_bytes) as arrays:
        backing = arrays.backing()
        context = {
            "array_bytes": arrays.bytes_each,
            "threads": len(crew.cpus),
            "pinned": crew.pinned,
            "page_bytes": backing.page_bytes,
            "huge_ratio": backing.huge_ratio,
        }
        for key in keys:
            yield Case(
                key=key,
                unit="B/s",
                variants=_variants(arrays, key),
                share=SHARES.get(key, 1.0),
                min_sample_s=SAMPLE_S,
                context=context,
            )


def _variants(arrays: Arrays, key: str) -> tuple[Variant, ...]:
    operation = key.removeprefix("memory.")
    kinds = (("plain", False),) if operation == "read" else (("plain", False), ("streaming", True))
    return tuple(
        Variant(
            label=label,
            call=partial(arrays.seconds, operation, passes=1, streaming=streaming),
            clock=partial(_clock, arrays, operation, streaming=streaming),
            work=Work(bytes=arrays.work_bytes(operation)),
            check=partial(arrays.check, operation),
        )
        for label, streaming in kinds
    )


def _clock(arrays: Arrays, operation: str, passes: int, *, streaming: bool) -> float:
    """The crew's own time: what waking its threads costs is not the memory's."""
    return arrays.seconds(operation, passes=passes, streaming=streaming)


def on_cuda(setting: Setting) -> Iterator[Step]:
    """The same loops by kernels of ours, then every free byte written and read back."""
    from kernels.cuda.library import open_gpu

    keys = [key for key in KEYS if setting.wants(key)]
    if not keys and not setting.wants(SWEEP):
        return
    gpu = open_gpu(setting.device.index)
    if keys:
        yield from _loops_on(gpu, keys, setting)
    if setting.wants(SWEEP):
        if setting.profile == "quick":
            yield Skip(key=SWEEP, reason="the quick profile does not sweep all memory; standard and deep do")
        else:
            yield Observed(keys=(SWEEP,), observe=partial(_sweep, gpu, setting))


def _loops_on(gpu: Gpu, keys: list[str], setting: Setting) -> Iterator[Step]:
    from kernels.cuda.fingerprint import counted_sms
    from kernels.cuda.streams import SHAPES, Streams
    from kernels.device import timer_for

    bytes_each = -(-max(LLC_MULTIPLE * gpu.l2_bytes, GPU_LEAST_BYTES) // 4096) * 4096
    free_bytes = gpu.free_bytes()
    if 3 * bytes_each > free_bytes * MEMORY_PART:
        raise UnsupportedError(
            f"memory needs three arrays of {bytes_each >> 20} MiB in half of the free memory, found "
            f"{free_bytes >> 20} MiB free; end other programs on the GPU"
        )
    streams = Streams(gpu, bytes_each, seed=setting.seed)
    chip = {"l2_bytes": gpu.l2_bytes, "sms": gpu.sms, "sms_counted": counted_sms(gpu)}
    for key in keys:
        variants = tuple(_gpu_variant(streams, key, shape) for shape in SHAPES)
        context: dict[str, object] = {"array_bytes": bytes_each, "access_bytes": 16, **chip}
        if key == "memory.read" and setting.profile != "quick":
            context |= _cache(streams, timer_for(setting.device))
        yield Case(key=key, unit="B/s", variants=variants, share=SHARES.get(key, 1.0), context=context)


def _cache(streams: Streams, timer: Timer) -> dict[str, object]:
    """Where the last-level cache ends, as reading it shows; None where no step was found."""
    from kernels.cuda.fingerprint import cache_curve, knee

    curve = cache_curve(streams, timer)
    return {"l2_knee_bytes": knee(curve), "l2_curve": [[size_bytes, rate] for size_bytes, rate in curve.items()]}


def _gpu_variant(streams: Streams, key: str, shape: tuple[int, int]) -> Variant:
    operation = key.removeprefix("memory.")
    return Variant(
        label=f"{shape[0]} threads, {shape[1]} blocks per SM",
        call=streams.call(operation, shape),
        work=Work(bytes=streams.work_bytes(operation)),
        check=partial(streams.check, operation, shape),
    )


def _sweep(gpu: Gpu, setting: Setting, seconds: float) -> tuple[Observation, ...]:
    from kernels.cuda.streams import sweep
    from kernels.device import timer_for

    timer = timer_for(setting.device)
    swept = sweep(
        gpu,
        timer,
        slice_bytes=GPU_SLICE_BYTES,
        spare_bytes=GPU_SPARE_BYTES,
        nonce=setting.seed,
        until=timer.now() + seconds / 2,
    )
    return (Observation(key=SWEEP, unit="B/s", samples=swept.rates, context=swept.context),)


BENCH = Bench(
    name="memory",
    version=1,
    title="Memory bandwidth",
    keys={"cpu": KEYS, "cuda": (*KEYS, SWEEP)},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("numpy", "numba"),
    seconds={"quick": 7.0, "standard": 30.0, "deep": 60.0},
    startup_s=1.5,
    shares=SHARES,
)
