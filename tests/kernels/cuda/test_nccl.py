"""All-reduce of GPUs, with gloo for NCCL: one GPU is checked and skipped, several give every figure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from kernels import collective
from kernels.benches import allreduce
from kernels.collective import Group
from kernels.cuda import products
from kernels.device import Device
from kernels.spec import Case, Skip
from tests.kernels.devices import small_setting

MINE = tuple(sorted(os.sched_getaffinity(0)))
DEVICE = Device(kind="cuda", index=0, name="fake", cpus=MINE, threads=1, memory_bytes=1 << 24)


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
        assert step.context["backend"] == "nccl"

    assert backends == [(2, "nccl")]
    assert keys == set(allreduce.KEYS)
    assert share == pytest.approx(allreduce.shares(setting))
