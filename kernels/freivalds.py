"""Freivalds' check: is C = A·B, for a small part of what computing A·B again would cost?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kernels.spec import WrongResultError

if TYPE_CHECKING:
    import torch

ROUNDS = 3
BLOCKS = 16  # column blocks tested apart: each test holds the rounding of a sixteenth of a row, and sees that much more
SIGMAS = 8  # a Gaussian passes it once in 10^15; a check makes about 10^5 comparisons
CHUNK_ROWS = 1024  # rows of A and C held in fp64 at a time

#: the most that one addition errs by, in parts of the sum: half a unit of its last bit where it is rounded to nearest,
#: a whole one where what lies below the last bit is cut off, as tensor cores do.
#: - They add four (V100, T4), eight (A100) or more products to a sum at once, aligned to the largest of them; what
#:   hangs over is cut; 24 bits of the sum are kept: M. Fasi, N. Higham, M. Mikaitis and S. Pranesh, Numerical behavior
#:   of NVIDIA tensor cores, PeerJ Computer Science 7:e330 (2021); for H100 and B200 F. Khattak and M. Mikaitis,
#:   Accurate models of NVIDIA tensor cores, arXiv 2512.07004 (2025). A sum already lies on its own grid, so only
#:   products are cut, whose signs are random: the errors add up like random ones.
#: - Sums of fp8 products keep 13 bits behind the point on Hopper and Ada, all of them on newer ones: DeepSeek-V3
#:   Technical Report, arXiv 2412.19437, 3.3.2; github.com/deepseek-ai/DeepGEMM, issue 176.
#: A simulation of both (tests/kernels/test_freivalds.py) errs by a fourth of this or less.
ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "tensor_float32": 2.0**-23,
    "tensor_float8": 2.0**-13,
}


class Freivalds:
    """Checks any C that is claimed to be a·b, for one pair a, b; holds A·(B·X) for fixed random X of ±1.

    For a right C, C·X = A·(B·X). A row of C with one wrong element always differs, by that element's error; several
    wrong elements cancel in one round with probability 1/2 at most (R. Freivalds, 1977). X is zero outside one block of
    columns at a time, so that a test adds up the rounding of one block only.

    Products of integers are compared exactly; all sums stay below 2^53 for k·n <= 2^39 with 8-bit elements.
    """

    def __init__(self, a: torch.Tensor, b: torch.Tensor, *, seed: int) -> None:
        """a of shape (m, k) and b of shape (k, n), with elements of N(0, 1) or integers."""
        import torch

        self._k, columns = b.shape
        self._width = -(-columns // BLOCKS)
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (columns, ROUNDS), generator=generator).double() * 2 - 1
        x = torch.zeros(columns, BLOCKS * ROUNDS, dtype=torch.float64)
        for block in range(BLOCKS):
            rows = slice(block * self._width, (block + 1) * self._width)
            x[rows, block * ROUNDS : (block + 1) * ROUNDS] = signs[rows]
        self._x = x.to(a.device)
        self._expected = _times(a, _times(b, self._x))

    def check(self, c: torch.Tensor, *, accumulated: str) -> None:
        """Raise WrongResultError unless c = a·b, up to rounding; NaN and infinity never pass.

        Args:
            c: shape (m, n).
            accumulated: the type that sums were kept in: a key of ROUNDOFF, or an integer type for "exactly".
        """
        tolerance = self._tolerance(accumulated, str(c.dtype).removeprefix("torch."))
        worst = float((_times(c, self._x) - self._expected).abs().max())  # NaN stays NaN
        if not worst <= tolerance:
            raise WrongResultError(
                f"the product of {tuple(c.shape)} {c.dtype} differs from A(BX) by {worst:.3g}, rounding explains "
                f"{tolerance:.3g}; the device computes wrongly, or a library was set to a lower precision"
            )

    def _tolerance(self, accumulated: str, stored: str) -> float:
        """What rounding can do to one element of C·X, for elements of A and B drawn from N(0, 1).

        The partial sums of an element of C have a standard deviation of at most sqrt(k); each of its k additions errs
        by at most u times the partial sum, independently enough, so the error of the element has one of at most
        u·sqrt(k)·sqrt(k) = u·k. Storing it in a shorter type adds u'·sqrt(k). A test adds `width` of them with random
        signs, hence sqrt(width)·(u·k + u'·sqrt(k)), of which SIGMAS are allowed. A(BX) itself, in fp64, errs by no more
        than an fp64 product does, which the bound (about twice the error of one addition after the other) leaves room
        for.
        See N. Higham and T. Mary, Sharper probabilistic backward error analysis, SIAM J. Sci. Comput. 42 (2020).
        """
        if accumulated not in ROUNDOFF:
            return 0.0
        element = ROUNDOFF[accumulated] * self._k
        if stored != accumulated:
            element += ROUNDOFF[stored] * math.sqrt(self._k)
        return float(SIGMAS * math.sqrt(self._width) * element)


def _times(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left·right in fp64, a chunk of rows at a time."""
    import torch

    chunks: list[Any] = [left[row : row + CHUNK_ROWS].double() @ right for row in range(0, left.shape[0], CHUNK_ROWS)]
    return torch.cat(chunks)
