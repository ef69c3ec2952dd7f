"""Matrix products on a GPU through torch: precisions, shapes, random operands, and the check of what came out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels.spec import UnsupportedError, WrongResultError

if TYPE_CHECKING:
    import torch

    from kernels.freivalds import Freivalds

POOL = 3  #: operand pairs that are multiplied in turn, unless more are needed to pass over twice the L2
MOST_PAIRS = 16
MEMORY_PART = 0.2  #: of the free memory, for operands and result of one shape; three are held at a time
SHAPES_TRIED = 24
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
)

Shape = tuple[int, int, int]  #: m, n, k: (m, k) times (k, n)


def shapes(sms: int, precision: Precision, memory_bytes: int) -> tuple[Shape, ...]:
    """At most 24 shapes that are likely to be the fastest and fit into the memory.

    Libraries cut the result into tiles of 128 by 256 or so and give each multiprocessor one at a time: a result of a
    whole number of rounds leaves none idle. A short k draws less power, a long one hides more of the ends.
    """
    # k a multiple of 64: all libraries' tensor paths want 16 bytes of alignment, fp8 and int8 multiples of 16
    square = [(side, side, side) for side in (4096, 8192, 16384, 6144, 12288)]
    round_ = [(128 * sms * times, 256 * wide, k) for times in (1, 2) for wide in (8, 16, 32) for k in (1024, 4096)]
    deep = [(4096, 4096, 8192), (8192, 8192, 2048), (8192, 8192, 4096), (16384, 8192, 1280), (2048, 2048, 2048),
            (1024, 1024, 1024), (16384, 16384, 4096)]  # fmt: skip
    found = [shape for shape in dict.fromkeys((*square, *round_, *deep)) if _fits(shape, precision, memory_bytes)]
    return tuple(found[:SHAPES_TRIED])


def _fits(shape: Shape, precision: Precision, memory_bytes: int) -> bool:
    m, n, k = shape
    wanted = POOL * (m * k + k * n) * precision.item_bytes + m * n * precision.result_bytes
    return wanted <= MEMORY_PART * memory_bytes


class Pairs:
    """Operand pairs of one precision and shape, multiplied in turn into one result."""

    def __init__(self, precision: Precision, shape: Shape, *, device: str, l2_bytes: int, seed: int) -> None:
        """Operands of N(0, 1) (integers: uniform in -64..63), enough pairs that they pass over twice the L2."""
        import torch

        self.precision, self.shape = precision, shape
        m, n, k = shape
        self.flops = 2 * m * n * k
        pair_bytes = (m * k + k * n) * precision.item_bytes
        count = max(POOL, min(MOST_PAIRS, -(-2 * l2_bytes // pair_bytes)))
        generator = torch.Generator(device=device).manual_seed(seed)
        self._pairs = [
            (_operand((m, k), precision, generator), _operand((n, k), precision, generator).t()) for _ in range(count)
        ]
        self._one = torch.ones((), dtype=torch.float32, device=device)
        self.result = torch.zeros((m, n), dtype=getattr(torch, precision.result), device=device)
        self._turn = -1
        self._seed = seed
        self._checks: dict[int, Freivalds] = {}

    def call(self) -> None:
        """Queue the next pair's product."""
        self._turn = (self._turn + 1) % len(self._pairs)
        self._multiply(*self._pairs[self._turn])

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
        self._multiply(left, right)
        differing = int((_bits(first) != _bits(self.result)).sum())
        if differing:
            raise WrongResultError(
                f"{self.precision.key} {self.shape}: the same product done twice differs in {differing} elements"
            )
        self.result.fill_(0)

    def _multiply(self, left: torch.Tensor, right: torch.Tensor) -> None:
        import torch

        if self.precision.operand == "int8":
            torch._int_mm(left, right, out=self.result)  # noqa: SLF001 - torch has no public name for it
        elif self.precision.operand == "float8_e4m3fn":
            # fast accumulation is what libraries of models use, and what the peak of a data sheet means
            self.result = torch._scaled_mm(  # noqa: SLF001
                left, right, scale_a=self._one, scale_b=self._one, out_dtype=self.result.dtype, use_fast_accum=True
            )
        else:
            torch.mm(left, right, out=self.result)


def _bits(values: torch.Tensor) -> torch.Tensor:
    """As integers: NaN is unequal to itself, and 0 equal to -0."""
    import torch

    return values.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])


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


def set_precision(*, tf32: bool) -> dict[str, object]:
    """Say whether fp32 products may use TF32, never shorten sums; what torch says afterwards.

    Raises:
        UnsupportedError: the environment overrides it.
    """
    import torch

    override = os.environ.get("NVIDIA_TF32_OVERRIDE")
    if override is not None and override != str(int(tf32)):
        raise UnsupportedError(f"NVIDIA_TF32_OVERRIDE={override} in the environment overrides the precision; unset it")
    settings = torch.backends.cuda.matmul
    settings.allow_tf32 = tf32
    settings.allow_fp16_reduced_precision_reduction = False
    settings.allow_bf16_reduced_precision_reduction = False
    found = {
        "allow_tf32": bool(settings.allow_tf32),
        "allow_fp16_reduced_precision_reduction": bool(settings.allow_fp16_reduced_precision_reduction),
        "allow_bf16_reduced_precision_reduction": bool(settings.allow_bf16_reduced_precision_reduction),
    }
    if found["allow_tf32"] != tf32:
        raise UnsupportedError(f"torch was asked for allow_tf32 = {tf32} and says {found['allow_tf32']}")
    return dict(found)


def fastest(
    candidates: Sequence[Shape], make: Callable[[Shape], Pairs], time: Callable[[Callable[[], object], int], float],
    *, keep: int, within: Callable[[], bool]
) -> Iterator[tuple[Shape, float]]:  # fmt: skip
    """The `keep` best shapes with their rates (FLOP/s), best first; a shape is tried with five calls.

    Args:
        within: whether there is time to try another one.
    """
    rates: dict[Shape, float] = {}
    for shape in candidates:
        if rates and not within():
            break
        pairs = make(shape)
        time(pairs.call, 1)
        rates[shape] = 5 * pairs.flops / time(pairs.call, 5)
    best = sorted(rates, key=lambda shape: -rates[shape])
    yield from ((shape, rates[shape]) for shape in best[:keep])
