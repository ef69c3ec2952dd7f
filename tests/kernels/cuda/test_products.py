"""The GPU's products, done by torch on a CPU: shapes, precisions, switches, checks, and the steps of the bench."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from kernels import device as devices
from kernels.benches import matmul
from kernels.cuda import library, products
from kernels.cuda.products import PRECISIONS, Pairs, Precision, Shape
from kernels.cuda.switches import switched
from kernels.device import Device
from kernels.spec import Case, Observed, Profile, Skip, UnsupportedError, WrongResultError
from kernels.timing import EFFORT, Figure, HostTimer, measure
from tests.kernels.cuda.emulated import EmulatedGpu
from tests.kernels.devices import small_setting

SHAPE: Shape = (96, 64, 128)
DEVICE = Device(
    kind="cuda", index=0, name="emulated", cpus=tuple(os.sched_getaffinity(0)), threads=1, sms=132, capability=(9, 0)
)
each = pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: str(precision.key))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No override in the environment; torch stands for our own kernel, which needs a GPU.

    On one thread: on a busy machine several would wait for each other longer than such small products take.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(products, "own_product", lambda left, right, out: partial(torch.mm, left, right, out=out))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's CPU stands for the GPU."""
    monkeypatch.setattr(library, "open_gpu", lambda index: EmulatedGpu(l2_bytes=1 << 12))
    monkeypatch.setattr(devices, "timer_for", lambda device: HostTimer())
    monkeypatch.setattr(products, "require_torch", lambda index: "cpu")
    monkeypatch.setattr(products, "shapes", lambda *_: (SHAPE, (64, 64, 64), (32, 64, 64), (16, 32, 32)))


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
                                  left_s=lambda: 1e9))  # fmt: skip

    flops = 2 * 64 * 64 * 64
    assert [shape for shape, _ in found] == [(64, 64, 128), (64, 64, 64)]
    assert [rate for _, rate in found] == pytest.approx([flops * 2 / 1.5, flops])


def test_a_shape_there_is_no_time_for_is_left_out() -> None:
    """The first is tried however late it is; its rate of 2·64³ in 1 s makes six calls of twice the work last 12 s."""
    shapes = [(64, 64, 64), (64, 64, 128), (32, 64, 64)]

    def found(left_s: float) -> list[Shape]:
        kept = products.fastest(shapes, lambda shape: pairs(PRECISIONS[5], shape),
                                lambda call, calls: calls * 1.0, keep=3, left_s=lambda: left_s)  # fmt: skip
        return [shape for shape, _ in kept]

    assert found(0.0) == [(64, 64, 64)]
    assert set(found(11.9)) == {(64, 64, 64), (32, 64, 64)}
    assert set(found(12.1)) == set(shapes)


def test_zeros_take_turns_with_random_operands() -> None:
    """A call of random ones lasts 10 ms, of zeros 8: 1.25 times as fast; six batches of 0.6 s / 6 each."""
    batches: list[int] = []
    random, zeros = pairs(PRECISIONS[5]), Pairs(PRECISIONS[5], SHAPE, device="cpu", l2_bytes=1, seed=1, zeros=True)

    def time(call: Callable[[], object], calls: int) -> float:
        batches.append(calls)
        return calls * (0.010 if call == random.call else 0.008)

    assert products.zeros_ratio(random, zeros, time, seconds=0.6) == pytest.approx(1.25)
    assert batches == [1, *[10] * 6]


def test_zeros_are_zeros_in_every_precision() -> None:
    """A product of them is right, and zero."""
    for precision in PRECISIONS:
        found = Pairs(precision, SHAPE, device="cpu", l2_bytes=1, seed=1, zeros=True)
        found.call()
        assert not found.result.any()


def measured(profile: Profile, *only: str) -> dict[str, Figure]:
    """Each figure of the bench, with all shapes tried."""
    found: dict[str, Figure] = {}
    setting = replace(small_setting(*only, device=DEVICE, profile=profile), budget_s=600.0)
    for step in matmul.on_cuda(setting):
        assert isinstance(step, Case)
        assert len(step.variants) == 3
        (figure,) = measure(step, HostTimer(), replace(EFFORT["cuda"], min_warm_s=0.0, min_time_s=0.0), 0.02)
        found[figure.key] = figure
    return found


