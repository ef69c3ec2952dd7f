"""Driver and CUDA: what runs, what runs with less, what does not run, by NVIDIA's tables."""

from __future__ import annotations

import dataclasses

import pytest

from qualify import gates
from qualify.records import Gpu
from qualify.rules_gpu_driver import DRIVER_FOR, DRIVER_WITH
from tests.qualify import traces
from tests.qualify.traces import evidence

CODES = ("GPU_DRIVER_OLD", "GPU_DRIVER_MINOR", "GPU_CUDA_PAIR")


def found(torch: str, driver: str | None, cuda: str | None) -> list[str]:
    node = traces.node(
        device_kind="cuda", gpus=(Gpu(index=0),), versions={"torch": torch, "driver": driver, "cuda": cuda}
    )
    judged = gates.judge(dataclasses.replace(evidence(node=node), measurements={}, telemetry=()))
    return [finding.code for finding in judged if finding.code in CODES]


@pytest.mark.parametrize(
    ("torch", "driver", "cuda", "codes"),
    [
        ("2.8.0+cu128", "570.26", "12.8", []),
        ("2.8.0+cu128", "570.25", "12.8", ["GPU_DRIVER_MINOR"]),
        ("2.8.0+cu128", "525.60.13", "12.0", ["GPU_DRIVER_MINOR"]),
        ("2.8.0+cu128", "525.53", "12.0", ["GPU_DRIVER_OLD"]),
        ("2.8.0+cu128", "520.61.05", "11.8", ["GPU_CUDA_PAIR", "GPU_DRIVER_OLD"]),
        ("2.8.0+cu128", "580.95.05", "13.0", []),
        ("2.6.0+cu126", "560.28.03", "12.6", []),
        ("2.6.0+cu126", "550.163.01", "12.4", ["GPU_DRIVER_MINOR"]),
        ("2.13.0+cu130", "580.65.06", "13.0", []),
        ("2.13.0+cu130", "575.57.08", "12.9", ["GPU_CUDA_PAIR", "GPU_DRIVER_OLD"]),
        ("2.14.0+cu131", "580.95.05", "13.0", ["GPU_DRIVER_MINOR"]),
        ("2.0.1+cu118", "450.80.02", "11.0", []),
        ("2.8.0+cpu", "470.42.01", "11.4", []),
        ("2.8.0+cu128", None, None, []),
    ],
)
def test_a_driver_runs_its_major_version_of_cuda(
    torch: str, driver: str | None, cuda: str | None, codes: list[str]
) -> None:
    """The oldest of a major version runs all of its programs, some with less; an unknown driver is not judged."""
    assert found(torch, driver, cuda) == codes


def test_the_tables_agree() -> None:
    """No driver that came with a CUDA version is too old for it, and a newer CUDA never came with an older driver."""
    assert all(driver >= DRIVER_FOR[cuda[0]] for cuda, driver in DRIVER_WITH.items())
    assert list(DRIVER_WITH) == sorted(DRIVER_WITH)
    assert list(DRIVER_WITH.values()) == sorted(DRIVER_WITH.values())
