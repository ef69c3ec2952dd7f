"""Fewer bits than were asked for: quicker on most hardware, and within the tolerance of every proof that has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.chain.arithmetic import compute_tile
from kernels.chain.derive import Order, States
from kernels.chain.params import Params
from tests.redteam.attack import Attack, ends
from tests.redteam.attackers.skipped_work import ONE_CHAIN
from tests.redteam.bout import Bout
from tests.redteam.hardware import H100, RTX4090, Card, Pace
from tests.redteam.rogue import Rogue

Numbers = NDArray[Any]
Product = Callable[[Numbers, Numbers], Numbers]


def fp8(x: Numbers) -> Numbers:
    """Rounded to e4m3's four significant bits."""
    mantissa, exponent = np.frexp(x.astype(np.float32))
    return np.asarray(np.ldexp(np.round(mantissa * 16) / 16, exponent))


def int4(x: Numbers) -> Numbers:
    """Without the lower four bits."""
    return (x.astype(np.int32) >> 4 << 4).astype(np.float32)


def in_fp8(x: Numbers, w: Numbers) -> Numbers:
    return np.asarray(np.rint(fp8(x) @ fp8(w)))


def in_int4(x: Numbers, w: Numbers) -> Numbers:
    return np.asarray(x.astype(np.float32) @ int4(w))


def summed_in_fp16(x: Numbers, w: Numbers) -> Numbers:
    """Exact products, partial sums rounded to 11 bits, as fast modes of consumer cards do."""
    sums = np.zeros((len(x), w.shape[1]), dtype=np.float32)
    for k in range(0, len(w), 16):
        part = x[:, k : k + 16].astype(np.float32) @ w[k : k + 16].astype(np.float32)
        mantissa, exponent = np.frexp(sums + part)
        sums = np.ldexp(np.round(mantissa * 2048) / 2048, exponent)
    return np.rint(sums)


class Rounds(Rogue):
    """Computes products by a way of its own."""

    def __init__(self, product: Product) -> None:
        self.product = product

    def work(self, states: States, order: Order, rounds: range) -> States:
        for number in rounds:
            tile = self.tiles(compute_tile(self.params, order, number))
            states = self.mixed(self.product(states[:, 0], tile), order, number)
        return states


def twice_as_quick() -> Pace:
    """Half the bits, twice the rate."""
    return lambda params, _: H100.seconds(params) / 2


def _attack(name: str, against: str, does: str, product: Product) -> Attack:
    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(twice_as_quick(), lambda: Rounds(product))

    return Attack(
        name=name,
        against=against,
        does=does,
        run=run,
        ends=ends("cheat_proven"),
        why="do not lead",
        truth=H100.proves(),
    )


def _in_two_passes(claimed: Card) -> Callable[[Bout], str]:
    """x = 16 high + low: two products of small integers for each of bf16, exact as they are."""

    def pace(params: Params, _: int) -> float:
        if params.arithmetic == "bf16":
            return 2 * params.ops_per_segment / RTX4090.int8_ops_per_s
        return RTX4090.seconds(params)

    def run(bout: Bout) -> str:
        bout.line.claim(claimed, 1)
        return bout.check(pace)

    return run


TWICE = replace(RTX4090, bf16_flops=RTX4090.int8_ops_per_s / 2)
ATTACKS = (
    Attack(
        name="bf16-by-int8",
        against="every chain whose numbers are small enough to be exact: ours too",
        does="does each bf16 product as two of int8, which is twice as quick on a GeForce and no quicker on an H100",
        run=_in_two_passes(RTX4090),
        ends=ends("pass"),
        truth=RTX4090.proves(),
    ),
    Attack(
        name="bf16-by-int8-claimed",
        against="a bound by what the node says of itself",
        does="does the same, and claims twice the bf16 of its card",
        run=_in_two_passes(TWICE),
        ends=ends("pass"),
        truth=RTX4090.proves(),
        gains=0.21,
    ),
    Attack(
        name="bf16-by-int8-unnamed",
        against="a bound by what a card of this name can do",
        does="does the same, and calls its card by a name that no table knows",
        run=_in_two_passes(replace(TWICE, name="NVIDIA Unheard Of")),
        ends=ends("pass"),
        truth=RTX4090.proves(),
        gains=1.0,
    ),
    _attack(
        "fp8-products",
        "Prime Intellect's gpu-challenge: at its tolerance FP8 passes for most entries",
        "rounds both factors to FP8",
        in_fp8,
    ),
    _attack(
        "int4-weights", "tolerances that grow with the result", "multiplies by the upper half of every weight", in_int4
    ),
    _attack(
        "fp16-sums",
        "SN27 and Prime Intellect, whose comparisons of floats let rounded sums pass",
        "rounds partial sums to 11 bits",
        summed_in_fp16,
    ),
)
