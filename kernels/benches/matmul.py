"""Matrix product C = A·B in four precisions through torch and numpy, and in fp32 by a kernel of our own."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kernels.spec import Bench, Case, Profile, Setting, Skip, Step, Unit, Variant, Work, WrongResultError

if TYPE_CHECKING:
    import torch

    from kernels.cpu.crew import Crew
    from kernels.cpu.gemm import Gemm
    from kernels.freivalds import Freivalds


@dataclass(frozen=True, slots=True)
class Kind:
    """A precision: how it is stored and summed, and how much work makes one call."""

    stored: str  #: torch's name
    accumulated: str  #: the type sums are kept in
    item_bytes: int  #: of the larger of operand and result
    thread_flops: float  #: of one call and thread, at most: 40 to 80 ms of a core with wide vectors


KINDS = {
    "matmul.fp32": Kind("float32", "float32", 4, 5e9),
    "matmul.fp64": Kind("float64", "float64", 8, 4e9),
    "matmul.bf16": Kind("bfloat16", "float32", 2, 1e10),
    "matmul.int8": Kind("int8", "int32", 4, 2e10),
    "matmul.fp32_numba": Kind("float32", "float32", 4, 5e9),
}
KEYS = tuple(KINDS)
SIDES = (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
POOL = 3  # random matrices; the pairs (0, 1), (1, 2), (2, 0) are multiplied in turn, so none stays in a cache
MEMORY_PART = 0.25  # of what is available, for pool and result
TRIED = ("bfloat16", "int8")  #: what a CPU may do so slowly that the time of a call must be found out first
SLOWEST_CALL_S = 0.3  # a call this slow leaves too few samples; smaller matrices are taken then
SAMPLED_ROWS = 16  # of an integer product, compared element by element beside the check of the whole
SHARES = {"matmul.fp32": 1.5, "matmul.fp64": 1.5}
VARIANT_SIDES: dict[Profile, int] = {"quick": 2, "standard": 3, "deep": 4}


class Operands:
    """Random square matrices of one kind, multiplied pair by pair."""

    def __init__(self, kind: Kind, side: int, *, seed: int) -> None:
        import torch

        self.side = side
        self._kind = kind
        generator = torch.Generator().manual_seed(seed)
        self.pool = [_random(kind.stored, side, generator) for _ in range(POOL)]
        result = "int32" if kind.stored == "int8" else kind.stored
        self.result = torch.zeros(side, side, dtype=getattr(torch, result))
        self.turn = 0  #: the pair multiplied last
        self._seed = seed
        self._checks: dict[int, Freivalds] = {}

    def next_pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The operands of the next product."""
        self.turn = (self.turn + 1) % POOL
        return self.pool[self.turn], self.pool[(self.turn + 1) % POOL]

    def check(self) -> None:
        """Check the result against the pair multiplied last, then spoil it so that each check needs a new product."""
        from kernels.freivalds import Freivalds

        left, right = self.pool[self.turn], self.pool[(self.turn + 1) % POOL]
        if self.turn not in self._checks:
            self._checks[self.turn] = Freivalds(left, right, seed=self._seed)
        self._checks[self.turn].check(self.result, accumulated=self._kind.accumulated)
        if not self.result.is_floating_point():
            _compare_rows(left, right, self.result)
        self.result.fill_(-1)


