"""The load on all GPUs: what is queued when, what the series says, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from kernels.benches import stress
from kernels.cuda.products import PRECISIONS, hottest
from kernels.cuda.soak import CHECK_EVERY, addresses, soak
from kernels.spec import UnsupportedError, WrongResultError


@dataclass
class Clock:
    """Time that passes when a load is waited for."""

    seconds: float = 0.0

    def now(self) -> float:
        return self.seconds


@dataclass
class ScriptedLoad:
    """A GPU whose calls take 10 ms, and from `slower_at` on twice that; the clock is that of the first."""

    clock: Clock
    first: bool = True
    slower_at: float = 1e9
    wrong_at: int = 10**9
    flops: int = 10**10
    queued: list[int] = field(default_factory=list)
    most_queued: int = 0
    checks: int = 0

    def queue(self, calls: int) -> int:
        self.queued.append(calls)
        self.most_queued = max(self.most_queued, len(self.queued))
        return calls

    def wait(self, token: int) -> float:
        self.queued.remove(token)
        lasted_s = token * (0.02 if self.clock.seconds >= self.slower_at else 0.01)
        self.clock.seconds += lasted_s if self.first else 0.0
        return lasted_s

    def check(self) -> None:
        assert not self.queued, "the result would be another window's"
        self.checks += 1
        if self.checks > self.wrong_at:
            raise WrongResultError("wrong")


def test_a_window_follows_the_other_without_a_gap() -> None:
    """Two windows of 25 calls are queued at a time, but before a check; the rate is 10^10 / 10 ms."""
    clock = Clock()
    load = ScriptedLoad(clock)

    (series,) = soak([load], seconds=10.0, now=clock.now).windows

    assert load.most_queued == 2
    assert {round(rate) for _, rate in series} == {10**12}
    assert [at for at, _ in series[:2]] == pytest.approx([0.25, 0.5])
    assert load.checks == 1 + len(series) // CHECK_EVERY + 1


def test_a_wrong_product_ends_it() -> None:
    """Whenever it happens."""
    clock = Clock()

    with pytest.raises(WrongResultError):
        soak([ScriptedLoad(clock, wrong_at=3)], seconds=60.0, now=clock.now)


def test_the_worst_gpu_s_decline_and_all_gpus_speed_are_the_figures() -> None:
    """Of two, the second halves its speed after 5 of 20 s: together 1.5 of 2, decline one half, named."""
    clock = Clock()
    first = ScriptedLoad(clock)
    second = ScriptedLoad(clock, first=False, slower_at=5.0)

    sustained, decline = stress.gpu_figures(
        soak([first, second], seconds=20.0, now=clock.now), "matmul.bf16", ["0000:0a:00.0", None]
    )

    assert sustained.samples == pytest.approx([1.5e12] * len(sustained.samples))
    assert decline.samples == pytest.approx([0.5] * len(decline.samples))
    assert (decline.context["gpu"], sustained.context["gpus"]) == (1, 2)
    assert sustained.context["burst_flops_per_s"] == pytest.approx([1e12, 1e12])
    assert sustained.context["gpu_addresses"] == ["0000:0a:00.0", None]


def test_each_gpu_s_time_to_steady_state_counts_from_one_instant() -> None:
    """The clock shows 100 s at the start; the first is steady at once, the second from when it halves its speed."""
    clock = Clock(99.98)  # two calls of 10 ms come before
    every = [ScriptedLoad(clock), ScriptedLoad(clock, first=False, slower_at=105.0)]

    sustained, decline = stress.gpu_figures(soak(every, seconds=20.0, now=clock.now), "matmul.bf16", [None, None])

    assert sustained.context["started_mono_s"] == pytest.approx(100.0)
    assert sustained.context["steady_each_s"] == [0.0, pytest.approx(4.75)]
    assert sustained.context["steady_after_s"] == decline.context["steady_after_s"] == pytest.approx(4.75)


def test_one_gpu_that_never_settles_leaves_all_unsettled() -> None:
    """It halves its speed after 17 of 20 s: too late to see that it stays."""
    clock = Clock()
    every = [ScriptedLoad(clock), ScriptedLoad(clock, first=False, slower_at=17.0)]

    sustained, _ = stress.gpu_figures(soak(every, seconds=20.0, now=clock.now), "matmul.bf16", [None, None])

    assert sustained.context["steady_each_s"] == [0.0, None]
    assert sustained.context["steady_after_s"] is None


def test_too_short_a_soak_is_told() -> None:
    """Three seconds have no late half beside the burst of two."""
    clock = Clock()

    with pytest.raises(UnsupportedError, match="give it more time"):
        stress.gpu_figures(soak([ScriptedLoad(clock)], seconds=3.0, now=clock.now), "matmul.bf16", [None])


def test_a_gpu_s_address_is_written_as_the_kernel_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Domain, bus and device in hexadecimal; an older torch that does not tell gives None."""
    told = [SimpleNamespace(pci_domain_id=0, pci_bus_id=0x9A, pci_device_id=1), SimpleNamespace()]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: told[number])

    assert addresses() == ["0000:9a:01.0", None]


@pytest.mark.parametrize(
    ("capability", "key"), [((9, 0), "matmul.bf16"), ((7, 5), "matmul.fp16"), (None, "matmul.bf16")]
)
def test_the_hottest_product_is_one_the_gpu_has(capability: tuple[int, int] | None, key: str) -> None:
    """bf16 from Ampere on, fp16 before."""
    assert hottest(capability).key == key
    assert key in {precision.key for precision in PRECISIONS}
