"""Faults on a real GPU: a wrong kernel, a busy neighbour, a device that somebody slows down."""

from __future__ import annotations

import pytest

from kernels.cuda import library
from kernels.cuda.library import CupyDriver, CupyGpu, source_of
from kernels.cuda.products import hottest
from kernels.cuda.timer import EventTimer
from kernels.device import Device, timer_for
from kernels.spec import BenchError, Case, WrongResultError
from kernels.timing import EFFORT, Figure, measure
from qualify.records import Measurement
from tests.gpu import thief
from tests.gpu.bench.command import qualify
from tests.gpu.bench.ground import Ground
from tests.gpu.faults import FAULTS, planted, work
from tests.gpu.history import judged, measurement, told

PAST = 5
STEP_S = 1.5
BUDGET_S = 30.0


@pytest.mark.parametrize("where", FAULTS)
def test_a_wrong_kernel_is_found(where: str, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work passes with the kernel as it is."""
    gpu = CupyGpu(device.index)
    timer = EventTimer(CupyDriver(gpu))
    work(where, gpu, timer)()
    source = FAULTS[where][0]
    wrong = planted(source, source_of(source))

    with monkeypatch.context() as patch:
        patch.setattr(library, "source_of", lambda name: wrong if name == source else source_of(name))
        with pytest.raises(WrongResultError):
            work(where, CupyGpu(device.index), timer)()


def figures(case: Case, device: Device) -> Figure:
    return measure(case, timer_for(device), EFFORT["cuda"], STEP_S)[0]


@pytest.mark.parametrize("bench", ["memory", "matmul"])
def test_a_lowered_clock_is_recognised_by_the_past(bench: str, ground: Ground) -> None:
    """Five figures of a free GPU, one while a stream takes slices of it, one afterwards."""
    device = ground.device
    key = "memory.triad" if bench == "memory" else hottest(device.capability).key
    with ground.case(key) as case:
        past = [measurement(figures(case, device)) for _ in range(PAST)]
        try:
            with thief.slices(device.index) as taken:
                slowed: Measurement | None = measurement(figures(case, device))
        except BenchError:
            slowed = None  # events and the host's clock came apart: recognised too, and no figure at all
        again = measurement(figures(case, device))

    assert taken[0] > 0
    if slowed is not None:
        value, usual = slowed.value or 0.0, sorted(one.value or 0.0 for one in past)[PAST // 2]
        assert value < 0.95 * usual, f"{value:g} of {usual:g} is not slower: the stream took nothing"
        if bench == "memory":  # a product is judged per cycle, and cycles are what was taken
            assert judged(past, slowed)[0] == "misses"
    if bench == "memory":
        assert judged(past, again)[0] in ("meets", "barely")


def test_a_busy_neighbour_is_found(device: Device) -> None:
    """By one process more, clocks that come apart or figures that scatter, none of which a run alone tells."""
    only = ("--only", hottest(device.capability).key, "--only", "memory.triad", "--budget", f"{BUDGET_S:g}")
    alone = qualify(*only, budget_s=BUDGET_S)
    with thief.neighbour(device.index):
        beside = qualify(*only, budget_s=BUDGET_S)

    assert told(beside.report) - told(alone.report)
