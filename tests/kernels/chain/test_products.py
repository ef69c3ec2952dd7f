"""What a CPU multiplies and mixes by: every way gives the reference's numbers, and one that errs is not taken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.chain import products, rounds
from kernels.chain.arithmetic import ROW_STEP, product, quantise
from kernels.chain.cpu import open_cpu
from kernels.chain.derive import States, Tile
from kernels.chain.params import Params
from kernels.chain.products import FloatProduct, IntProduct, Mixer, Product, extremes, quickest
from kernels.spec import UnsupportedError
from tests.imports import PROJECT
from tests.kernels.chain.golden import CHAINS, ROOTS
from tests.kernels.chain.plain import SALTS
from tests.kernels.chain.test_engine import prepare

#: two blocks of K
WIDE = Params(kind="compute", arithmetic="int8", n=2048, units=8, rows=1, tiles=3, depth=0, rounds=3, commit_every=3)


@pytest.fixture
def mixer() -> Iterator[Mixer]:
    opened = Mixer(2, bf16=False)
    yield opened
    opened.close()


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if these were not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def rounds_by(candidate: Product, x: States, w: Tile, keys: Sequence[int], first_row: int | None) -> States:
    return candidate.rounds(x, [candidate.tile(w)] * len(keys), keys, first_row)


@pytest.mark.parametrize("n", [64, 2048])
@pytest.mark.parametrize("make", [IntProduct, FloatProduct])
def test_a_product_s_rounds_are_the_reference_s(make: Any, n: int, mixer: Mixer) -> None:
    """Two rounds from the largest numbers and from random ones; each row's key its own, and one key for all."""
    for x, w in extremes(replace(WIDE, n=n), 3):
        for first_row, step in ((7, ROW_STEP), (None, 0)):
            wanted = x
            for key in (5, 0xFFFFFFFF):
                own = [(key + step * ((first_row or 0) + row)) & 0xFFFFFFFF for row in range(3)]
                wanted = quantise(product(wanted, w), np.array(own, dtype=np.uint32), "int8")
            assert np.array_equal(rounds_by(make(mixer), x, w, (5, 0xFFFFFFFF), first_row), wanted)


def test_numpy_alone_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch nor numba installed, in a chain that would have both: the golden roots."""
    monkeypatch.setattr("kernels.chain.cpu.PLAIN_OPS", 0)
    monkeypatch.delitem(sys.modules, "kernels.chain.jit", raising=False)
    monkeypatch.delattr("kernels.chain.jit", raising=False)
    without(monkeypatch, "torch", "kernels.chain.jit")
    for name, params in CHAINS.items():
        engine = open_cpu(threads=1)
        prepare(engine, params)
        assert tuple(engine.advance(salt).hex() for salt in SALTS[:3]) == ROOTS[name]
        engine.close()


def test_small_chains_load_neither_torch_nor_numba() -> None:
    """It would take longer than the chain; told by a process that runs one of each."""
    script = (
        "import sys\n"
        "from kernels.chain.engine import open_engine\n"
        "from tests.kernels.chain.golden import CHAINS\n"
        "for params in CHAINS.values():\n"
        "    engine = open_engine('cpu')\n"
        "    engine.prepare(params, seed=bytes(32), challenge=bytes(16), device=0)\n"
        "    engine.advance(bytes(32))\n"
        "    engine.open(0, 1, 0)\n"
        "print({'torch', 'numba'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_only_large_rounds_are_shared_among_threads() -> None:
    """Sixteen rows of an opening at n = 256 are 2 million operations, a round of 256 rows 34 million."""
    mixer = Mixer(4, bf16=False)

    assert (mixer.threads(2 * 16 * 256**2), mixer.threads(2 * 256 * 256**2)) == (1, 4)
    mixer.close()


def test_many_numbers_are_mixed_by_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows cut among three threads keep their own keys."""
    monkeypatch.setattr(products, "SPREAD", 64)
    mixer = Mixer(3, bf16=True)
    sums = np.random.default_rng(1).integers(-(2**24), 2**24, (10, 64)).astype(np.float32)
    into = np.empty_like(sums)

    mixer(sums, 9, into, 4)
    mixer.close()

    keys = (9 + ROW_STEP * np.arange(4, 14)).astype(np.uint32)
    assert np.array_equal(into, quantise(sums, keys, "bf16"))


class Saturating(FloatProduct):
    """As the 16-bit sums of old vector units: right on most numbers, wrong at the ends."""

    def rounds(self, states: States, tiles: Sequence[Any], keys: Sequence[int], first_row: int | None) -> States:
        sums = np.clip(states.astype(np.float32) @ tiles[0], -(2**19), 2**19)
        return quantise(sums, keys[0], "int8")


def test_a_product_that_saturates_is_not_taken(monkeypatch: pytest.MonkeyPatch, mixer: Mixer) -> None:
    """64 times 128·128 is 2^20; the exact one is taken instead, and without one the chain is refused."""
    monkeypatch.setattr(products, "IntProduct", Saturating)
    assert type(quickest(CHAINS["int8"], mixer)) is FloatProduct

    monkeypatch.setattr(products, "FloatProduct", Saturating)
    with pytest.raises(UnsupportedError, match="exactly"):
        quickest(CHAINS["int8"], mixer)


def test_a_pool_is_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven tiles, two at a time: the golden roots."""
    monkeypatch.setattr(rounds, "MADE_BYTES", 2 * 64 * 64)
    engine = open_cpu(threads=2)
    prepare(engine, CHAINS["memory"])

    assert tuple(engine.advance(salt).hex() for salt in SALTS[:3]) == ROOTS["memory"]
    engine.close()


def test_a_pool_beyond_the_memory_is_refused() -> None:
    """64 TiB: a sentence, not a MemoryError."""
    engine = open_cpu(threads=1)

    with pytest.raises(UnsupportedError, match="no room for a pool of 70368744177664 bytes"):
        prepare(engine, replace(CHAINS["memory"], n=8192, tiles=1 << 20))
