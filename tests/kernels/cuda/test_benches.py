"""The CUDA cases whose kernels are ours, on the emulated GPU: what they yield, check and refuse."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels import device as devices
from kernels.benches import launch, memlatency, memory
from kernels.cpu import chase
from kernels.cuda import library
from kernels.cuda.streams import SHAPES, Streams, sweep
from kernels.cuda.walk import Walk
from kernels.device import Device
from kernels.spec import Case, Observed, Profile, Setting, Skip, Step, UnsupportedError, WrongResultError
from kernels.timing import EFFORT, HostTimer, measure
from tests.kernels.cuda.emulated import EmulatedGpu
from tests.kernels.devices import KIB, MIB, small_setting

DEVICE = Device(
    kind="cuda", index=0, name="emulated", cpus=tuple(sorted(os.sched_getaffinity(0)))[:1], threads=1, sms=2
)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> EmulatedGpu:
    """The emulated GPU is the machine's, with buffers of a size it can work through."""
    found = EmulatedGpu()
    monkeypatch.setattr(library, "open_gpu", lambda index: found)
    monkeypatch.setattr(devices, "timer_for", lambda device: HostTimer())
    monkeypatch.setattr(memory, "GPU_LEAST_BYTES", 256 * KIB)
    monkeypatch.setattr(memory, "GPU_SLICE_BYTES", MIB)
    monkeypatch.setattr(memory, "GPU_SPARE_BYTES", 60 * MIB)
    monkeypatch.setattr(memlatency, "GPU_DRAM_LEAST_BYTES", MIB)
    monkeypatch.setattr(memlatency, "GPU_HOPS", {"l1": 1024, "l2": 1024, "dram": 1024})
    return found


def setting(*only: str, profile: Profile = "standard") -> Setting:
    return small_setting(*only, device=DEVICE, profile=profile)


def case_of(step: Step) -> Case:
    assert isinstance(step, Case)
    return step


def test_every_loop_is_tried_in_every_shape_and_measured(gpu: EmulatedGpu) -> None:
    """Six figures, checked before and after; the launch is the shape's."""
    shapes = len(SHAPES)
    for key in memory.KEYS:
        (case,) = map(case_of, memory.on_cuda(setting(key)))
        (figure,) = measure(case, HostTimer(), replace(EFFORT["cuda"], min_warm_s=0.0), 0.02)

        assert (figure.key, figure.unit) == (key, "B/s")
        assert len(case.variants) == shapes
        assert figure.context["array_bytes"] == 256 * KIB
        assert (figure.context["sms"], figure.context["sms_counted"]) == (2, 2)
        assert ("l2_knee_bytes" in figure.context) == (key == "memory.read")

    assert ("stream_triad", 2 * 8, 256) in gpu.launched


def test_work_counts_the_arrays_an_operation_passes_over(gpu: EmulatedGpu) -> None:
    """STREAM's way: one for read and write, two for copy and scale, three for add and triad."""
    found = {
        case.key.removeprefix("memory."): case.variants[0].work.bytes // (256 * KIB)
        for case in map(case_of, memory.on_cuda(setting(*memory.KEYS)))
    }

    assert found == {"triad": 3, "copy": 2, "scale": 2, "add": 3, "read": 1, "write": 1}


@pytest.mark.parametrize("key", memory.KEYS)
def test_a_call_that_did_nothing_is_caught(key: str, gpu: EmulatedGpu) -> None:
    """The check holds after a call, and fails without one."""
    (case,) = map(case_of, memory.on_cuda(setting(key)))
    for variant in case.variants[:2]:
        variant.call()
        variant.check()
        with pytest.raises(WrongResultError, match=key):
            variant.check()


def test_the_quick_profile_looks_for_no_knee(gpu: EmulatedGpu) -> None:
    """It has no time for the curve; the multiprocessors are counted all the same."""
    (case,) = map(case_of, memory.on_cuda(setting("memory.read", profile="quick")))

    assert "l2_knee_bytes" not in case.context
    assert case.context["sms_counted"] == 2


