"""Freivalds' check: right products pass, wrong ones never do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kernels.freivalds import BLOCKS, ROUNDS, Freivalds
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
