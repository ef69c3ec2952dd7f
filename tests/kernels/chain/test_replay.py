"""Stretches of many segments redone together are what each would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.chain import derive
from kernels.chain.arithmetic import replay
from kernels.chain.params import Params
from kernels.chain.replay import Stretch, replay_many
from kernels.chain.tiles import Tiles
from tests.kernels.chain.golden import CHAINS

SEED = bytes(range(1, 33))
#: more than one block of K, several pieces of it, more tiles than are kept at once
WIDE = Params(kind="compute", arithmetic="int8", n=2048, units=8, rows=1, tiles=3, depth=0, rounds=3, commit_every=3)


def stretches(params: Params, count: int) -> list[Stretch]:
    """Of as many segments; each goes through other rounds, one through none."""
    states = derive.first_states(params, SEED, range(count))
    orders = [derive.order(params, bytes(16), 0, number, bytes(32), bytes(32)) for number in range(count)]
    ends = [number % (params.rounds + 1) for number in range(count)]
    return [
        Stretch(number, states[number], orders[number], range(ends[number] // 2, ends[number]))
        for number in range(count)
    ]


@pytest.mark.parametrize("params", [*CHAINS.values(), WIDE, replace(WIDE, arithmetic="bf16")])
def test_together_is_as_alone(params: Params) -> None:
    """Every number of every state."""
    tiles = Tiles(params, SEED, kept_bytes=2 * params.n**2)
    given = stretches(params, 9)

    found = replay_many(params, given, tiles)

    for one, state in zip(given, found, strict=True):
        alone = replay(params, one.state[np.newaxis], one.order, one.rounds, tiles, units=[one.unit])[0]
        assert state.dtype == alone.dtype
        assert np.array_equal(state, alone)


def test_none_at_all_is_none() -> None:
    """A check that asks for nothing of one kind."""
    assert replay_many(WIDE, [], Tiles(WIDE, SEED)) == []
    assert replay_many(CHAINS["memory"], [], Tiles(CHAINS["memory"], SEED)) == []


def test_tiles_hold_no_more_than_they_may() -> None:
    """Two of three at a time; the one asked for longest ago is made anew."""
    params = CHAINS["memory"]
    made: list[int] = []

    class Counting(Tiles):
        def make(self, indices: Sequence[int]) -> NDArray[np.int8]:
            made.extend(indices)
            return super().make(indices)

    tiles = Counting(params, SEED, kept_bytes=2 * params.n**2)
    for index in (0, 1, 0, 2, 0, 1):
        tiles(index)

    assert made == [0, 1, 2, 1]
    tiles.prepare([3, 4, 1])
    assert made == [0, 1, 2, 1, 3, 4]
