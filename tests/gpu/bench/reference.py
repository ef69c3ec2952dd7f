"""torch's own product and copy, called the way a program would that has nothing else."""

from __future__ import annotations

from typing import Any

from tests.gpu.bench.ground import Ground

#: our key -> how torch stores operands and result
KINDS = {
    "matmul.bf16": ("bfloat16", "bfloat16"),
    "matmul.fp16": ("float16", "float16"),
    "matmul.fp8": ("float8_e4m3fn", "bfloat16"),
    "matmul.int8": ("int8", "int32"),
    "matmul.tf32": ("float32", "float32"),
    "matmul.fp32": ("float32", "float32"),
    "matmul.fp64": ("float64", "float64"),
}


class Product:
    """torch's product of two matrices of N(0, 1) (int8: -64..63), always the same two."""

    def __init__(self, key: str, shape: tuple[int, int, int], *, device: str, seed: int) -> None:
        """`shape`: m, n, k; the right operand is stored by columns, as fp8 and int8 want it."""
        import torch

        self._key = key
        self._stored, result = KINDS[key]
        m, n, k = shape
        self.flops = 2.0 * m * n * k
        generator = torch.Generator(device=device).manual_seed(seed)
        self._left = self._operand((m, k), generator)
        self._right = self._operand((n, k), generator).t()
        self._one = torch.ones((), dtype=torch.float32, device=device)
        self._out = torch.empty((m, n), dtype=getattr(torch, result), device=device)

    def _operand(self, shape: tuple[int, int], generator: Any) -> Any:
        import torch

        if self._stored == "int8":
            return torch.randint(-64, 64, shape, dtype=torch.int8, device=generator.device, generator=generator)
        exact = torch.float64 if self._stored == "float64" else torch.float32
        values = torch.randn(shape, dtype=exact, device=generator.device, generator=generator)
        return values.to(getattr(torch, self._stored))

    def call(self) -> object:
        """Queue it once."""
        import torch

        if self._stored == "int8":
            return torch._int_mm(self._left, self._right, out=self._out)
        if self._stored == "float8_e4m3fn":
            return torch._scaled_mm(
                self._left,
                self._right,
                scale_a=self._one,
                scale_b=self._one,
                out_dtype=self._out.dtype,
                use_fast_accum=True,
            )
        return torch.mm(self._left, self._right, out=self._out)

    def rate(self, ground: Ground) -> float:
        """Operations per second; TF32 is on for the key of its name and off for every other."""
        import torch

        torch.backends.cuda.matmul.allow_tf32 = self._key == "matmul.tf32"
        return self.flops / ground.steady(self.call)


class Copy:
    """torch's copy from one tensor to another, counted as read and written."""

    def __init__(self, size_bytes: int, *, device: str, seed: int) -> None:
        import torch

        generator = torch.Generator(device=device).manual_seed(seed)
        self._source = torch.randn(size_bytes // 4, device=device, generator=generator)
        self._target = torch.empty_like(self._source)

    def rate(self, ground: Ground) -> float:
        """Bytes per second."""
        moved = 2.0 * self._source.numel() * self._source.element_size()
        return float(moved / ground.steady(lambda: self._target.copy_(self._source)))
