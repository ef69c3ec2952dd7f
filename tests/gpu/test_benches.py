"""Every benchmark on a real GPU: each key measured or skipped with a reason, its figure one that a GPU can have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import kernels.benches
from kernels.device import Device, timer_for
from kernels.spec import Bench, Case, Observed, Setting, Skip, UnsupportedError
from kernels.timing import EFFORT, Figure, measure
from qualify.child import _observed
from qualify.registry import load

BENCHES: dict[str, Bench] = load(kernels.benches, "BENCH")
ON_CUDA = [bench for bench in BENCHES.values() if "cuda" in bench.open]
STEP_S = 2.0
STRESS_S = 12.0
#: no GPU is outside of these by a factor of ten
BOUNDS = {"FLOP/s": (1e10, 1e17), "OP/s": (1e10, 1e17), "B/s": (1e3, 1e14), "s": (1e-10, 1e-2), "ratio": (0.1, 1.5)}


@pytest.mark.parametrize("bench", ON_CUDA, ids=lambda bench: str(bench.name))
def test_every_key_is_measured_or_skipped(bench: Bench, device: Device, note: Callable[[Figure], None]) -> None:
    """Results are checked by the cases themselves."""
    setting = Setting(device=device, profile="standard", budget_s=20.0, seed=1)
    missing = set(bench.keys["cuda"])
    timer = timer_for(device)
    for step in bench.open["cuda"](setting):
        figures: tuple[Figure, ...] = ()
        if isinstance(step, Skip):
            assert step.reason
            missing.discard(step.key)
        elif isinstance(step, Case):
            figures = measure(step, timer, EFFORT["cuda"], STEP_S)
        elif isinstance(step, Observed):
            figures = tuple(_observed(found) for found in step.observe(STRESS_S))
        for figure in figures:
            note(figure)
            missing.discard(figure.key)
            low, high = BOUNDS[figure.unit]
            assert low < figure.summary.value < high, figure.key

    assert missing <= {"allreduce.pair"}


def test_the_machine_s_own_speed_is_found_again(device: Device) -> None:
    """Two runs of the triad agree within 2 %."""
    timer = timer_for(device)
    found = []
    for _ in range(2):
        setting = Setting(device=device, profile="quick", budget_s=5.0, seed=1, only=frozenset({"memory.triad"}))
        (step,) = BENCHES["memory"].open["cuda"](setting)
        assert isinstance(step, Case)
        (figure,) = measure(step, timer, EFFORT["cuda"], STEP_S)
        found.append(figure.summary.value)

    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_fp8_says_why_it_is_not_there(device: Device) -> None:
    """By capability, on GPUs before Ada."""
    if device.capability is not None and device.capability >= (8, 9):
        pytest.skip("this GPU has fp8")
    setting = Setting(device=device, profile="quick", budget_s=5.0, seed=1, only=frozenset({"matmul.fp8"}))
    try:
        (step,) = BENCHES["matmul"].open["cuda"](setting)
    except UnsupportedError as error:
        pytest.skip(str(error))

    assert isinstance(step, Skip)
    assert "compute capability" in step.reason
