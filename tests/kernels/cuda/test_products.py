"""The GPU's products, done by torch on a CPU: shapes, precisions, checks, and the steps of the bench."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from kernels import device as devices
from kernels.benches import matmul
from kernels.cuda import library, products
from kernels.cuda.products import PRECISIONS, Pairs, Precision, Shape
from kernels.device import Device
from kernels.spec import Case, Skip, UnsupportedError, WrongResultError
from kernels.timing import EFFORT, HostTimer, measure
from tests.kernels.cuda.emulated import EmulatedGpu
from tests.kernels.devices import small_setting

SHAPE: Shape = (96, 64, 128)
DEVICE = Device(
    kind="cuda", index=0, name="emulated", cpus=tuple(os.sched_getaffinity(0)), threads=1, sms=132, capability=(9, 0)
)
each = pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: str(precision.key))


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """torch's switches as they were."""
    saved = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = saved


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's CPU stands for the GPU."""
    monkeypatch.setattr(library, "open_gpu", lambda index: EmulatedGpu(l2_bytes=1 << 12))
    monkeypatch.setattr(devices, "timer_for", lambda device: HostTimer())
    monkeypatch.setattr(products, "require_torch", lambda index: "cpu")
    monkeypatch.setattr(products, "shapes", lambda *_: (SHAPE, (64, 64, 64), (32, 64, 64), (16, 32, 32)))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)


def pairs(precision: Precision, shape: Shape = SHAPE) -> Pairs:
    return Pairs(precision, shape, device="cpu", l2_bytes=1 << 12, seed=1)


@each
def test_a_right_product_passes_and_a_stale_one_does_not(precision: Precision) -> None:
    """Each pair's; the check spoils, so the same result cannot pass twice."""
    found = pairs(precision)
    for _ in range(3):
        found.call()
        found.check()
    with pytest.raises(WrongResultError, match="differs from A"):
        found.check()


@each
def test_one_wrong_element_is_found(precision: Precision) -> None:
    """Off by 20, less than two standard deviations of a sum of 128 products."""
    found = pairs(precision)
    found.call()
    found.result[17, 5] += 20

    with pytest.raises(WrongResultError, match="differs from A"):
        found.check()


def test_a_product_that_does_not_repeat_is_found() -> None:
    """The last bit of one element, which rounding explains, is told by doing it again."""
    found = pairs(PRECISIONS[5])
    found.call()
    found.result.view(torch.int32)[3, 4] ^= 1

    with pytest.raises(WrongResultError, match="done twice differs in 1 elements"):
        found.check()


def test_operands_of_tf32_lose_nothing_in_it() -> None:
    """13 of 23 bits of the mantissa are zero, the others are in use."""
    tf32 = next(precision for precision in PRECISIONS if precision.key == "matmul.tf32")
    left, _ = pairs(tf32)._pairs[0]

    assert not (left.view(torch.int32) & 0x1FFF).any()
    assert (left.view(torch.int32) & 0x2000).any()


def test_operands_pass_over_twice_the_cache() -> None:
    """Pairs of 96·128 + 128·64 items of 2 bytes: 40960. Three where that suffices, five for 2 x 100000 bytes."""
    bf16 = PRECISIONS[0]

    assert len(pairs(bf16)._pairs) == 3
    assert len(Pairs(bf16, SHAPE, device="cpu", l2_bytes=100_000, seed=1)._pairs) == 5


@each
def test_shapes_fit_and_are_at_most_24(precision: Precision) -> None:
    """On an H100 more than twenty; none that wants more than a fifth of the memory; multiples of 64 throughout."""
    found = products.shapes(132, precision, 80 << 30)

    assert 20 <= len(found) <= 24
    assert len(set(found)) == len(found)
    assert (8192, 8192, 8192) in found
    assert all(side % 64 == 0 for shape in found for side in shape)
    small = products.shapes(132, precision, 1 << 30)
    assert small
    for m, n, k in small:
        assert 3 * (m * k + k * n) * precision.item_bytes + m * n * precision.result_bytes <= 0.2 * (1 << 30)


def test_the_best_shapes_are_kept_in_order() -> None:
    """By rate, not by time: twice the work in 1.5 times the time wins."""
    seconds = {(64, 64, 64): 1.0, (64, 64, 128): 1.5, (32, 64, 64): 1.0}

    def time(call: Callable[[], object], calls: int) -> float:
        return calls * seconds[call.__self__.shape]  # type: ignore[attr-defined]

    found = list(products.fastest(list(seconds), lambda shape: pairs(PRECISIONS[5], shape), time, keep=2,
                                  within=lambda: True))  # fmt: skip

    flops = 2 * 64 * 64 * 64
    assert [shape for shape, _ in found] == [(64, 64, 128), (64, 64, 64)]
    assert [rate for _, rate in found] == pytest.approx([flops * 2 / 1.5, flops])


def test_one_shape_is_tried_however_late_it_is() -> None:
    """A case always gets its figure."""
    found = list(products.fastest([SHAPE, (64, 64, 64)], lambda shape: pairs(PRECISIONS[5], shape),
                                  lambda call, calls: 1.0, keep=3, within=lambda: False))  # fmt: skip

    assert [shape for shape, _ in found] == [SHAPE]


def test_every_precision_is_measured_with_its_context(gpu: None) -> None:
    """Three shapes kept of four; TF32 for its own key and no other; the clock of the load beside it."""
    found: dict[str, dict[str, object]] = {}
    setting = replace(small_setting(device=DEVICE), budget_s=600.0)  # all shapes are tried
    for step in matmul.on_cuda(setting):
        assert isinstance(step, Case)
        assert len(step.variants) == 3
        (figure,) = measure(step, HostTimer(), replace(EFFORT["cuda"], min_warm_s=0.0, min_time_s=0.0), 0.02)
        found[figure.key] = figure.context

    assert tuple(found) == matmul.GPU_KEYS
    assert {key for key, context in found.items() if context["allow_tf32"]} == {"matmul.tf32"}
    # the emulated clock counts nanoseconds; a busy machine makes it seem slower
    assert all(0 < float(str(context["clock_hz"])) < 1.1e9 for context in found.values())


@pytest.mark.parametrize(
    ("capability", "skipped"),
    [((9, 0), set()), ((8, 6), {"matmul.fp8"}), ((7, 0), {"matmul.fp8", "matmul.int8", "matmul.bf16", "matmul.tf32"})],
)
def test_what_a_gpu_has_no_unit_for_is_skipped(gpu: None, capability: tuple[int, int], skipped: set[str]) -> None:
    """By its compute capability, with both versions in the reason."""
    device = replace(DEVICE, capability=capability)
    steps = list(matmul.on_cuda(small_setting(device=device)))

    assert {step.key for step in steps if isinstance(step, Skip)} == skipped
    assert all(f"found {capability[0]}.{capability[1]}" in step.reason for step in steps if isinstance(step, Skip))


def test_an_environment_that_overrides_tf32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA_TF32_OVERRIDE=1 would make fp32 a lie; 0 says what we say."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    with pytest.raises(UnsupportedError, match="overrides the precision"):
        products.set_precision(tf32=False)

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert products.set_precision(tf32=False)["allow_tf32"] is False


def test_torch_without_cuda_is_a_reason() -> None:
    """In words, with the version."""
    if torch.cuda.is_available():
        pytest.skip("this torch sees a GPU")
    with pytest.raises(UnsupportedError, match=r"torch .* sees no GPU 0"):
        products.require_torch(0)
