"""Freivalds' check: right products pass, wrong ones never do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kernels.freivalds import BLOCKS, ROUNDOFF, ROUNDS, Freivalds
from kernels.spec import WrongResultError

SIDE = 192
ACCUMULATED = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "float32"}


def normal(dtype: Any, seed: int, side: int = SIDE) -> Any:
    """N(0, 1) of shape (side, side)."""
    drawn = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.randn(side, side, dtype=drawn, generator=torch.Generator().manual_seed(seed)).to(dtype)


def integers(seed: int) -> Any:
    """int8 over its whole range."""
    return torch.empty(SIDE, SIDE, dtype=torch.int8).random_(-128, 128, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", list(ACCUMULATED), ids=str)
def test_right_products_pass(dtype: Any) -> None:
    """Twenty products per precision, with as many different X: no false alarm."""
    for seed in range(20):
        a, b = normal(dtype, 2 * seed), normal(dtype, 2 * seed + 1)

        Freivalds(a, b, seed=seed).check(torch.mm(a, b), accumulated=ACCUMULATED[dtype])


@pytest.mark.parametrize("dtype", list(ACCUMULATED), ids=str)
@pytest.mark.parametrize("place", [(0, 0), (SIDE - 1, SIDE - 1), (17, 100)])
def test_one_wrong_element_fails(dtype: Any, place: tuple[int, int]) -> None:
    """An element that lost its sign, became zero, infinite or NaN, wherever it is."""
    a, b = normal(dtype, 1).double(), normal(dtype, 2).double()
    # b is bent so that this element is 30, two sigma of an element: zero and minus 30 are further off than bf16 rounds
    row = a[place[0]]
    b[:, place[1]] += row * (30.0 - row @ b[:, place[1]]) / (row @ row)
    a, b = a.to(dtype), b.to(dtype)
    right = torch.mm(a, b)
    check = Freivalds(a, b, seed=3)
    check.check(right, accumulated=ACCUMULATED[dtype])

    for wrong in (-float(right[place]), 0.0, float("inf"), float("nan")):
        spoiled = right.clone()
        spoiled[place] = wrong
        with pytest.raises(WrongResultError, match="differs from A"):
            check.check(spoiled, accumulated=ACCUMULATED[dtype])


def test_a_product_in_lower_precision_fails() -> None:
    """fp32 claimed, bf16 computed: every element is plausible, and off by a part in 256."""
    a, b = normal(torch.float32, 1), normal(torch.float32, 2)
    low = torch.mm(a.bfloat16(), b.bfloat16()).float()

    with pytest.raises(WrongResultError, match="lower precision"):
        Freivalds(a, b, seed=1).check(low, accumulated="float32")


def test_integers_are_exact() -> None:
    """The right product passes; off by one in one element of 36 864 does not."""
    a, b = integers(1), integers(2)
    right = torch._int_mm(a, b)
    check = Freivalds(a, b, seed=5)
    check.check(right, accumulated="int32")

    right[100, 3] += 1
    with pytest.raises(WrongResultError):
        check.check(right, accumulated="int32")


def test_wrong_elements_that_cancel_are_found_in_another_round() -> None:
    """Two equal and opposite errors in one row and block escape a round with probability 1/2, all three with 1/8.

    400 such errors: at most 80 escape (50 expected; 80 is beyond 4 sigma of a binomial of 400 and 1/8).
    """
    a, b = integers(1), integers(2)
    right = torch._int_mm(a, b)
    escaped = 0
    for seed in range(400):
        wrong = right.clone()
        wrong[seed % SIDE, 0] += 1
        wrong[seed % SIDE, 1] -= 1
        try:
            Freivalds(a, b, seed=seed).check(wrong, accumulated="int32")
        except WrongResultError:
            continue
        escaped += 1

    assert 20 <= escaped <= 80


def test_every_column_is_tested_in_every_round() -> None:
    """X holds one sign per column and round, in that column's block, and nothing else."""
    check = Freivalds(integers(1), integers(2), seed=1)

    assert check._x.abs().sum(dim=1).tolist() == [ROUNDS] * SIDE
    assert check._x.shape == (SIDE, BLOCKS * ROUNDS)


def test_a_wrong_shape_of_blocks_is_no_trouble() -> None:
    """Sides that 16 does not divide: the last block is shorter."""
    a, b = normal(torch.float32, 1, side=100), normal(torch.float32, 2, side=100)

    Freivalds(a, b, seed=1).check(torch.mm(a, b), accumulated="float32")


def cut(values: Any, bits: int, largest: Any) -> Any:
    """What is left of values when `bits` behind the leading one of `largest` are kept, towards zero."""
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 1 - bits)
    return np.trunc(values / unit) * unit


def by_tensor_cores(a: Any, b: Any, *, at_once: int, bits: int) -> Any:
    """A product whose sums are kept as tensor cores keep them: so many products at once, aligned, cut, added, cut."""
    c = np.zeros((len(a), b.shape[1]))
    for k in range(0, a.shape[1], at_once):
        products = a[:, None, k : k + at_once] * b.T[None, :, k : k + at_once]
        terms = np.concatenate([products, c[:, :, None]], axis=2)
        c = cut(terms, bits, np.abs(terms).max(axis=2, keepdims=True)).sum(axis=2)
        c = cut(c, bits, np.abs(c))
    return c


CORES = [  # operands, sums, at once, bits behind the leading one
    ("tf32 of an A100", "float32", "tensor_float32", 4, 23),
    ("fp16 of a V100", "float16", "tensor_float32", 4, 23),
    ("bf16 of an H100", "bfloat16", "tensor_float32", 16, 23),
    ("fp8 of an H100", "float8_e4m3fn", "tensor_float8", 32, 13),
    ("fp8, the fewest at once", "float8_e4m3fn", "tensor_float8", 4, 13),
]
DEEP = 4096


def operands_of(stored: str) -> tuple[Any, Any]:
    """Shapes (8, DEEP) and (DEEP, 64), as their type holds them; for fp32 as TF32 does."""
    generator = torch.Generator().manual_seed(7)
    drawn = [torch.randn(shape, generator=generator) for shape in ((8, DEEP), (DEEP, 64))]
    if stored == "float32":
        return tuple((each.view(torch.int32) & ~0x1FFF).view(torch.float32) for each in drawn)
    return tuple(each.to(getattr(torch, stored)) for each in drawn)


@pytest.mark.parametrize(("stored", "sums", "at_once", "bits"), [core[1:] for core in CORES], ids=[c[0] for c in CORES])
def test_what_tensor_cores_cut_off_passes_and_seven_bits_more_do_not(
    stored: str, sums: str, at_once: int, bits: int
) -> None:
    """The error of an element is a third of what is allowed for, at most, before the eight sigmas; a core that keeps
    seven bits fewer is found."""
    a, b = operands_of(stored)
    exact = a.double().numpy(), b.double().numpy()
    right = by_tensor_cores(*exact, at_once=at_once, bits=bits)
    error = float(np.std(right - exact[0] @ exact[1]))
    assert 0 < error < ROUNDOFF[sums] * DEEP / 3
    check = Freivalds(a, b, seed=1)

    check.check(torch.from_numpy(right).float(), accumulated=sums)

    short = by_tensor_cores(*exact, at_once=at_once, bits=bits - 7)
    with pytest.raises(WrongResultError):
        check.check(torch.from_numpy(short).float(), accumulated=sums)
