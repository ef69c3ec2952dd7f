"""The kernels of chain.cu, run as C++, against the RFC, hashlib and numpy; and what a GPU must be refused for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernels.chain import derive, merkle
from kernels.chain.arithmetic import mix32
from kernels.chain.cuda import Products, engine_of
from kernels.chain.engine import open_engine
from kernels.chain.launches import Launches
from kernels.chain.params import Params
from kernels.cuda.device import has_driver
from kernels.spec import UnsupportedError
from tests.kernels.chain import plain
from tests.kernels.chain.golden import CHAINS, ROOTS
from tests.kernels.chain.plain import SALTS, SEED
from tests.kernels.chain.test_arithmetic import KEYS, SUMS
from tests.kernels.chain.test_derive import VECTORS
from tests.kernels.chain.test_engine import exactly, prepare
from tests.kernels.cuda.emulated import EmulatedGpu

if TYPE_CHECKING:
    import torch


def run(kernel: str, items: int, *arguments: Any) -> None:
    """Launch with more threads than there are items."""
    given = [np.uint64(one) if isinstance(one, int) else one for one in arguments]
    EmulatedGpu().launcher("chain", kernel, items // 64 + 1, 64, *given)()


@pytest.mark.parametrize(("key", "index", "block", "begin"), VECTORS)
def test_the_key_stream_is_that_of_rfc_8439(key: bytes, index: int, block: int, begin: str) -> None:
    """Block for block; a nonce's third word is always 0 here, so the vector with one there is left to the host."""
    if index >> 64:
        assert derive.key_stream(key, index, 16).tobytes().hex() == begin
        return
    gpu = EmulatedGpu()
    out, words = gpu.empty(3 * 64, "uint8"), gpu.upload(np.frombuffer(key, dtype=np.uint32))

    run("chain_stream", 3, out, words, 3, 3, index)

    assert out[64 * block : 64 * block + 16].tobytes().hex() == begin


def test_streams_of_many_indices_are_those_of_the_host() -> None:
    """Five of three blocks, from index 6 on."""
    launches = Launches(EmulatedGpu(), "cpu")

    found = launches.stream(SEED, "state", range(6, 11), 192)

    assert [bytes(line) for line in found.numpy()] == [plain.stream(b"state", index, 192) for index in range(6, 11)]


@pytest.mark.parametrize("first_row", [None, 0, 5, 2**26 - 3])
@pytest.mark.parametrize("key", KEYS)
def test_the_mix_is_the_protocol_s(key: int, first_row: int | None) -> None:
    """Q8 of both ends of int32, Q9 of what float32 holds exactly; three rows of eight, each with a key of its own."""
    import torch

    launches = Launches(EmulatedGpu(), "cpu")
    sums, eight = torch.from_numpy(np.resize(SUMS, (3, 8))), torch.empty(3, 8, dtype=torch.int8)
    floats, nine = sums.clip(-(2**24), 2**24).float(), torch.empty(3, 8, dtype=torch.bfloat16)

    launches.mix(sums, key, eight, first_row)
    launches.mix(floats, key, nine, first_row)

    keys = [key if first_row is None else key + 0x9E3779B1 * (first_row + row) for row in range(3)]
    assert eight.tolist() == [[plain.q8(int(y), own) for y in row] for row, own in zip(sums, keys, strict=True)]
    assert nine.tolist() == [[plain.q9(int(y), own) for y in row] for row, own in zip(floats, keys, strict=True)]


def digests(params: Params, states: torch.Tensor, segment: int) -> bytes:
    """What `tree` writes."""
    import torch

    launches = Launches(EmulatedGpu(), "cpu")
    contexts = tuple(launches.upload(make(bytes(16), 3)) for make in (derive.leaf_context, derive.node_context))
    out = torch.zeros(2 * params.leaves, 32, dtype=torch.uint8)
    launches.tree(params, (contexts[0], contexts[1]), states, segment, out)
    return bytes(out[:-1].numpy())


