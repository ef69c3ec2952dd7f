"""Main memory bandwidth of all cores together: the four loops of STREAM, and read and write by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Setting, Step, UnsupportedError, Variant, Work

if TYPE_CHECKING:
    from kernels.cpu.arrays import Arrays

KEYS = ("memory.triad", "memory.copy", "memory.scale", "memory.add", "memory.read", "memory.write")
LLC_MULTIPLE = 4  # STREAM's rule: each array at least four times the last-level caches together
LLC_FALLBACK_BYTES = 64 << 20  # where the machine does not tell: more than most server sockets of eight cores have
SAMPLE_S = 0.02  # a few passes: the first after a pause is up to 3 % slower, which a program in a loop never sees
MEMORY_PART = 0.5  # of what is available, for the three arrays together
SAMPLE_S = 10e-3  # waking the crew costs a sample some 0.2 ms, in which its cores are not wanted by us
SHARES = {"memory.triad": 1.5, "memory.copy": 1.5}


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


BENCH = Bench(
    name="memory",
    version=1,
    title="Memory bandwidth",
    keys={"cpu": KEYS},
    open={"cpu": on_cpu},
    waived={"cuda": "no CUDA case yet"},
    needs=("numpy", "numba"),
    seconds={"quick": 7.0, "standard": 30.0, "deep": 60.0},
    startup_s=1.5,
    shares=SHARES,
)