def test_a_read_s_sum_is_of_its_own_threads(gpu: EmulatedGpu) -> None:
    """A launch with many threads, then one with few: what the many left does not count."""
    (case,) = map(case_of, memory.on_cuda(setting("memory.read")))
    many = max(case.variants, key=lambda variant: int(variant.label.split()[0]) * int(variant.label.split()[2]))
    few = case.variants[0]

    many.call()
    few.call()
    few.check()


def drop_last(text: str) -> str:
    """A triad that leaves the last pair out."""
    return text.replace("stream_triad(const", "stream_triad_right(const", 1).replace(
        'extern "C" __global__ void stream_triad_right',
        "static void stream_triad_right(const double2*, const double2*, double2*, unsigned long long, double);\n"
        'extern "C" __global__ void stream_triad(const double2* a, const double2* b, double2* c,'
        " unsigned long long n, double f) { stream_triad_right(a, b, c, n - 1, f); }\n"
        "static void stream_triad_right",
    )


def test_a_wrong_kernel_s_speed_does_not_count() -> None:
    """A triad that leaves the last two elements out is named, with the byte where it begins to be wrong."""
    streams = Streams(EmulatedGpu(faults={"stream": drop_last}), 64 * KIB, seed=1)
    streams.call("triad", SHAPES[0])()

    with pytest.raises(WrongResultError, match=f"2 of 8192 elements .* first at byte {64 * KIB - 16} of"):
        streams.check("triad", SHAPES[0])


def test_too_little_memory_is_told(gpu: EmulatedGpu) -> None:
    """Three arrays of 256 KiB in half of what is free."""
    gpu.free = MIB

    with pytest.raises(UnsupportedError, match="three arrays of 0 MiB in half of the free memory, found 1 MiB free"):
        list(memory.on_cuda(setting("memory.copy")))


def test_a_sweep_reads_every_slice_back(gpu: EmulatedGpu) -> None:
    """64 MiB free, 60 spared: four slices of one, each bit at both of its values."""
    (step,) = memory.on_cuda(setting("memory.sweep"))
    assert isinstance(step, Observed)

    (found,) = step.observe(60.0)

    assert len(found.samples) == 4
    assert {key: found.context[key] for key in ("tested_bytes", "passes", "wrong_words")} == {
        "tested_bytes": 4 * MIB,
        "passes": 2,
        "wrong_words": 0,
    }


class PooledGpu(EmulatedGpu):
    """Keeps what is freed for itself until it is told to give it back, as cupy does."""

    def __init__(self) -> None:
        super().__init__(free=4 * MIB)
        self.lent: list[weakref.ref[Any]] = []

    def empty(self, count: int, dtype: str) -> Any:
        array = super().empty(count, dtype)
        self.lent.append(weakref.ref(array))
        return array

    def trim(self) -> None:
        self.lent = [array for array in self.lent if array() is not None]


def test_a_sweep_gives_all_memory_back() -> None:
    """Or torch, in the same process, could have none of it."""
    gpu = PooledGpu()

    sweep(gpu, HostTimer(), slice_bytes=MIB, spare_bytes=0, nonce=3, until=0.0)
    assert gpu.lent == []


def test_the_quick_profile_sweeps_nothing_and_says_so(gpu: EmulatedGpu) -> None:
    """A reason, not a figure that is missing."""
    (step,) = memory.on_cuda(setting("memory.sweep", profile="quick"))

    assert isinstance(step, Skip)
    assert "quick" in step.reason


class Faulty(EmulatedGpu):
    """A GPU whose memory misbehaves."""

    def __init__(self, *, aliased: bool, free: int) -> None:
        super().__init__(free=free)
        self.aliased = aliased
        self.pieces: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []

    def empty(self, count: int, dtype: str) -> object:
        if self.aliased and self.pieces:
            return self.pieces[0]
        self.pieces.append(super().empty(count, dtype))
        return self.pieces[-1]

    def launcher(self, source: str, kernel: str, grid: int, block: int, *arguments: object) -> Callable[[], None]:
        call = super().launcher(source, kernel, grid, block, *arguments)

        def stuck() -> None:
            call()
            self.pieces[0][5] |= np.uint64(1)  # bit 0 of word 5 cannot be 0

        return call if self.aliased or kernel != "pattern_write" else stuck


