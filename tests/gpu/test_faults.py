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
from tests.gpu.bench.command import Ran, qualify
from tests.gpu.bench.ground import Ground
from tests.gpu.faults import FAULTS, planted, work
from tests.gpu.history import judged, measurement

PAST = 5
STEP_S = 1.5
BUDGET_S = 30.0
#: of p95 over p5: figures of an undisturbed GPU lie within a few thousandths
RESTLESS = 1.03
CODES = ("GPU_FOREIGN_PROCESS", "GPU_MEMORY_TAKEN")


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


def restless(ran: Ran) -> list[str]:
    """What of a report tells that somebody else was there."""
    told = [
        finding.code for finding in ran.report.findings if finding.code in ("GPU_FOREIGN_PROCESS", "GPU_MEMORY_TAKEN")
    ]
    for one in ran.report.measurements:
        if one.status == "failed" and "others use the device" in (one.reason or ""):
            told.append(f"{one.key}: {one.reason}")
        elif one.p5 and one.p95 and max(one.p95 / one.p5, one.p5 / one.p95) > RESTLESS:
            told.append(f"{one.key}: from {one.p5:g} to {one.p95:g}")
    return told


def test_a_busy_neighbour_is_found(device: Device) -> None:
    """By name, by clocks that come apart, or by the spread of the figures."""
    only = ("--only", hottest(device.capability).key, "--only", "memory.triad", "--budget", f"{BUDGET_S:g}")
    with thief.neighbour(device.index):
        ran = qualify(*only, budget_s=BUDGET_S)

    assert restless(ran)
