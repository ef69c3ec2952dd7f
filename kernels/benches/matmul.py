"""Matrix product C = A·B: on a CPU by torch, numpy and a kernel of our own, on a GPU in eight precisions by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from kernels import products
from kernels.spec import Bench, Case, Profile, Setting, Skip, Step, Unit, UnsupportedError, Variant, Work

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
    "matmul.fp16_acc16", "matmul.fp32_numba",
)  # fmt: skip
GPU_NOT_QUICK = ("matmul.fp16_acc16", "matmul.fp32_numba")  # they vouch for others, which there is time for later
GPU_SHARES = dict.fromkeys(GPU_NOT_QUICK, 0.5)
GPU_KEPT = 3  # shapes of a precision that are measured for longer
GPU_TRIAL_PART = 0.3  # of a precision's time, to find them
GPU_ZEROS_PART = 0.1  # in the deep profile, to see what power costs
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
    from kernels.cuda.switches import switched
    from kernels.device import timer_for

    chosen = [precision for precision in gpu_products.PRECISIONS if setting.wants(precision.key)]
    if not chosen:
        return
    device = gpu_products.require_torch(setting.device.index)
    load = OnGpu(device, open_gpu(setting.device.index), timer_for(setting.device), setting)
    for precision in chosen:
        problem = _obstacle(precision, setting)
        if problem:
            yield Skip(key=precision.key, reason=problem)
            continue
        try:
            with switched(precision) as said:
                yield load.case(precision, said)
        except UnsupportedError as error:  # a switch, or our own kernel
            yield Skip(key=precision.key, reason=str(error))
        except (RuntimeError, NotImplementedError) as error:  # torch has no such product for this GPU
            reason = str(error).strip().partition("\n")[0]
            yield Skip(key=precision.key, reason=f"torch cannot do it here: {reason}")


def _obstacle(precision: Precision, setting: Setting) -> str | None:
    """Why a precision is not measured, None = it is."""
    from kernels.cuda import products as gpu_products

    if precision.key in GPU_NOT_QUICK and setting.profile == "quick":
        return "the quick profile has no time for it; standard and deep do"
    return gpu_products.obstacle(precision, setting.device.capability)


@dataclass(frozen=True, slots=True)
class OnGpu:
    """What the cases of one GPU share."""

    device: str  #: torch's name
    gpu: Gpu
    timer: Timer
    setting: Setting
    held: list[Pairs] = field(default_factory=list)  #: of the latest case

    def case(self, precision: Precision, said: Mapping[str, object]) -> Case:
        """The best three shapes of a precision. `said`: what torch says of its switches."""
        from kernels.cuda import products as gpu_products

        # whoever measured the case before still has it, and its gigabytes
        gpu_products.release(self.held)
        self.held.clear()
        gpu, timer, seconds = self.gpu, self.timer, self._seconds(precision)
        make = partial(gpu_products.Pairs, precision, device=self.device, l2_bytes=gpu.l2_bytes, seed=self.setting.seed)
        candidates = gpu_products.shapes(gpu.sms, precision, gpu.free_bytes())
        until = timer.now() + seconds * GPU_TRIAL_PART
        found = dict(
            gpu_products.fastest(candidates, make, timer.time, keep=GPU_KEPT, left_s=lambda: until - timer.now())
        )
        best = next(iter(found))
        context: dict[str, object] = {
            "sms": gpu.sms, "operand": precision.operand, "result": precision.result,
            "accumulated": precision.accumulated, "burst_per_s": found[best], "shapes_tried": len(candidates), **said,
        }  # fmt: skip
        if self.setting.profile == "deep":
            context["zeros_ratio"] = gpu_products.zeros_ratio(
                make(best), make(best, zeros=True), timer.time, seconds=seconds * GPU_ZEROS_PART
            )
        note = partial(_note_clock, context, gpu, timer)
        self.held.extend(make(shape) for shape in found)
        return Case(
            key=precision.key,
            unit="OP/s" if precision.operand == "int8" else "FLOP/s",
            variants=tuple(_gpu_variant(pairs, note) for pairs in self.held),
            share=GPU_SHARES.get(precision.key, 1.0),
            context=context,
            after=partial(_normalised, context),
        )

    def _seconds(self, precision: Precision) -> float:
        """A precision's part of the bench's time."""
        return self.setting.budget_s * GPU_SHARES.get(precision.key, 1.0) / max(shares(self.setting), 0.5)


def _gpu_variant(pairs: Pairs, note: Callable[[], None]) -> Variant:
    def check() -> None:
        note()  # first: the clock is to be that of the load
        pairs.check()

    label = "x".join(map(str, pairs.shape))
    return Variant(label=label, call=pairs.call, work=Work(flops=pairs.flops), check=check)


def _note_clock(context: dict[str, object], gpu: Gpu, timer: Timer) -> None:
    """Keep the clock of the multiprocessors."""
    from kernels.cuda.timer import sm_clock_hz

    context["clock_hz"] = sm_clock_hz(gpu, timer)


def _normalised(
    context: Mapping[str, object], variant: Variant, seconds: Sequence[float], calls: int
) -> dict[str, object]:
    """Beside the median of all samples: that of the late half, and what a multiprocessor did per cycle.

    The clock is the one right after the load; the late half began after `sustained_after_s` of it.
    """
    rates = [variant.work.flops / each for each in seconds]
    half = len(rates) // 2
    cycles_per_s = float(str(context["sms"])) * float(str(context["clock_hz"]))
    return {
        "sustained_per_s": median(rates[half:]),
        "sustained_after_s": calls * sum(seconds[:half]),
        "per_sm_cycle": median(rates) / cycles_per_s,
    }


def shares(setting: Setting) -> float:
    """Of all that will be measured."""
    if setting.device.kind == "cpu":
        return sum(SHARES.get(key, 1.0) for key in KEYS if setting.wants(key))
    from kernels.cuda.products import PRECISIONS

    measured = [each.key for each in PRECISIONS if setting.wants(each.key) and not _obstacle(each, setting)]
    return sum(GPU_SHARES.get(key, 1.0) for key in measured)


BENCH = Bench(
    name="matmul",
    version=1,
    title="Matrix product",
    keys={"cpu": KEYS, "cuda": GPU_KEYS},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("torch", "numpy", "numba"),
    seconds={"quick": 9.0, "standard": 40.0, "deep": 90.0},
    startup_s=2.5,
    shares=shares,
)
