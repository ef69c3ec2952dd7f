"""Our kernels on a GPU against the same source on the CPU, products against float64, the timer against the host."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels.cuda
from kernels.cuda.library import CupyDriver, CupyGpu, Gpu, source_of
from kernels.cuda.products import PRECISIONS, Precision, obstacle, require_torch
from kernels.cuda.streams import FACTOR, OPERATIONS, sweep
from kernels.cuda.timer import EventTimer, sm_clock_hz
from kernels.device import Device
from kernels.spec import BenchError
from tests.gpu import parity
from tests.kernels.cuda.emulated import EmulatedGpu, kernels_in

MIB = 1 << 20
PAIRS = 100_003
U64 = np.uint64


def loop(gpu: Gpu, operation: str) -> Any:
    """What one loop of stream.cu leaves, on this device."""
    a, b, c = (gpu.empty(2 * PAIRS, "float64") for _ in range(3))
    for array, seed in ((a, 3), (b, 4)):
        gpu.launcher("stream", "stream_fill", 8, 64, array, U64(PAIRS), U64(seed))()
    given: dict[str, tuple[Any, ...]] = {
        "copy": (a, c, U64(PAIRS)),
        "write": (c, U64(PAIRS), FACTOR),
        "scale": (a, c, U64(PAIRS), FACTOR),
        "add": (a, b, c, U64(PAIRS)),
        "triad": (a, b, c, U64(PAIRS), FACTOR),
    }
    gpu.launcher("stream", f"stream_{operation}", 8, 64, *given[operation])()
    return gpu.download(c)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gpu_and_cpu_agree_on_every_bit(operation: str, gpu: CupyGpu) -> None:
    """The same source, compiled for both."""
    assert np.array_equal(loop(gpu, operation).view(U64), loop(EmulatedGpu(), operation).view(U64))


def test_the_pattern_is_the_same_on_both(gpu: CupyGpu) -> None:
    """Word by word."""
    found = []
    for each in (gpu, EmulatedGpu()):
        piece = each.empty(2 * PAIRS, "uint64")
        each.launcher("pattern", "pattern_write", 8, 64, piece, U64(PAIRS), U64(5), U64(7), U64(0))()
        found.append(each.download(piece))

    assert np.array_equal(*found)


@pytest.mark.parametrize("source", sorted(path.stem for path in Path(kernels.cuda.__path__[0]).glob("*.cu")))
def test_every_kernel_loads(source: str, gpu: CupyGpu) -> None:
    """Compiled by the driver's own NVRTC for this GPU, and found by its name."""
    names = [name for name, _ in kernels_in(source_of(source))]

    assert names
    for name in names:
        gpu.launcher(source, name, 1, 32)


@pytest.mark.parametrize("near", [True, False])
def test_a_chase_goes_the_same_way_on_both(near: bool, gpu: CupyGpu) -> None:
    """The same cycle, the same places after the same hops."""
    assert parity.places(gpu, near=near) == parity.places(EmulatedGpu(), near=near)


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: str(precision.key))
def test_products_are_those_of_float64(precision: Precision, device: Device) -> None:
    """Every element within the bound of its precision; what the GPU has no unit for says so."""
    problem = obstacle(precision, device.capability)
    if problem or precision.key not in parity.BOUNDS:
        pytest.skip(problem or f"no bound is known for {precision.key}")

    assert parity.excess(precision, require_torch(device.index)) <= 1


def test_a_gibibyte_is_swept(gpu: CupyGpu) -> None:
    """Four slices, twice."""
    timer = EventTimer(CupyDriver(gpu))
    gpu.trim()
    spare = gpu.free_bytes() - (1 << 30) - 64 * MIB

    swept = sweep(gpu, timer, slice_bytes=256 * MIB, spare_bytes=spare, nonce=1, until=timer.now() + 60)

    assert (len(swept.rates), swept.context["passes"]) == (4, 2)


def test_events_and_host_agree(gpu: CupyGpu) -> None:
    """A kernel that counts cycles: time by events within 2 % of the host's for the same twenty."""
    driver = CupyDriver(gpu)
    timer = EventTimer(driver)
    hertz = sm_clock_hz(gpu, timer)
    flag = gpu.upload(np.zeros(2, dtype=np.uint32))
    count = gpu.launcher("launch", "hold", 1, 1, flag, np.int64(int(hertz * 10e-3)))
    by_events = timer.time(count, 20)
    start = time.perf_counter()
    for _ in range(20):
        count()
    gpu.synchronize()

    assert 2e8 < hertz < 4e9
    assert by_events == pytest.approx(time.perf_counter() - start, rel=0.02)


def test_a_call_that_waits_is_an_error_and_does_not_hang(gpu: CupyGpu) -> None:
    """The hold lets go by itself."""
    timer = EventTimer(CupyDriver(gpu))

    with pytest.raises(BenchError, match="a call waits for the device"):
        timer.time(partial(gpu.synchronize), 1)
