"""Matrix products on a GPU, by torch or our own kernel: precisions, shapes, random operands, checks of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from kernels.spec import UnsupportedError, WrongResultError

if TYPE_CHECKING:
    import torch

    from kernels.freivalds import Freivalds

POOL = 3  #: operand pairs that are multiplied in turn, unless more are needed to pass over twice the L2
MOST_PAIRS = 16
MEMORY_PART = 0.2  #: of the free memory, for operands and result of one shape; three are held at a time
SHAPES_TRIED = 24
TRIAL_CALLS = 5  #: of a shape, after the first
ZEROS_ROUNDS = 3  #: of random operands and zeros in turn
OWN = "matmul.fp32_numba"
TF32_MASK = ~0x1FFF  # the 13 bits of a float32's mantissa that TF32 does not hold


@dataclass(frozen=True, slots=True)
class Precision:
    """A way to multiply: how operands and result are stored, how sums are kept."""

    key: str
    operand: str  #: torch's name
    result: str
    accumulated: str  #: a key of kernels.freivalds.ROUNDOFF, or "int32" for exactly
    item_bytes: int  #: of an operand
    result_bytes: int
    capability: tuple[int, int] = (7, 0)  #: the least that can


PRECISIONS = (
    Precision("matmul.bf16", "bfloat16", "bfloat16", "tensor_float32", 2, 2, (8, 0)),
    Precision("matmul.fp16", "float16", "float16", "tensor_float32", 2, 2),
    Precision("matmul.fp8", "float8_e4m3fn", "bfloat16", "tensor_float8", 1, 2, (8, 9)),
    Precision("matmul.int8", "int8", "int32", "int32", 1, 4, (7, 5)),
    Precision("matmul.tf32", "float32", "float32", "tensor_float32", 4, 4, (8, 0)),
    Precision("matmul.fp32", "float32", "float32", "float32", 4, 4),
    Precision("matmul.fp64", "float64", "float64", "float64", 8, 8),
    # half of the sums' bits: twice as fast on GeForce alone, which tells its chips from those of workstations
    Precision("matmul.fp16_acc16", "float16", "float16", "float16", 2, 2),
    Precision(OWN, "float32", "float32", "float32", 4, 4),
)

Shape = tuple[int, int, int]  #: m, n, k: (m, k) times (k, n)


def shapes(sms: int, precision: Precision, memory_bytes: int) -> tuple[Shape, ...]:
    """At most 24 shapes that are likely to be the fastest and fit into the memory.

    Libraries cut the result into tiles of 128 by 256 or so and give each multiprocessor one at a time: a result of a
    whole number of rounds leaves none idle. A short k draws less power, a long one hides more of the ends.
    """
    # k a multiple of 64: all libraries' tensor paths want 16 bytes of alignment, fp8 and int8 multiples of 16
    # the first is small: its rate tells which of the others there is time for
    square = [(side, side, side) for side in (2048, 4096, 8192, 16384, 6144, 12288)]
    round_ = [(128 * sms * times, 256 * wide, k) for times in (1, 2) for wide in (8, 16, 32) for k in (1024, 4096)]
    deep = [(4096, 4096, 8192), (8192, 8192, 2048), (8192, 8192, 4096), (16384, 8192, 1280),
            (1024, 1024, 1024), (16384, 16384, 4096)]  # fmt: skip
    found = [shape for shape in dict.fromkeys((*square, *round_, *deep)) if _fits(shape, precision, memory_bytes)]
    return tuple(found[:SHAPES_TRIED])


def _fits(shape: Shape, precision: Precision, memory_bytes: int) -> bool:
    m, n, k = shape
    wanted = POOL * (m * k + k * n) * precision.item_bytes + m * n * precision.result_bytes
    return wanted <= MEMORY_PART * memory_bytes


class Pairs:
    """Operand pairs of one precision and shape, multiplied in turn into one result."""

    def __init__(
        self, precision: Precision, shape: Shape, *, device: str, l2_bytes: int, seed: int, zeros: bool = False
    ) -> None:
        """Operands of N(0, 1) (integers: uniform in -64..63), enough pairs that they pass over twice the L2.

        `zeros`: all operands are zero instead, which takes the same steps and next to no power.

        Raises:
            UnsupportedError: our own kernel cannot be built for this device.
        """
        import torch

        self.precision, self.shape = precision, shape
        m, n, k = shape
        self.flops = 2 * m * n * k
        pair_bytes = (m * k + k * n) * precision.item_bytes
        count = max(POOL, min(MOST_PAIRS, -(-2 * l2_bytes // pair_bytes)))
        generator = torch.Generator(device=device).manual_seed(seed)
        self._pairs = [_pair(shape, precision, generator) for _ in range(count)]
        if zeros:
            self._pairs = [(torch.zeros_like(left), torch.zeros_like(right)) for left, right in self._pairs]
        self._one = torch.ones((), dtype=torch.float32, device=device)
        self.result = torch.zeros((m, n), dtype=getattr(torch, precision.result), device=device)
        self._calls = [self._caller(left, right) for left, right in self._pairs]
        self._turn = -1
        self._seed = seed
        self._checks: dict[int, Freivalds] = {}

    def call(self) -> None:
        """Queue the next pair's product."""
        self._turn = (self._turn + 1) % len(self._pairs)
        self._calls[self._turn]()

    def check(self) -> None:
        """Check the last product, do it again and compare every bit, then spoil it.

        Raises:
            WrongResultError: it is not the product, or the second time differs from the first.
        """
        from kernels.freivalds import Freivalds

        left, right = self._pairs[self._turn]
        if self._turn not in self._checks:
            self._checks.clear()
            self._checks[self._turn] = Freivalds(left, right, seed=self._seed)
        self._checks[self._turn].check(self.result, accumulated=self.precision.accumulated)
        first = self.result.clone()
        self._calls[self._turn]()
        differing = int((_bits(first) != _bits(self.result)).sum())
        if differing:
            raise WrongResultError(
                f"{self.precision.key} {self.shape}: the same product done twice differs in {differing} elements"
            )
        self.result.fill_(0)

    def release(self) -> None:
        """Give the memory back; nothing can be called or checked any more."""
        self._calls.clear()
        self._pairs.clear()
        self._checks.clear()
        self.result = self.result.new_empty(0)

    def _caller(self, left: torch.Tensor, right: torch.Tensor) -> Callable[[], object]:
        import torch

        if self.precision.key == OWN:
            return own_product(left, right, self.result)
        if self.precision.operand == "int8":
            return partial(torch._int_mm, left, right, out=self.result)  # noqa: SLF001 - torch has no public name for it
        if self.precision.operand == "float8_e4m3fn":
            return partial(self._scaled, left, right)
        return partial(torch.mm, left, right, out=self.result)

    def _scaled(self, left: torch.Tensor, right: torch.Tensor) -> None:
        import torch

        # fast accumulation is what libraries of models use, and what the peak of a data sheet means
        self.result = torch._scaled_mm(  # noqa: SLF001
            left, right, scale_a=self._one, scale_b=self._one, out_dtype=self.result.dtype, use_fast_accum=True
        )


