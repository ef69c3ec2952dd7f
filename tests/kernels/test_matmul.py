"""The matmul bench and its operands: sizes, libraries, wrong products caught, slow types noticed."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kernels import products
from kernels.benches import matmul
from kernels.device import Device
from kernels.spec import Case, Skip, Variant, Work, WrongResultError
from tests.kernels.devices import MIB, small_setting, variant


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 256 and 128."""
    monkeypatch.setattr(products, "SIDES", (128, 192, 256))


def device(threads: int, memory_bytes: int | None = None) -> Device:
    return Device(kind="cpu", index=0, name="t", cpus=(0,), threads=threads, memory_bytes=memory_bytes)


def test_five_precisions_each_with_two_sizes() -> None:
    """Floats by torch and numpy, the others by torch alone, our own on one side; integers count operations."""
    cases = {case.key: case for case in matmul.on_cpu(small_setting()) if isinstance(case, Case)}

    assert tuple(cases) == matmul.KEYS
    both = ("torch 256", "torch 128", "numpy 256", "numpy 128")
    labels = {key: tuple(found.label for found in case.variants) for key, case in cases.items()}
    assert labels["matmul.fp32"] == labels["matmul.fp64"] == both
    assert labels["matmul.bf16"] == labels["matmul.int8"] == ("torch 256", "torch 128")
    assert labels["matmul.fp32_numba"] == ("numba 128",)
    assert cases["matmul.int8"].unit == "OP/s"
    assert {case.unit for key, case in cases.items() if key != "matmul.int8"} == {"FLOP/s"}
    assert variant(cases["matmul.fp32"], "torch 256").work == Work(flops=2 * 256**3)
    assert cases["matmul.fp32"].context["torch_isa"] == torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize("key", matmul.KEYS)
def test_a_call_that_did_nothing_is_caught(key: str) -> None:
    """Every variant's check holds after its call and fails without one."""
    for case in matmul.on_cpu(small_setting(key)):
        assert isinstance(case, Case)
        for found in case.variants:
            with pytest.raises(WrongResultError):
                found.check()
            for _ in range(products.POOL + 1):
                found.call()
                found.check()


def test_pairs_take_turns() -> None:
    """Three pairs of three matrices, then the first again; their products differ."""
    operands = products.Operands(products.FP32, 128, seed=1)
    pairs = [operands.next_pair() for _ in range(4)]

    assert len({(id(left), id(right)) for left, right in pairs}) == 3
    assert pairs[3] == pairs[0]


@pytest.mark.parametrize("kind", [products.FP32, products.FP64], ids=lambda kind: kind.stored)
def test_elements_use_the_whole_mantissa(kind: products.Kind) -> None:
    """N(0, 1); half of the elements end in an odd bit, as they would not if drawn in a shorter type."""
    values = products.Operands(kind, 256, seed=1).next_pair()[0]
    whole = values.view(torch.int64 if kind is products.FP64 else torch.int32)
    odd = float((whole & 1).double().mean())

    assert abs(float(values.mean())) < 0.02
    assert abs(float(values.std()) - 1) < 0.02
    assert 0.45 < odd < 0.55


def test_integers_use_their_whole_range() -> None:
    """-128 to 127."""
    values = products.Operands(products.INT8, 256, seed=1).next_pair()[0]

    assert (int(values.min()), int(values.max())) == (-128, 127)


def test_sides_grow_with_the_threads_and_shrink_with_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 GFLOP a thread: 1024 with one, 1536 with two, 6144 with 96; 4 matrices in a quarter of 64 MiB: 1024."""
    monkeypatch.setattr(products, "SIDES", (512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192))

    assert products.sides(products.FP32, device(1), seed=1)[0] == 1024
    assert products.sides(products.FP32, device(2), seed=1)[0] == 1536
    assert products.sides(products.FP32, device(96), seed=1)[0] == 6144
    assert products.sides(products.FP32, device(96, 64 * MIB), seed=1) == [1024, 768, 512]
    assert products.sides(products.FP32, device(1, 1), seed=1) == [512]


def test_a_type_the_cpu_is_slow_at_gets_smaller_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 rows of 256 in 0.6 s would be 2.4 s a call, eight times too long: half the side."""
    ticks = iter([0.0, 0.6])
    monkeypatch.setattr(products, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(products, "ROWS_TRIED", (64, 256))

    assert products.sides(products.INT8, device(1), seed=1) == [128]


def test_what_torch_cannot_multiply_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words are the reason."""

    def multiply(*_: Any) -> None:
        raise RuntimeError("addmm_impl_cpu_ not implemented for 'BFloat16'\nstack")

    monkeypatch.setattr(products, "multiply", multiply)
    (step,) = matmul.on_cpu(small_setting("matmul.bf16"))

    assert step == Skip(
        key="matmul.bf16", reason="torch cannot do it here: addmm_impl_cpu_ not implemented for 'BFloat16'"
    )


def test_numpy_is_left_out_where_its_threads_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A BLAS with its own idea of threads would not be the same measurement."""
    from kernels.cpu import blas

    monkeypatch.setattr(blas, "set_numpy_threads", lambda threads: None)
    (case,) = matmul.on_cpu(small_setting("matmul.fp32"))

    assert isinstance(case, Case)
    assert {found.label.split()[0] for found in case.variants} == {"torch"}


def test_a_change_of_library_waits_and_the_wait_is_not_timed() -> None:
    """torch, torch, numpy: two waits of 20 ms, and no call that does nothing lasts as long as one."""
    turns = products.Turns(0.02)
    by_torch, by_numpy = (Variant(label=f"{name} 1", call=lambda: None, work=Work()) for name in ("torch", "numpy"))

    began = time.perf_counter()
    timed = [turns.clock(found, 3) for found in (by_torch, by_torch, by_numpy)]
    whole = time.perf_counter() - began

    assert whole >= 0.04
    assert max(timed) < 0.02


def test_integer_rows_are_compared_one_by_one() -> None:
    """Even where the check of the whole were fooled."""
    operands = products.Operands(products.INT8, 128, seed=1)
    operands.by_torch()
    left, right = operands._pair()
    operands.result[8, 5] += 1

    with pytest.raises(WrongResultError, match="1 elements of 16 rows"):
        products._compare_rows(left, right, operands.result)