def test_a_stuck_bit_is_found_at_its_address() -> None:
    """In the pass that wants it at 0, whichever that is: address and bit are told."""
    gpu = Faulty(aliased=False, free=2 * MIB)

    with pytest.raises(WrongResultError, match=r"\(1 counted\).*bits 0x0000000000000001") as error:
        sweep(gpu, HostTimer(), slice_bytes=MIB, spare_bytes=0, nonce=3, until=HostTimer().now() + 60)

    assert f"first at address {gpu.address(gpu.pieces[0]) + 40:#x}" in str(error.value)


def test_memory_that_is_not_there_is_found() -> None:
    """Two slices that are one: what the second wrote is read in the first."""
    gpu = Faulty(aliased=True, free=2 * MIB)

    with pytest.raises(WrongResultError, match="came back different"):
        sweep(gpu, HostTimer(), slice_bytes=MIB, spare_bytes=0, nonce=3, until=HostTimer().now() + 60)


def test_a_sweep_without_room_says_so() -> None:
    """Not a figure of nothing."""
    with pytest.raises(MemoryError, match="needs 3145728 bytes free, found 2097152"):
        sweep(EmulatedGpu(free=2 * MIB), HostTimer(), slice_bytes=MIB, spare_bytes=2 * MIB, nonce=3, until=0.0)


def test_each_level_has_its_working_set(gpu: EmulatedGpu) -> None:
    """16 KiB; a quarter of the L2 of 64 KiB; eight times it or more; all end where they should."""
    sizes = {}
    for case in map(case_of, memlatency.on_cuda(setting())):
        (figure,) = measure(case, HostTimer(), replace(EFFORT["cuda"], min_warm_s=0.0), 0.02)
        sizes[case.key] = figure.context["working_set_bytes"]
        assert isinstance(figure.context["cycles_per_hop"], float)
        assert figure.summary.value < 1e-6

    assert sizes == {"memlatency.dram": MIB, "memlatency.l1": 16 * KIB, "memlatency.l2": 16 * KIB}


def test_a_walk_that_stands_elsewhere_is_caught() -> None:
    """One hop that the host did not count."""
    laid = Walk(EmulatedGpu(), chase.cycle(64, 1), near=True, warm=0, hops=8)
    laid.call()
    laid.check()
    laid._walked += 1

    with pytest.raises(WrongResultError, match="after 9 hops"):
        laid.check()


def test_launches_are_counted_per_launch_and_per_node(gpu: EmulatedGpu) -> None:
    """Four figures of seconds; a clock call launches what its work says."""
    cases = {case.key: case for case in map(case_of, launch.on_cuda(setting()))}

    assert tuple(cases) == launch.GPU_KEYS
    for key, launches in (("launch.sync", 1), ("launch.queued", 500), ("launch.graph", 100)):
        (variant,) = cases[key].variants
        gpu.launched.clear()
        variant.call()

        assert variant.work.steps == launches == len(gpu.launched)


@pytest.mark.parametrize("bench", [memory, memlatency, launch], ids=lambda bench: str(bench.BENCH.name))
def test_only_what_is_wanted_is_yielded(bench: object, gpu: EmulatedGpu) -> None:
    """One key at a time; a key of another bench opens nothing."""
    found = bench.BENCH  # type: ignore[attr-defined]
    for key in found.keys["cuda"]:
        steps = list(found.open["cuda"](setting(key)))
        assert [step.keys if isinstance(step, Observed) else step.key for step in steps] in ([key], [(key,)])
    assert list(found.open["cuda"](setting("nothing.else"))) == []