def test_every_precision_is_measured_with_its_context(gpu: None) -> None:
    """Three shapes kept of four; TF32 and short sums for their own keys and no others; the clock of the load."""
    found = measured("standard")

    assert tuple(found) == matmul.GPU_KEYS
    contexts = {key: figure.context for key, figure in found.items()}
    assert {key for key, context in contexts.items() if context["allow_tf32"]} == {"matmul.tf32"}
    assert {key for key, context in contexts.items() if context["allow_fp16_accumulation"]} == {"matmul.fp16_acc16"}
    # the emulated clock counts nanoseconds; a busy machine makes it seem slower
    assert all(0 < float(str(context["clock_hz"])) < 1.1e9 for context in contexts.values())
    assert not any("zeros_ratio" in context for context in contexts.values())


def test_a_figure_s_context_says_what_was_sustained_and_what_a_cycle_did(
    gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four samples of two calls: 1, 1, 2 and 4 s each; 2 multiprocessors at 1 GHz; 96·64·128·2 operations a call."""
    monkeypatch.setattr(matmul, "_note_clock", lambda context, *_: context.update(clock_hz=1e9))
    (step,) = matmul.on_cuda(small_setting("matmul.fp32", device=DEVICE))
    assert isinstance(step, Case)
    assert step.after is not None
    variant = next(each for each in step.variants if each.label == "96x64x128")
    variant.call()
    variant.check()

    found = step.after(variant, (1.0, 1.0, 2.0, 4.0), 2)

    flops = 2 * 96 * 64 * 128
    assert found == {
        "sustained_per_s": pytest.approx(flops * (1 / 2 + 1 / 4) / 2),
        "sustained_after_s": 4.0,
        "per_sm_cycle": pytest.approx(flops * (1 + 1 / 2) / 2 / 2e9),
    }


def test_the_deep_profile_multiplies_zeros_too(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the figure of random operands, in its context."""
    monkeypatch.setattr(matmul, "GPU_ZEROS_PART", 1e-5)
    ratio = measured("deep", "matmul.fp32")["matmul.fp32"].context["zeros_ratio"]

    assert isinstance(ratio, float)
    assert ratio > 0


def test_a_case_that_was_measured_holds_no_memory_any_more(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures keeps the step until the next is there: its tensors are given back before those are made."""
    emptied: list[int] = []
    made: list[Pairs] = []
    real = products.fastest

    def kept_bytes(pairs: Pairs) -> int:
        return int(pairs.result.nbytes) + sum(int(each.nbytes) for pair in pairs._pairs for each in pair)

    def watched(*arguments: Any, **named: Any) -> Any:
        emptied.append(sum(kept_bytes(pairs) for pairs in made))
        return real(*arguments, **named)

    def noted(self: Pairs, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        made.append(self)

    begin = Pairs.__init__
    monkeypatch.setattr(Pairs, "__init__", noted)
    monkeypatch.setattr(products, "fastest", watched)
    steps = matmul.on_cuda(replace(small_setting("matmul.fp16", "matmul.fp32", device=DEVICE), budget_s=600.0))
    first = next(steps)
    made[:-3] = []  # the trial's, which nobody else holds
    held = sum(kept_bytes(pairs) for pairs in made)

    second = next(steps)

    assert held > 0
    assert emptied == [0, 0]
    assert (first.key, second.key) == ("matmul.fp16", "matmul.fp32")  # type: ignore[union-attr]


def test_a_kernel_that_cannot_be_built_is_skipped_with_its_words(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason for one figure, not an error of the whole bench."""

    def refuse(*_: object) -> None:
        raise UnsupportedError("no libNVVM")

    monkeypatch.setattr(products, "own_product", refuse)
    (step,) = matmul.on_cuda(small_setting("matmul.fp32_numba", device=DEVICE, profile="standard"))

    assert isinstance(step, Skip)
    assert step.reason == "no libNVVM"


def test_the_quick_profile_leaves_the_witnesses_to_others(gpu: None) -> None:
    """With a reason; the shares are of what is measured."""
    setting = small_setting(device=DEVICE)
    steps = list(matmul.on_cuda(setting))

    assert [step.key for step in steps if isinstance(step, Skip)] == list(matmul.GPU_NOT_QUICK)
    assert matmul.shares(setting) == 7
    assert matmul.shares(replace(setting, profile="deep")) == 8


@pytest.mark.parametrize(
    ("capability", "skipped"),
    [((9, 0), set()), ((8, 6), {"matmul.fp8"}), ((7, 0), {"matmul.fp8", "matmul.int8", "matmul.bf16", "matmul.tf32"})],
)
def test_what_a_gpu_has_no_unit_for_is_skipped(gpu: None, capability: tuple[int, int], skipped: set[str]) -> None:
    """By its compute capability, with both versions in the reason."""
    device = replace(DEVICE, capability=capability)
    steps = list(matmul.on_cuda(small_setting(device=device, profile="standard")))

    assert {step.key for step in steps if isinstance(step, Skip)} == skipped
    assert all(f"found {capability[0]}.{capability[1]}" in step.reason for step in steps if isinstance(step, Skip))


def by_key(key: str) -> Precision:
    return next(precision for precision in PRECISIONS if precision.key == key)


def test_an_environment_that_overrides_tf32_is_refused(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA_TF32_OVERRIDE=1 would make fp32 a lie, and is the truth for tf32; 0 says what we say."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    steps = list(matmul.on_cuda(small_setting("matmul.fp32", "matmul.tf32", device=DEVICE)))
    assert [(step.key, isinstance(step, Skip)) for step in steps if not isinstance(step, Observed)] == [
        ("matmul.tf32", False),
        ("matmul.fp32", True),
    ]

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with switched(by_key("matmul.fp32")) as said:
        assert said["allow_tf32"] is False


@pytest.mark.parametrize("key", ["matmul.tf32", "matmul.fp16_acc16"])
def test_switches_are_put_back_whatever_happens(key: str) -> None:
    """On inside for its own key, as before outside, also when the product fails."""
    settings = torch.backends.cuda.matmul
    before = (settings.allow_tf32, settings.allow_fp16_accumulation)
    inside: list[tuple[bool, bool, object]] = []

    def fail() -> None:
        with switched(by_key(key)) as said:
            inside.append((settings.allow_tf32, settings.allow_fp16_accumulation, said.get("fp32_precision", "ieee")))
            raise RuntimeError("no product")

    with pytest.raises(RuntimeError, match="no product"):
        fail()

    assert inside == [(True, False, "tf32") if key == "matmul.tf32" else (False, True, "ieee")]
    assert (settings.allow_tf32, settings.allow_fp16_accumulation) == before


class Stubborn:
    """Switches that cannot be turned."""

    allow_fp16_reduced_precision_reduction = False
    allow_bf16_reduced_precision_reduction = False

    def __init__(self, *, tf32: bool, said: str) -> None:
        self.__dict__.update(tf32=tf32, fp32_precision=said)

    @property
    def allow_tf32(self) -> bool:
        return bool(self.__dict__["tf32"])

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        """As if it had been."""


@pytest.mark.parametrize(
    ("key", "tf32", "said", "words"),
    [
        ("matmul.fp32", True, "tf32", "asked for allow_tf32 = False and says True"),
        ("matmul.fp32", False, "tf32", "asked for full fp32 and says it multiplies in tf32"),
        ("matmul.tf32", False, "ieee", "asked for allow_tf32 = True and says False"),
        ("matmul.fp16_acc16", False, "ieee", "has no allow_fp16_accumulation"),
    ],
)
def test_a_switch_that_does_not_turn_is_told(
    key: str, tf32: bool, said: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch says afterwards counts, in its older and its newer words."""
    monkeypatch.setattr(torch.backends.cuda, "matmul", Stubborn(tf32=tf32, said=said))

    with pytest.raises(UnsupportedError, match=words), switched(by_key(key)):
        pass


class Announcing:
    """Switches of torch 2.9, which warns of a newer name whenever the older one is read or turned."""

    allow_fp16_reduced_precision_reduction = allow_bf16_reduced_precision_reduction = allow_fp16_accumulation = False

    def __init__(self) -> None:
        self.tf32 = False

    @property
    def allow_tf32(self) -> bool:
        warnings.warn("Please use the new API settings to control TF32 behavior, such as", UserWarning, stacklevel=2)
        return self.tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        warnings.warn("Please use the new API settings to control TF32 behavior, such as", UserWarning, stacklevel=2)
        self.tf32 = value


def test_what_torch_announces_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where warnings are errors, as here, the switch still turns there and back."""
    settings = Announcing()
    monkeypatch.setattr(torch.backends.cuda, "matmul", settings)

    with switched(by_key("matmul.tf32")) as said:
        assert (said["allow_tf32"], settings.tf32) == (True, True)
    assert settings.tf32 is False


def test_torch_without_cuda_is_a_reason() -> None:
    """In words, with the version."""
    if torch.cuda.is_available():
        pytest.skip("this torch sees a GPU")
    with pytest.raises(UnsupportedError, match=r"torch .* sees no GPU 0"):
        products.require_torch(0)
