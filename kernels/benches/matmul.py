"""Matrix product C = A·B: on a CPU by torch, numpy and a kernel of our own, on a GPU in seven precisions by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kernels import products
from kernels.spec import Bench, Case, Profile, Setting, Skip, Step, Unit, Variant, Work

if TYPE_CHECKING:
    from kernels.cpu.gemm import Gemm
    from kernels.cuda.library import Gpu
    from kernels.cuda.products import Pairs, Precision
    from kernels.timing import Timer

KINDS = {
    "matmul.fp32": products.FP32,
    "matmul.fp64": products.FP64,
    "matmul.bf16": products.BF16,
    "matmul.int8": products.INT8,
    "matmul.fp32_numba": products.FP32,
}
KEYS = tuple(KINDS)
SHARES = {"matmul.fp32": 1.5, "matmul.fp64": 1.5}
GPU_KEYS = (
    "matmul.bf16", "matmul.fp16", "matmul.fp8", "matmul.int8", "matmul.tf32", "matmul.fp32", "matmul.fp64",
)  # fmt: skip
GPU_KEPT = 3  # shapes of a precision that are measured for longer
GPU_TRIAL_PART = 0.3  # of a precision's time, to find them
SIDES_TRIED: dict[Profile, int] = {"quick": 2, "standard": 3, "deep": 4}


def on_cpu(setting: Setting) -> Iterator[Step]:
    """One precision after the other; each tries libraries and sizes, and measures the best of them."""
    keys = [key for key in KEYS if setting.wants(key)]
    if not keys:
        return
    libraries = products.set_up(setting.device.threads)
    for key in keys:
        kind = KINDS[key]
        try:
            sides = products.sides(kind, setting.device, seed=setting.seed)
        except (RuntimeError, NotImplementedError) as error:  # torch has no such product for this CPU
            yield Skip(key=key, reason=f"torch cannot do it here: {str(error).strip().partition(chr(10))[0]}")
            continue
        tried = sides[::2][: SIDES_TRIED[setting.profile]]
        if key == "matmul.fp32_numba":
            yield from _own(key, products.Operands(kind, tried[-1], seed=setting.seed), setting)
        else:
            yield _by_libraries(key, [products.Operands(kind, side, seed=setting.seed) for side in tried], libraries)


def _by_libraries(key: str, sets: list[products.Operands], libraries: products.Libraries) -> Case:
    variants = [_variant("torch", operands, operands.by_torch) for operands in sets]
    context: dict[str, object] = {"threads": libraries.threads, "torch_isa": libraries.torch_isa}
    if libraries.have_numpy(KINDS[key]):
        variants += [_variant("numpy", operands, operands.by_numpy) for operands in sets]
        turns = products.Turns(libraries.settle_s)
        variants = [replace(variant, clock=partial(turns.clock, variant)) for variant in variants]
        context |= {"numpy_threads": libraries.numpy_threads}
    return _case(key, variants, context)


def _own(key: str, operands: products.Operands, setting: Setting) -> Iterator[Step]:
    """Our own kernel, on the smallest side: being blocked it is as fast as on any, and samples are more."""
    from kernels.cpu.crew import Crew
    from kernels.cpu.gemm import TILE, Gemm

    cpus = setting.device.cpus[: setting.device.threads]
    with Crew(cpus) as crew, Gemm(crew, operands.side) as gemm:
        once = partial(_by_gemm, gemm, operands)
        once()  # compiled or loaded here, so that no measurement pays for it
        operands.spoil()
        tile = f"{TILE.rows}x{TILE.vectors * TILE.lanes}"
        yield _case(
            key, [_variant("numba", operands, once)], {"threads": len(cpus), "pinned": crew.pinned, "tile": tile}
        )


def _by_gemm(gemm: Gemm, operands: products.Operands) -> None:
    left, right = operands.next_pair()
    gemm.seconds(left.numpy(), right.numpy(), operands.result.numpy())


def _variant(library: str, operands: products.Operands, call: Callable[[], object]) -> Variant:
    work = Work(flops=operands.flops)
    return Variant(label=f"{library} {operands.side}", call=call, work=work, check=operands.check)


def _case(key: str, variants: list[Variant], context: dict[str, object]) -> Case:
    unit: Unit = "OP/s" if KINDS[key].stored == "int8" else "FLOP/s"
    return Case(key=key, unit=unit, variants=tuple(variants), share=SHARES.get(key, 1.0), context=context)


def on_cuda(setting: Setting) -> Iterator[Step]:
    """One precision after the other: all shapes once, then the best three with the harness's care."""
    from kernels.cuda import products as gpu_products
    from kernels.cuda.library import open_gpu
    from kernels.device import timer_for

    chosen = [precision for precision in gpu_products.PRECISIONS if setting.wants(precision.key)]
    if not chosen:
        return
    device = gpu_products.require_torch(setting.device.index)
    gpu, timer = open_gpu(setting.device.index), timer_for(setting.device)
    for precision in chosen:
        problem = gpu_products.obstacle(precision, setting.device.capability)
        if problem:
            yield Skip(key=precision.key, reason=problem)
            continue
        trial_s = setting.budget_s / len(chosen) * GPU_TRIAL_PART
        try:
            yield _on_gpu(precision, device, gpu, timer, setting, timer.now() + trial_s)
        except (RuntimeError, NotImplementedError) as error:  # torch has no such product for this GPU
            reason = str(error).strip().partition("\n")[0]
            yield Skip(key=precision.key, reason=f"torch cannot do it here: {reason}")


def _on_gpu(
    precision: Precision, device: str, gpu: Gpu, timer: Timer, setting: Setting, trial_until: float
) -> Case:  # fmt: skip
    from kernels.cuda import products as gpu_products

    set_to = gpu_products.set_precision(tf32=precision.key == "matmul.tf32")
    make = partial(gpu_products.Pairs, precision, device=device, l2_bytes=gpu.l2_bytes, seed=setting.seed)
    candidates = gpu_products.shapes(gpu.sms, precision, gpu.free_bytes())
    found = dict(
        gpu_products.fastest(candidates, make, timer.time, keep=GPU_KEPT, within=lambda: timer.now() < trial_until)
    )
    context: dict[str, object] = {
        "sms": gpu.sms, "operand": precision.operand, "result": precision.result,
        "burst_per_s": max(found.values()), "shapes_tried": len(candidates), **set_to,
    }  # fmt: skip
    variants = tuple(_gpu_variant(make(shape), partial(_note_clock, context, gpu, timer)) for shape in found)
    unit: Unit = "OP/s" if precision.operand == "int8" else "FLOP/s"
    return Case(key=precision.key, unit=unit, variants=variants, context=context)


def _gpu_variant(pairs: Pairs, note: Callable[[], None]) -> Variant:
    def check() -> None:
        note()  # first: the clock is to be that of the load
        pairs.check()

    label = "x".join(map(str, pairs.shape))
    return Variant(label=label, call=pairs.call, work=Work(flops=pairs.flops), check=check)


def _note_clock(context: dict[str, object], gpu: Gpu, timer: Timer) -> None:
    """Keep the clock of the multiprocessors; figure / (sms x clock_hz) is FLOP per SM and clock."""
    from kernels.cuda.timer import sm_clock_hz

    context["clock_hz"] = sm_clock_hz(gpu, timer)


BENCH = Bench(
    name="matmul",
    version=1,
    title="Matrix product",
    keys={"cpu": KEYS, "cuda": GPU_KEYS},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("torch", "numpy", "numba"),
    seconds={"quick": 9.0, "standard": 40.0, "deep": 90.0},
    startup_s=2.5,
    shares=SHARES,
)