class Turns:
    """Times the calls of two libraries whose idle threads would take the CPUs from one another.

    Workers of OpenBLAS and OpenMP spin for a while after their last work: with all CPUs in use, whoever comes next is
    halved. So a change of library first waits until they sleep.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._last = ""

    def clock(self, variant: Variant, calls: int) -> float:
        """Seconds of `calls` calls in a row."""
        library = variant.label.partition(" ")[0]
        if library != self._last:
            time.sleep(self._settle_s)
            self._last = library
        start = time.perf_counter()
        for _ in range(calls):
            variant.call()
        return time.perf_counter() - start


def on_cpu(setting: Setting) -> Iterator[Step]:
    """One precision after the other; each tries libraries and sizes, and measures the best of them."""
    keys = [key for key in KEYS if setting.wants(key)]
    if not keys:
        return
    from kernels.cpu.blas import set_numpy_threads, shorten_spins

    settle_s = shorten_spins(os.environ)  # before anything loads numpy

    import torch

    from kernels.cpu.crew import Crew

    threads = setting.device.threads
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    context: dict[str, object] = {
        "threads": threads,
        "torch_isa": torch.backends.cpu.get_cpu_capability(),
        "numpy_threads": set_numpy_threads(threads),
    }
    for key in keys:
        try:
            sides = _sides(setting, key)
        except (RuntimeError, NotImplementedError) as error:  # torch has no such product for this CPU
            reason = str(error).strip().partition("\n")[0]
            yield Skip(key=key, reason=f"torch {torch.__version__} cannot do it here: {reason}")
            continue
        sets = [Operands(KINDS[key], side, seed=setting.seed) for side in sides]
        if key == "matmul.fp32_numba":
            with Crew(setting.device.cpus[:threads]) as crew:
                yield from _own(key, sets, crew, context)
        else:
            yield _libraries(key, sets, context, settle_s=settle_s)


def _libraries(key: str, sets: list[Operands], context: dict[str, object], *, settle_s: float) -> Case:
    variants = [_variant("torch", operands, partial(_by_torch, operands)) for operands in sets]
    if KINDS[key].stored in ("float32", "float64") and context["numpy_threads"] == context["threads"]:
        variants += [_variant("numpy", operands, partial(_by_numpy, operands)) for operands in sets]
        turns = Turns(settle_s)
        variants = [replace(variant, clock=partial(turns.clock, variant)) for variant in variants]
    return _case(key, variants, context)


def _own(key: str, sets: list[Operands], crew: Crew, context: dict[str, object]) -> Iterator[Step]:
    from kernels.cpu.gemm import Gemm

    with ExitStack() as stack:
        variants = []
        for operands in sets:
            gemm = stack.enter_context(Gemm(crew, operands.side))
            once = partial(_by_gemm, gemm, operands)
            once()  # compiled or loaded here, so that no measurement pays for it
            variants.append(_variant("numba", operands, once))
        yield _case(key, variants, context | {"pinned": crew.pinned})


def _variant(library: str, operands: Operands, call: Callable[[], object]) -> Variant:
    return Variant(
        label=f"{library} {operands.side}", call=call, work=Work(flops=2 * operands.side**3), check=operands.check
    )


def _case(key: str, variants: list[Variant], context: dict[str, object]) -> Case:
    unit: Unit = "OP/s" if KINDS[key].stored == "int8" else "FLOP/s"
    return Case(key=key, unit=unit, variants=tuple(variants), share=SHARES.get(key, 1.0), context=context)


def _by_torch(operands: Operands) -> None:
    left, right = operands.next_pair()
    _multiply(left, right, operands.result)


def _by_numpy(operands: Operands) -> None:
    import numpy as np

    left, right = operands.next_pair()
    np.matmul(left.numpy(), right.numpy(), out=operands.result.numpy())


def _by_gemm(gemm: Gemm, operands: Operands) -> None:
    left, right = operands.next_pair()
    gemm.seconds(left.numpy(), right.numpy(), operands.result.numpy())


def _multiply(left: torch.Tensor, right: torch.Tensor, result: torch.Tensor) -> None:
    import torch

    if left.dtype == torch.int8:
        torch._int_mm(left, right, out=result)  # noqa: SLF001 - torch's only integer product; there is no public one
    else:
        torch.mm(left, right, out=result)


def _random(stored: str, side: int, generator: torch.Generator) -> torch.Tensor:
    import torch

    if stored == "int8":
        return torch.empty(side, side, dtype=torch.int8).random_(-128, 128, generator=generator)
    drawn = torch.float32 if stored == "bfloat16" else getattr(torch, stored)
    return torch.empty(side, side, dtype=drawn).normal_(generator=generator).to(getattr(torch, stored))


def _compare_rows(left: torch.Tensor, right: torch.Tensor, result: torch.Tensor) -> None:
    """Compare evenly spaced rows of an integer product with their exact value, element by element."""
    rows = slice(0, None, max(1, left.shape[0] // SAMPLED_ROWS))
    wrong = int((left[rows].double() @ right.double() != result[rows].double()).sum())
    if wrong:
        raise WrongResultError(f"{wrong} elements of {SAMPLED_ROWS} rows of the integer product are not exact")


def _sides(setting: Setting, key: str) -> list[int]:
    """The sides to try: the largest whose call is neither too long nor too large for the memory, and smaller ones."""
    kind, device = KINDS[key], setting.device
    room = math.inf if device.memory_bytes is None else device.memory_bytes * MEMORY_PART
    fitting = [
        side
        for side in SIDES
        if 2 * side**3 <= kind.thread_flops * device.threads and (POOL + 1) * kind.item_bytes * side**2 <= room
    ] or [SIDES[0]]
    if kind.stored in TRIED:
        limit = _affordable_side(kind, fitting[-1], setting.seed)
        fitting = [side for side in fitting if side <= limit] or [SIDES[0]]
    return fitting[::-2][: VARIANT_SIDES[setting.profile]]


def _affordable_side(kind: Kind, side: int, seed: int) -> int:
    """The side whose product takes SLOWEST_CALL_S, from the time that ever more rows of one take; `side` at most.

    A CPU without instructions for a type may be a thousand times slower than one with them.
    """
    operands = Operands(kind, side, seed=seed)
    left, right = operands.next_pair()
    call_s = math.inf
    for rows in (8, 64, 512):
        start = time.perf_counter()
        _multiply(left[:rows], right, operands.result[:rows])
        lasted_s = time.perf_counter() - start
        call_s = lasted_s * max(1.0, side / rows)
        if call_s <= SLOWEST_CALL_S:
            return side
        if lasted_s > SLOWEST_CALL_S / 3:
            break
    return int(side * (SLOWEST_CALL_S / call_s) ** (1 / 3))


BENCH = Bench(
    name="matmul",
    version=1,
    title="Matrix product",
    keys={"cpu": KEYS},
    open={"cpu": on_cpu},
    waived={"cuda": "not built yet"},
    needs=("torch", "numpy", "numba"),
    seconds={"quick": 13.0, "standard": 40.0, "deep": 90.0},
    startup_s=2.5,
    shares=SHARES,
)
