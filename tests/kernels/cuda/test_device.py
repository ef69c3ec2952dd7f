"""Which GPUs are found, what is told of them, and the reason where there is none."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kernels import device as devices
from kernels.cuda import device as gpus
from kernels.device import Device
from kernels.spec import UnsupportedError
from qualify import wire


@dataclass
class FakeRuntime:
    """cupy.cuda.runtime of a machine with some H100s."""

    count: int = 1
    error: str = ""
    contexts: list[str] = field(default_factory=list)  #: the calls that make one

    def getDeviceCount(self) -> int:  # noqa: N802 - as CUDA names it
        if self.error:
            raise RuntimeError(self.error)
        return self.count

    def setDevice(self, index: int) -> None:  # noqa: N802
        self.contexts.append("setDevice")

    def memGetInfo(self) -> tuple[int, int]:  # noqa: N802
        self.contexts.append("memGetInfo")
        return 70 << 30, 80 << 30

    def getDeviceProperties(self, index: int) -> dict[str, Any]:  # noqa: N802
        return {
            "name": b"NVIDIA H100 80GB HBM3",
            "totalGlobalMem": 80 << 30,
            "multiProcessorCount": 132,
            "l2CacheSize": 50 << 20,
            "major": 9,
            "minor": 0,
            "pciDomainID": 0,
            "pciBusID": 0xA + index,
            "pciDeviceID": 0,
        }


def found(runtime: FakeRuntime, pci: Path = Path("/nowhere")) -> tuple[Device, ...]:
    return gpus.find(driver=lambda: True, runtime=lambda: runtime, pci=pci)


def test_each_gpu_is_told_with_what_benches_need(tmp_path: Path) -> None:
    """Name, SMs, caches, memory, capability, address; the CPUs next to it."""
    mine = min(os.sched_getaffinity(0))
    (tmp_path / "0000:0b:00.0").mkdir()
    (tmp_path / "0000:0b:00.0/local_cpulist").write_text(f"{mine}\n")

    first, second = found(FakeRuntime(count=2), tmp_path)

    assert (first.kind, first.index, first.name) == ("cuda", 0, "NVIDIA H100 80GB HBM3")
    assert (first.sms, first.llc_bytes, first.capability) == (132, 50 << 20, (9, 0))
    assert first.memory_total_bytes == 80 << 30
    assert first.cpus == tuple(sorted(os.sched_getaffinity(0)))
    assert (second.index, second.pci_address, second.cpus) == (1, "0000:0b:00.0", (mine,))


def test_who_looks_holds_no_gpu() -> None:
    """No call that makes a context: the run's own process would be the foreign one that it reports."""
    runtime = FakeRuntime(count=2)

    found(runtime)

    assert runtime.contexts == []


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("\n", set()), ("0-1,4-5", {0, 1, 4, 5})]
)
def test_lists_of_cpus_are_read(text: str, cpus: set[int]) -> None:
    """The kernel's format: ranges with both ends."""
    assert gpus.parse_cpus(text) == cpus


def test_without_a_driver_the_reason_names_it() -> None:
    """cupy is not even looked for."""
    with pytest.raises(UnsupportedError, match=r"libcuda\.so\.1 of NVIDIA's driver was not found; use --device cpu"):
        gpus.find(driver=lambda: False, runtime=lambda: pytest.fail("CUDA was asked"))


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        (FakeRuntime(error="cudaErrorInsufficientDriver"), "CUDA says cudaErrorInsufficientDriver"),
        (FakeRuntime(count=0), "CUDA shows none"),
    ],
)
def test_a_driver_that_shows_nothing_is_a_reason(runtime: FakeRuntime, reason: str) -> None:
    """What CUDA says, or that it shows none."""
    with pytest.raises(UnsupportedError, match=reason):
        found(runtime)


@pytest.mark.parametrize(("wanted", "index"), [("cuda", 0), ("cuda:1", 1), ("auto", 0)])
def test_a_gpu_is_picked_by_its_number(wanted: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first unless one is named; auto prefers a GPU."""
    shown = found(FakeRuntime(count=2))
    monkeypatch.setattr(gpus, "find", lambda: shown)

    assert devices.pick(wanted) == (shown[index],)


def test_what_cannot_be_picked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is too high; words that name nothing."""
    shown = found(FakeRuntime(count=2))
    monkeypatch.setattr(gpus, "find", lambda: shown)

    with pytest.raises(UnsupportedError, match="no GPU 2: CUDA shows 2"):
        devices.pick("cuda:2")
    for wanted in ("tpu", "cpu:1", "cuda:x", "cuda:-1"):
        with pytest.raises(ValueError, match="device must be"):
            devices.pick(wanted)


def test_auto_is_the_cpu_where_no_gpu_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """And cuda is an error there."""

    def none() -> tuple[Device, ...]:
        raise UnsupportedError("no GPU can be used")

    monkeypatch.setattr(gpus, "find", none)

    assert devices.pick("auto")[0].kind == "cpu"
    with pytest.raises(UnsupportedError, match="no GPU"):
        devices.pick("cuda")


def test_a_gpu_crosses_the_process_border_whole() -> None:
    """What the child is told is what the parent found."""
    (first,) = found(FakeRuntime())
    task = wire.Task(bench="memory", device=first, profile="quick", seconds=5.0, seed=1, only=(), workdir="/tmp")

    assert wire.decode_task(wire.encode(task)) == task
