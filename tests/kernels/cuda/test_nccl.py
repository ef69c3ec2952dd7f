"""All-reduce of GPUs, with gloo for NCCL: one GPU is checked and skipped, several give every figure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch

from kernels import collective
from kernels.benches import allreduce
from kernels.collective import Group
from kernels.cuda import products
from kernels.device import Device
from kernels.ranks import by_events
from kernels.spec import Case, Skip
from tests.kernels.devices import small_setting

MINE = tuple(sorted(os.sched_getaffinity(0)))
DEVICE = Device(kind="cuda", index=0, name="fake", cpus=MINE, threads=1, memory_total_bytes=1 << 24)


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The groups asked for: ranks and backend; gloo does what NCCL was asked for."""
    asked: list[tuple[int, str]] = []
    real = collective.group

    @contextmanager
    def by_gloo(ranks: int, *, largest_bytes: int, seed: int, patience_s: float, backend: str) -> Iterator[Group]:
        asked.append((ranks, backend))
        with real(ranks, largest_bytes=largest_bytes, seed=seed, patience_s=patience_s) as members:
            yield members

    monkeypatch.setattr(collective, "group", by_gloo)
    monkeypatch.setattr(products, "require_torch", lambda index: "cpu")
    return asked


def test_one_gpu_is_checked_and_skipped_with_its_reason(
    backends: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A world of one sums exactly; no figure of a link that does not exist."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    steps = list(allreduce.on_cuda(small_setting(device=DEVICE)))

    assert backends == [(1, "nccl")]
    assert [step.key for step in steps if isinstance(step, Skip)] == list(allreduce.KEYS)
    assert all(step.reason.startswith("one GPU") for step in steps if isinstance(step, Skip))


def test_two_gpus_give_every_figure(backends: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency, both bandwidths by size and the pair's, each checked after a call; the shares add up."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    setting = small_setting(device=DEVICE)
    keys: set[str] = set()
    share = 0.0
    for step in allreduce.on_cuda(setting):
        assert isinstance(step, Case)
        (variant,) = step.variants
        variant.call()
        variant.check()
        keys |= {step.key, *(reading.key for reading in step.also)}
        share += step.share
        assert (step.context["backend"], step.context["clock"]) == ("nccl", "events")

    assert backends == [(2, "nccl")]
    assert keys == set(allreduce.KEYS)
    assert share == pytest.approx(allreduce.shares(setting))


@dataclass
class Gpu:
    """A device whose queued work lasts `work_s`, and whose events run at `tampered` times the host's clock."""

    work_s: float
    tampered: float = 1.0
    host_s: float = 0.0
    queued_s: float = 0.0

    def now(self) -> float:
        return self.host_s

    def work(self) -> None:
        self.host_s += 1e-4  # to queue it
        self.queued_s += self.work_s

    def settle(self) -> None:
        self.host_s += self.queued_s

    def event(self) -> GpuEvent:
        return GpuEvent(self)


@dataclass
class GpuEvent:
    """Remembers when its stream comes to it."""

    gpu: Gpu
    at_s: float = -1.0

    def record(self) -> None:
        self.at_s = self.gpu.queued_s

    def elapsed_time(self, end: GpuEvent) -> float:
        return 1e3 * (end.at_s - self.at_s) * self.gpu.tampered


def test_a_gpu_s_time_is_that_of_its_events() -> None:
    """0.1 s of work; what the host takes to queue it is not in it."""
    gpu = Gpu(0.1)

    assert by_events(gpu.work, gpu.event, gpu.settle, gpu.now) == pytest.approx(0.1)
    assert gpu.host_s == pytest.approx(0.1001)


def test_a_gpu_s_clock_that_was_tampered_with_is_not_believed() -> None:
    """Events that run at 95 %."""
    gpu = Gpu(0.1, tampered=0.95)

    with pytest.raises(RuntimeError, match=r"events say 0\.095000 s, the host's clock 0\.100100 s"):
        by_events(gpu.work, gpu.event, gpu.settle, gpu.now)


def test_sizes_reach_a_fifth_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep: steps of four from 8 bytes, with 16 MiB, 256 MiB, 1 and 4 GiB; of 80 GiB none above 16."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    device = replace(DEVICE, memory_total_bytes=80 << 30)

    found = allreduce.sizes(small_setting(device=device, profile="deep"))

    assert (found[0], found[1], found[-1], len(found)) == (8, 32, 8 << 30, 20)
    assert {16 << 20, 256 << 20, 1 << 30, 4 << 30} < set(found)
    smaller = replace(DEVICE, memory_total_bytes=8 << 30)
    assert allreduce.sizes(small_setting(device=smaller, profile="deep"))[-1] == 1 << 30
