"""The same work on two devices, or on one and in float64: what must come out equal, and how nearly."""

from __future__ import annotations

from typing import Any

from kernels.cpu.chase import cycle
from kernels.cuda.library import Gpu
from kernels.cuda.products import Pairs, Precision
from kernels.cuda.switches import switched
from kernels.cuda.walk import NODE_BYTES, Walk

SHAPE = (256, 192, 320)
#: of the sum of the products' magnitudes: what sums and, as a part of the result, its own rounding may be off by.
#: fp8's fast accumulation keeps 14 bits of a sum (arXiv:2412.19437, section 3.3.2)
BOUNDS = {
    "matmul.bf16": (2**-16, 2**-8),
    "matmul.fp16": (2**-16, 2**-10),
    "matmul.fp8": (2**-9, 2**-8),
    "matmul.int8": (0.0, 0.0),
    "matmul.tf32": (2**-12, 0.0),
    "matmul.fp32": (2**-18, 0.0),
    "matmul.fp64": (2**-46, 0.0),
}


def excess(precision: Precision, device: str) -> float:
    """The largest error of a product over its bound: at most 1 where the product is right; nan where it is none."""
    import torch

    found = Pairs(precision, SHAPE, device=device, l2_bytes=1 << 12, seed=3)
    with switched(precision):  # as in a run: sums of parts are not rounded to 16 bits either
        found.call()
    left, right = (operand.cpu().to(torch.float64) for operand in found._pairs[found._turn])
    return over(precision.key, found.result.cpu().to(torch.float64), left, right)


def over(key: str, result: Any, left: Any, right: Any) -> float:
    """The same of float64 tensors."""
    import torch

    sums, rounding = BOUNDS[key]
    wanted = left @ right
    bound = sums * (left.abs() @ right.abs()) + rounding * wanted.abs()
    # where no error is allowed, any is infinitely too much
    off = (result - wanted).abs()
    return float(torch.where(off == 0, torch.zeros_like(off), off / bound).max())


def places(gpu: Gpu, *, near: bool, nodes: int = 4096, hops: int = 1000) -> list[int]:
    """Where a chase of a given seed stands after each of three walks."""
    walk = Walk(gpu, cycle(nodes, 7), near=near, warm=0, hops=hops)
    found = []
    for _ in range(3):
        walk.call()
        at = int(gpu.download(walk._state)[0])
        found.append((at - walk._begin) // NODE_BYTES)
    return found
