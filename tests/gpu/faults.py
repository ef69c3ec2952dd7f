"""Faults planted in our kernels' text, and the work in which each must be found; on any Gpu, an emulated one too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kernels.cpu.chase import cycle
from kernels.cuda.library import Gpu
from kernels.cuda.streams import SHAPES, Streams, sweep
from kernels.cuda.walk import Walk
from kernels.timing import Timer

#: six turns of the launch: the unrolled part of every loop runs, and its rest
TURNS = 6
SLICE_BYTES = 1 << 20
NODES, HOPS = 1024, 4096

#: where -> (source, what stands there, what is put there)
FAULTS = {
    "memory.copy": (
        "stream",
        "c[i + 3 * stride] = s;\n    }\n    REST(i, pairs) c[i] = a[i];",
        "c[i + 3 * stride] = r;\n    }\n    REST(i, pairs) c[i] = a[i];",
    ),
    "memory.write": ("stream", "EACH(i, pairs) a[i] = both;", "EACH(i, pairs) if (i != 1234) a[i] = both;"),
    "memory.scale": ("stream", "p.x *= factor, p.y *= factor, q.x", "p.x *= factor, p.y *= factor + 1e-9, q.x"),
    "memory.add": ("stream", "q.x += s.x, q.y += s.y;", "q.x += s.x, q.y -= s.y;"),
    "memory.triad": ("stream", "q.y = fma(factor, s.y, q.y);", "q.y = fma(factor, s.y, -q.y);"),
    "memory.read": ("stream", "sum += p.x + p.y + q.x + q.y", "sum += p.x + q.x + q.y"),
    "memory.sweep": ("pattern", "piece[i] = both;", "if (i != 777) piece[i] = both;"),
    "memlatency.far": ("chase", "hop < hops; hop += 8", "hop + 8 < hops; hop += 8"),
    "memlatency.near": ("chase", "hop < hops; hop += 8", "hop + 8 < hops; hop += 8"),
}  # fmt: skip


def planted(source: str, text: str) -> str:
    """A source with all of its faults in it; each is in the way of one kind of work only."""
    for where, (of, right, wrong) in FAULTS.items():
        if of == source:
            if right not in text and wrong not in text:
                raise AssertionError(f"{right!r} is no longer in {source}.cu: plant the fault of {where} elsewhere")
            text = text.replace(right, wrong)
    return text


def work(where: str, gpu: Gpu, timer: Timer) -> Callable[[], None]:
    """The load that `where` names, and the check of its result."""
    bench, _, what = where.partition(".")
    if bench == "memlatency":
        return partial(_walk, gpu, near=what == "near")
    if what == "sweep":
        return partial(_sweep, gpu, timer)
    return partial(_stream, gpu, what)


def _stream(gpu: Gpu, operation: str) -> None:
    block, per_sm = SHAPES[0]
    streams = Streams(gpu, 16 * (TURNS * block * per_sm * gpu.sms + 1), seed=1)
    streams.call(operation, SHAPES[0])()
    streams.check(operation, SHAPES[0])


def _sweep(gpu: Gpu, timer: Timer) -> None:
    spare_bytes = gpu.free_bytes() - 4 * SLICE_BYTES
    sweep(gpu, timer, slice_bytes=SLICE_BYTES, spare_bytes=spare_bytes, nonce=1, until=timer.now() + 60)


def _walk(gpu: Gpu, *, near: bool) -> None:
    walk = Walk(gpu, cycle(NODES, 1), near=near, warm=NODES if near else 0, hops=HOPS)
    walk.call()
    walk.check()
