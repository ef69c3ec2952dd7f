"""What `make gpu-test` relies on, tried without a GPU: planted faults, parity, a stolen device, a node's own past."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch

from kernels import stats
from kernels.cuda.products import PRECISIONS, Precision
from kernels.spec import WrongResultError
from kernels.timing import Figure, HostTimer
from qualify.records import Gpu, Measurement
from tests.gpu import faults, history, parity, thief
from tests.gpu.faults import FAULTS, planted, work
from tests.kernels.cuda.emulated import EmulatedGpu

COMPARED = [precision for precision in PRECISIONS if precision.key in parity.BOUNDS]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Little to do for a single thread; torch's switch as it was."""
    monkeypatch.setattr(faults, "SLICE_BYTES", 1 << 15)
    monkeypatch.setattr(faults, "HOPS", 64)
    saved = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = saved


@pytest.mark.parametrize("where", FAULTS)
def test_a_kernel_is_right_and_wrong_with_its_fault(where: str) -> None:
    """Every loop of ours, the sweep and both chases: found with the fault in the text, passed without."""
    source = FAULTS[where][0]

    work(where, EmulatedGpu(), HostTimer())()
    with pytest.raises(WrongResultError):
        work(where, EmulatedGpu(faults={source: EDITS[source]}), HostTimer())()


#: kept: what is built for one is found again
EDITS = {source: partial(planted, source) for source, *_ in FAULTS.values()}


def test_a_fault_that_cannot_be_planted_is_an_error() -> None:
    """Or a changed source would make its test say nothing."""
    with pytest.raises(AssertionError, match=r"plant the fault of memory\.sweep elsewhere"):
        planted("pattern", "another source")


@pytest.mark.parametrize("precision", COMPARED, ids=lambda precision: str(precision.key))
def test_a_product_lies_within_its_bound_of_float64(precision: Precision) -> None:
    """By torch's CPU, which rounds no worse than a GPU."""
    assert parity.excess(precision, "cpu") <= 1


@pytest.mark.parametrize("key", parity.BOUNDS)
def test_a_product_beyond_its_bound_is_told(key: str) -> None:
    """One element off by a twentieth of the magnitudes that were added up; nan too."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(64, 64, dtype=torch.float64, generator=generator) for _ in range(2))
    exact = left @ right
    wrong = exact.clone()
    wrong[3, 4] += 0.05 * (left.abs() @ right.abs())[3, 4]

    assert parity.over(key, exact, left, right) == 0
    assert parity.over(key, wrong, left, right) > 1
    wrong[3, 4] = float("nan")
    assert not parity.over(key, wrong, left, right) <= 1


def test_a_chase_stands_where_another_device_s_stands() -> None:
    """After 1000, 2000 and 3000 hops, near and far; no two places are the same."""
    near, far = (parity.places(EmulatedGpu(), near=near) for near in (True, False))

    assert near == far
    assert len(set(near)) == 3


def figure(*values: float) -> Figure:
    return Figure(
        key="memory.triad", unit="B/s", statistic="median", summary=stats.summarise(values, "median"),
        samples=values, converged=True,
    )  # fmt: skip


def test_a_slower_figure_misses_what_the_past_leads_to_expect() -> None:
    """Five figures within a thousandth; a fifth less is missed, a thousandth less is not."""
    past = [history.measurement(figure(*[rate] * 12)) for rate in (1000.0, 1001.0, 999.0, 1000.5, 999.5)]

    side, change = history.judged(past, history.measurement(figure(*[800.0] * 12)))
    assert (side, round(change or 0, 3)) == ("misses", -0.2)
    side, change = history.judged(past, history.measurement(figure(*[999.0] * 12)))
    assert (side, round(change or 0, 3)) == ("meets", -0.001)
    with pytest.raises(AssertionError, match="2 figures are no past"):
        history.judged(past[:2], past[0])


def test_a_neighbour_is_told_by_what_a_run_alone_does_not_tell() -> None:
    """A second process, a figure that scatters by 5 % where it lay within 1 %, one that failed; else nothing."""
    (alone,) = history.reports([history.measurement(figure(*[1000.0] * 6, *[1010.0] * 6))])
    gpus = tuple(Gpu(index=0, processes=count) for count in (1, 2))
    alone = replace(alone, node=replace(alone.node, gpus=gpus[:1]))
    (scattered,) = history.reports([history.measurement(figure(*[1000.0] * 6, *[1050.0] * 6))])
    failed = replace(alone, measurements=(Measurement(key="k", unit="s", status="failed", reason="clocks"),))

    assert history.told(replace(alone, node=replace(alone.node, gpus=gpus[1:]))) - history.told(alone) == {
        "GPU 0 has 2 processes"
    }
    assert history.told(scattered) - history.told(alone) == {"memory.triad scatters"}
    assert history.told(failed) - history.told(alone) == {"k failed"}


def test_slices_are_taken_until_the_block_is_left() -> None:
    """At least three; none afterwards; each with its pause."""
    third = threading.Event()
    pauses = []

    def pause() -> None:
        pauses.append(1)
        if len(pauses) == 3:
            third.set()

    with thief.stealing(lambda: None, pause) as taken:
        assert third.wait(10)
    after = taken[0]

    assert after >= 3
    assert (taken[0], len(pauses)) == (after, after)


def test_a_thief_that_fails_is_an_error() -> None:
    """Or a test would find that nobody disturbed anything."""

    def step() -> None:
        raise RuntimeError("illegal address")

    with pytest.raises(RuntimeError, match="illegal address"), thief.stealing(step, lambda: None):
        pass