@pytest.mark.parametrize("name", CHAINS)
def test_the_whole_tree_is_hashlib_s(name: str) -> None:
    """Every leaf and every node, of a segment whose number needs all eight bytes."""
    import torch

    params, segment = CHAINS[name], 0x0123456789ABCDEF
    some = derive.first_states(params, SEED, range(params.units))
    states = np.stack([np.roll(some, commit) for commit in range(params.commits)])
    stored = torch.bfloat16 if params.arithmetic == "bf16" else torch.int8

    found = digests(params, torch.from_numpy(states).to(stored), segment)

    context = derive.leaf_context(bytes(16), 3)
    leaves = [
        sha256(derive.leaf_header(context, segment, unit, commit) + derive.to_bytes(states[commit][unit])).digest()
        for unit in range(params.units)
        for commit in range(params.commits)
    ]
    assert found == b"".join(merkle.tree(b"".join(leaves), derive.node_context(bytes(16), 3)))


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("extreme", [True, False])
def test_a_step_is_exact(rows: int, *, extreme: bool) -> None:
    """As many rows at a time as a thread takes, and more; all -128, and random numbers: what int64 says."""
    import torch

    params = replace(CHAINS["memory"], rows=rows)
    random = np.random.default_rng(rows)
    tiles = random.integers(-128, 128, (params.tiles, 64, 64)).astype(np.int8)
    states = random.integers(-128, 128, (3, rows, 64)).astype(np.int8)
    if extreme:
        tiles[:], states[:] = -128, -128
    launches = Launches(EmulatedGpu(), "cpu")
    pool, then = torch.empty(tiles.shape, dtype=torch.int8), torch.empty(3, rows * 64, dtype=torch.int8)
    launches.lay(torch.from_numpy(tiles[:4]), pool, 0)
    launches.lay(torch.from_numpy(tiles[4:]), pool, 4)
    order = derive.order(params, bytes(16), 0, 0, bytes(32), bytes(32))

    launches.step(params, pool, torch.from_numpy(states), then, launches.upload_order(order), 2, 1)

    for unit in range(3):
        head = mix32(states[unit, 0, :4].copy().view(np.uint32) ^ order.words[2])
        sums = states[unit].astype(np.int64) @ tiles[int(head[0]) * params.tiles >> 32].astype(np.int64)
        keys = [int(order.keys[2]) + 0x9E3779B1 * ((1 + unit) * rows + row) for row in range(rows)]
        wanted = [plain.q8(int(y), own) for line, own in zip(sums, keys, strict=True) for y in line]
        assert then[unit].tolist() == wanted


def rounding(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
    """A product whose sums are rounded to bfloat16."""
    into.copy_((left.double() @ right.double()).bfloat16())


def saturating(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
    """A product that cannot hold the sum of 64 times (-128)·(-128)."""
    into.copy_((left.double() @ right.double()).clamp(-(2**20), 2**20 - 1))


@pytest.mark.parametrize("name", CHAINS)
def test_a_device_that_is_not_exact_is_refused(name: str) -> None:
    """Before a chain is begun: with one lost bit no opening of it would ever be accepted."""
    engine = engine_of(EmulatedGpu(), "cpu", products=Products(int8=saturating, bf16=rounding))

    with pytest.raises(UnsupportedError, match="not exact"):
        prepare(engine, CHAINS[name])
    with pytest.raises(ValueError, match="not prepared"):
        engine.advance(SALTS[0])


def test_a_pool_that_does_not_fit_is_refused() -> None:
    """A claim above the memory there is ends in a sentence."""
    import torch

    def full(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = engine_of(EmulatedGpu(), "cpu", products=Products(int8=full, bf16=exactly))

    with pytest.raises(UnsupportedError, match="no room on the GPU for 28672 bytes"):
        prepare(engine, CHAINS["memory"])


def test_every_call_makes_its_gpu_current() -> None:
    """Which one is current is a thread's own affair, and devices are driven by threads of their own."""
    entered: list[int] = []
    engine = engine_of(
        EmulatedGpu(),
        "cpu",
        products=Products(int8=exactly, bf16=exactly),
        enter=lambda: entered.append(threading.get_ident()),
    )
    callers: list[int] = []

    def called(work: Callable[[], object]) -> None:
        def run() -> None:
            callers.append(threading.get_ident())
            work()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    called(lambda: prepare(engine, CHAINS["int8"]))
    called(lambda: engine.advance(SALTS[0]))
    called(lambda: engine.open(0, 0, 0))

    assert entered == callers


def test_a_gpu_beyond_those_that_cuda_shows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is there, the fourth was asked for."""
    monkeypatch.setattr("kernels.cuda.device.find", lambda: (None,))

    with pytest.raises(UnsupportedError, match="there is no GPU 3: CUDA shows 1"):
        open_engine("cuda", 3)


@pytest.mark.skipif(has_driver(), reason="this machine has NVIDIA's driver")
def test_without_a_gpu_there_is_no_engine_for_one() -> None:
    """The reason is told."""
    with pytest.raises(UnsupportedError, match="no GPU can be used"):
        open_engine("cuda")


def test_a_gpu_is_opened_with_sums_of_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a split sum are not to be rounded to 16 bits; the golden roots by way of `open_engine`."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction
    current: list[int] = []
    monkeypatch.setattr("kernels.cuda.device.find", lambda: (None, None))
    monkeypatch.setattr("kernels.cuda.products.require_torch", lambda index: "cpu")
    monkeypatch.setattr("kernels.chain.cuda.open_gpu", lambda index: EmulatedGpu())
    monkeypatch.setattr("torch.cuda.set_device", current.append)
    monkeypatch.setattr("kernels.chain.cuda.Products", lambda: Products(int8=exactly, bf16=exactly))
    try:
        engine = open_engine("cuda", 1)
        prepare(engine, CHAINS["bf16"])

        assert matmul.allow_bf16_reduced_precision_reduction is False
        assert engine.advance(SALTS[0]).hex() == ROOTS["bf16"][0]
        assert current == [1, 1]
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before
