"""What the CUDA kernels compute, run on the CPU, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.cuda.emulated import EmulatedGpu

PAIRS = 1003  # no multiple of a grid: whole turns of four, of two, and a rest
GRIDS = ((1, 32), (3, 64), (40, 128))
A, B = 11, 22
U64 = np.uint64

Words = np.ndarray[Any, np.dtype[np.uint64]]


def mixed(places: Words, seed: int) -> Words:
    """splitmix64 of a counter, written a second time."""
    z = (places + U64(1)) * U64(0x9E3779B97F4A7C15) + U64(seed)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


def values(seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What stream_fill writes: 52 bits of the mix behind the exponent of 1."""
    bits = (mixed(np.arange(2 * PAIRS, dtype=U64), seed) >> U64(12)) | U64(0x3FF0000000000000)
    return bits.view(np.float64)


def run(gpu: EmulatedGpu, source: str, kernel: str, grid: tuple[int, int], *arguments: Any) -> None:
    gpu.launcher(source, kernel, *grid, *arguments)()


@pytest.mark.parametrize("grid", GRIDS)
def test_fill_is_the_closed_form(grid: tuple[int, int]) -> None:
    """In [1, 2), all 52 bits in use."""
    gpu = EmulatedGpu()
    a = gpu.empty(2 * PAIRS, "float64")

    run(gpu, "stream", "stream_fill", grid, a, U64(PAIRS), U64(A))

    assert np.array_equal(a, values(A))
    assert a.min() >= 1
    assert a.max() < 2


@pytest.mark.parametrize("grid", GRIDS)
def test_the_loops_of_stream_are_numpy_s(grid: tuple[int, int]) -> None:
    """Bit by bit; a triad rounds once."""
    gpu, factor = EmulatedGpu(), np.float64(0.4)
    a, b = gpu.upload(values(A)), gpu.upload(values(B))
    fused = (a.astype(np.longdouble) + np.longdouble(factor) * b.astype(np.longdouble)).astype(np.float64)
    for kernel, arguments, wanted in (
        ("stream_copy", (a,), a),
        ("stream_scale", (a,), a * factor),
        ("stream_add", (a, b), a + b),
        ("stream_triad", (a, b), fused),
        ("stream_write", (), np.full(2 * PAIRS, factor)),
    ):
        c = gpu.empty(2 * PAIRS, "float64")
        last = (factor,) if kernel in ("stream_scale", "stream_triad", "stream_write") else ()
        run(gpu, "stream", kernel, grid, *arguments, c, U64(PAIRS), *last)

        # the 64-bit mantissa of a long double rounds twice where the fused one rounds once: 1 ulp, rarely
        assert np.allclose(c, wanted, rtol=2.0**-52 if kernel == "stream_triad" else 0, atol=0), kernel


@pytest.mark.parametrize("grid", GRIDS)
def test_read_adds_up_to_the_total(grid: tuple[int, int]) -> None:
    """The parts of all threads, the closed form's total and numpy's sum are one number mod 2^64."""
    gpu = EmulatedGpu()
    a = gpu.upload(values(A))
    parts, total = gpu.empty(grid[0] * grid[1], "uint64"), gpu.empty(1, "uint64")

    run(gpu, "stream", "stream_read", grid, a, U64(PAIRS), parts)
    run(gpu, "stream", "stream_total", grid, U64(PAIRS), U64(A), total)

    assert parts.sum(dtype=U64) == total[0] == a.view(U64).sum(dtype=U64)


@pytest.mark.parametrize(("operation", "wanted"), [(0, "copy"), (1, "write"), (2, "scale"), (3, "add"), (4, "triad")])
def test_check_finds_a_single_flipped_bit(operation: int, wanted: str) -> None:
    """None in a right result; of two wrong ones the count and the lower index."""
    gpu, factor = EmulatedGpu(), np.float64(0.4)
    a, b, c = gpu.upload(values(A)), gpu.upload(values(B)), gpu.empty(2 * PAIRS, "float64")
    arguments = {"copy": (a, c), "write": (c,), "scale": (a, c), "add": (a, b, c), "triad": (a, b, c)}[wanted]
    last = (factor,) if wanted in ("write", "scale", "triad") else ()
    run(gpu, "stream", f"stream_{wanted}", (3, 64), *arguments, U64(PAIRS), *last)

    def found() -> list[int]:
        counted = gpu.upload(np.array([0, 2**64 - 1], dtype=U64))
        run(gpu, "stream", "stream_check", (3, 64), c, U64(PAIRS), np.int32(operation), U64(A), U64(B), factor, counted)
        return [int(value) for value in counted]

    clean = found()
    c.view(U64)[[777, 1500]] ^= U64(1)

    assert clean == [0, 2**64 - 1]
    assert found() == [2, 777]


@pytest.mark.parametrize("walk", ["chase_near", "chase_far"])
def test_a_walk_ends_where_the_cycle_leads(walk: str) -> None:
    """5 hops to warm, 16 timed, over 0 -> 3 -> 1 -> 4 -> 2 -> 0: 21 hops end at the node after 0."""
    gpu = EmulatedGpu()
    successor = gpu.upload(np.array([3, 4, 0, 1, 2], dtype=np.uint32))
    nodes = gpu.empty(5 * 16, "uint64")
    run(gpu, "chase", "chase_lay", (2, 32), nodes, successor, U64(5), U64(16))
    state = gpu.upload(np.array([gpu.address(nodes), 0], dtype=U64))

    run(gpu, "chase", walk, (1, 32), state, U64(5), U64(16))

    assert (int(state[0]) - gpu.address(nodes)) // 128 == 3
    assert 0 < int(state[1]) < 10**9


@pytest.mark.parametrize("flip", [0, 2**64 - 1])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_pattern_depends_on_place_and_nonce(grid: tuple[int, int], flip: int) -> None:
    """The words of numpy's mix at places 5000 and on, each bit turned where asked."""
    gpu = EmulatedGpu()
    piece = gpu.empty(2 * PAIRS, "uint64")

    run(gpu, "pattern", "pattern_write", grid, piece, U64(PAIRS), U64(5000), U64(7), U64(flip))

    assert np.array_equal(piece, mixed(np.arange(5000, 5000 + 2 * PAIRS, dtype=U64), 7) ^ U64(flip))


def test_verify_tells_how_many_where_and_which_bits() -> None:
    """Two words with bits 0 and 40 turned: count, the lower place, both bits."""
    gpu = EmulatedGpu()
    piece = gpu.empty(2 * PAIRS, "uint64")
    run(gpu, "pattern", "pattern_write", (3, 64), piece, U64(PAIRS), U64(5000), U64(7), U64(0))
    piece[3] ^= U64(1)
    piece[900] ^= U64(1 << 40)
    found = gpu.upload(np.array([0, 2**64 - 1, 0], dtype=U64))

    run(gpu, "pattern", "pattern_verify", (3, 64), piece, U64(PAIRS), U64(5000), U64(7), U64(0), found)

    assert [int(value) for value in found] == [2, 5003, 1 | 1 << 40]


def test_a_hold_ends_by_the_flag_or_by_itself() -> None:
    """A flag that is set lets go at once; one that never is, after the cycles given, which is told."""
    gpu = EmulatedGpu()
    for flag, gave_up in ((1, 0), (0, 1)):
        words = gpu.upload(np.array([flag, 0], dtype=np.uint32))
        run(gpu, "launch", "hold", (1, 1), words, np.int64(1000))

        assert int(words[1]) == gave_up
