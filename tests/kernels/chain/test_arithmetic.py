"""Products at the ends of what float32 holds, and the mix."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.chain import derive
from kernels.chain.arithmetic import CHUNK, mix32, product, quantise, replay, row_keys
from kernels.chain.tiles import Tiles
from tests.kernels.chain import plain
from tests.kernels.chain.golden import CHAINS

#: sums of a round: both ends of int32, and what lies around zero
SUMS = np.array([0, 1, -1, 255, 2**24, -(2**24), 2**27, -(2**27), 2**31 - 1, -(2**31)], dtype=np.int32)
KEYS = (0, 1, 0x80000000, 0xFFFFFFFF)


@pytest.mark.parametrize("n", [64, 1024, 2048, 8192])
@pytest.mark.parametrize("value", [(-128, -128), (-128, 127), (127, 127)])
def test_products_of_extremes_are_exact(n: int, value: tuple[int, int]) -> None:
    """n equal summands, each the largest there is, and one number off: what int64 says."""
    x = np.full((3, n), value[0], dtype=np.int8)
    w = np.full((n, 8), value[1], dtype=np.int8)
    x[1, 7], w[n - 1, 3] = 1, -1

    found = product(x, w)

    assert np.array_equal(found, x.astype(np.int64) @ w.astype(np.int64))
    assert int(found[0, 0]) == value[0] * value[1] * n


@pytest.mark.parametrize("n", [64, 4096])
def test_random_products_are_exact(n: int) -> None:
    """int8 over its whole range, and the ranges of bf16 chains."""
    random = np.random.default_rng(5)
    for half_x, half_w in ((128, 128), (255, 15)):
        x = random.integers(-half_x, half_x + (half_x != 128), (4, n), dtype=np.int16)
        w = random.integers(-half_w, half_w + (half_w != 128), (n, 16), dtype=np.int8)
        assert np.array_equal(product(x, w), x.astype(np.int64) @ w.astype(np.int64))


def test_the_mix_is_lowbias32() -> None:
    """Four words, by plain integers; zero stays zero."""
    words = [0, 1, 0xDEADBEEF, 0xFFFFFFFF]

    assert mix32(np.array(words, dtype=np.uint32)).tolist() == [plain.mix32(word) for word in words]
    assert plain.mix32(0) == 0


@pytest.mark.parametrize("key", KEYS)
def test_numbers_of_the_next_state_are_the_protocol_s(key: int) -> None:
    """From sums as int32 and as float32, which holds those up to 2^24."""
    for arithmetic, q in (("int8", plain.q8), ("bf16", plain.q9)):
        wanted = [q(int(y), key) for y in SUMS]
        assert quantise(SUMS, key, arithmetic).tolist() == wanted
        assert quantise(SUMS[:6].astype(np.float32), key, arithmetic).tolist() == wanted[:6]


def test_more_numbers_than_are_mixed_at_a_time() -> None:
    """The last row of one chunk, the first of the next, the last of all; each with its own key."""
    rows = 2 * CHUNK // 64 + 5
    sums = np.arange(64 * rows, dtype=np.int32).reshape(rows, 1, 64)

    found = quantise(sums, np.arange(rows, dtype=np.uint32).reshape(rows, 1), "int8")

    assert found.shape == sums.shape
    for row in (0, CHUNK // 64 - 1, CHUNK // 64, rows - 1):
        assert found[row, 0, 63] == plain.q8(64 * row + 63, row)


def test_every_row_has_a_key_of_its_own() -> None:
    """The round's, and the row's number times an odd constant, mod 2^32; units need not be neighbours."""
    found = row_keys(CHAINS["memory"], 0xFFFFFFFF, [0, 1, (1 << 20) - 1])

    step = 0x9E3779B1
    assert found.tolist() == [
        [(0xFFFFFFFF + step * (2 * unit + row)) % 2**32 for row in range(2)] for unit in (0, 1, (1 << 20) - 1)
    ]


@pytest.mark.parametrize("name", CHAINS)
def test_rows_that_were_made_equal_part_again(name: str) -> None:
    """Or one lie, once, would make one row's work do for all: after a round no two rows share more than chance."""
    params = CHAINS[name]
    states = np.broadcast_to(derive.first_states(params, plain.SEED, [0])[:, :1], (params.units, params.rows, params.n))
    order = derive.order(params, bytes(16), 0, 0, bytes(32), bytes(32))

    after = replay(params, states, order, range(1), Tiles(params, plain.SEED)).reshape(-1, params.n)

    shared = [(after[one] == after[other]).sum() for one in range(len(after)) for other in range(one)]
    assert max(shared) < params.n // 8  # of 64 numbers, 0.25 are shared by chance


def test_states_and_units_must_be_as_many() -> None:
    """A state whose unit is not told cannot be redone."""
    params = CHAINS["int8"]
    states = derive.first_states(params, plain.SEED, [3])
    order = derive.order(params, bytes(16), 0, 0, bytes(32), bytes(32))

    with pytest.raises(ValueError, match="1 states need as many units, got 32"):
        replay(params, states, order, range(1), Tiles(params, plain.SEED))


def test_the_mix_leaves_every_number_about_as_likely() -> None:
    """Of 2^16 consecutive sums each of the 256 int8 comes 256 times, give or take 6 deviations of 16."""
    counts = np.bincount(quantise(np.arange(1 << 16, dtype=np.int32), 7, "int8").astype(np.int64) + 128, minlength=256)

    assert abs(counts - 256).max() < 6 * 16