def own_product(left: torch.Tensor, right: torch.Tensor, result: torch.Tensor) -> Callable[[], object]:
    """A call that queues left·right by our own kernel; `left` is stored by columns, `right` and `result` by rows.

    Raises:
        UnsupportedError: numba has no CUDA target here, or finds no driver or compiler.
    """
    try:
        from kernels.cuda import gemm

        return gemm.product(left.t(), right, result, index=left.device.index or 0)
    except ImportError as error:  # what numba raises for a driver or a libNVVM that it does not find, too
        raise UnsupportedError(
            f"our own kernel needs numba with CUDA's compiler ({str(error).strip().partition(chr(10))[0]}); install "
            "the CUDA toolkit, or numba-cuda[cu12] or [cu13]"
        ) from error


def _bits(values: torch.Tensor) -> torch.Tensor:
    """As integers: NaN is unequal to itself, and 0 equal to -0."""
    import torch

    return values.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])


def _pair(shape: Shape, precision: Precision, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Operands laid out as their kernels read them fastest: libraries along K, our own across it."""
    m, n, k = shape
    if precision.key == OWN:
        return _operand((k, m), precision, generator).t(), _operand((k, n), precision, generator)
    return _operand((m, k), precision, generator), _operand((n, k), precision, generator).t()


def _operand(shape: tuple[int, int], precision: Precision, generator: torch.Generator) -> torch.Tensor:
    import torch

    device = generator.device
    if precision.operand == "int8":
        return torch.randint(-64, 64, shape, dtype=torch.int8, device=device, generator=generator)
    exact = torch.float64 if precision.operand == "float64" else torch.float32
    values = torch.randn(shape, dtype=exact, device=device, generator=generator)
    if precision.key == "matmul.tf32":
        # rounded beforehand: the product is then that of the operands as they are, and can be checked as closely
        values.view(torch.int32).bitwise_and_(TF32_MASK)
    stored: torch.Tensor = values.to(getattr(torch, precision.operand))
    return stored


def obstacle(precision: Precision, capability: Sequence[int] | None) -> str | None:
    """Why a GPU has no such product, None = it has."""
    if capability is not None and tuple(capability) < precision.capability:
        wanted, found = (".".join(map(str, version)) for version in (precision.capability, capability))
        return f"needs compute capability {wanted}, found {found}"
    return None


def hottest(capability: Sequence[int] | None) -> Precision:
    """The precision that draws the most power: 16 bits on tensor cores, with sums in 32."""
    return next(precision for precision in PRECISIONS if obstacle(precision, capability) is None)


def require_torch(index: int) -> str:
    """torch's name of the GPU, made torch's current one.

    Raises:
        UnsupportedError: torch was built without CUDA, or sees no such GPU.
    """
    import torch

    if not torch.cuda.is_available() or torch.cuda.device_count() <= index:
        raise UnsupportedError(
            f"torch {torch.__version__} sees no GPU {index}; install a torch built for this driver's CUDA"
        )
    torch.cuda.set_device(index)
    return f"cuda:{index}"


def free_bytes(index: int) -> int:
    """Memory of the GPU that can be had now."""
    import torch

    return int(torch.cuda.mem_get_info(index)[0])


def release(every: Sequence[Pairs]) -> None:
    """Give the memory of these back to the device, beyond torch's own keeping of it."""
    import torch

    for pairs in every:
        pairs.release()
    torch.cuda.empty_cache()


def fastest(
    candidates: Sequence[Shape], make: Callable[[Shape], Pairs], time: Callable[[Callable[[], object], int], float],
    *, keep: int, left_s: Callable[[], float]
) -> Iterator[tuple[Shape, float]]:  # fmt: skip
    """The `keep` best shapes with their rates (FLOP/s), best first; a shape is tried with a few calls.

    Args:
        left_s: the time left; a shape that would take longer at the best rate so far is left out, the first never.
    """
    rates: dict[Shape, float] = {}
    for shape in candidates:
        m, n, k = shape
        if rates and (1 + TRIAL_CALLS) * 2 * m * n * k / max(rates.values()) > left_s():
            continue
        pairs = make(shape)
        time(pairs.call, 1)
        rates[shape] = TRIAL_CALLS * pairs.flops / time(pairs.call, TRIAL_CALLS)
    best = sorted(rates, key=lambda shape: -rates[shape])
    yield from ((shape, rates[shape]) for shape in best[:keep])


def zeros_ratio(
    random: Pairs, zeros: Pairs, time: Callable[[Callable[[], object], int], float], *, seconds: float
) -> float:  # fmt: skip
    """How many times as fast products of zeros are: above 1 where power limits the speed, as zeros draw little.

    Both take turns for `seconds` in all, so that a drift of the clock meets both alike.
    """
    calls = max(1, round(seconds / (2 * ZEROS_ROUNDS) / time(random.call, 1)))
    lasted_s: tuple[list[float], list[float]] = ([], [])
    for _ in range(ZEROS_ROUNDS):
        for pairs, taken in zip((random, zeros), lasted_s, strict=True):
            taken.append(time(pairs.call, calls))
    return median(lasted_s[0]) / median(lasted_s[1])
