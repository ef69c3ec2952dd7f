"""The GPU under test, and a table of every figure at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernels.cuda import device as gpus
from kernels.cuda.library import CupyGpu
from kernels.cuda.products import require_torch
from kernels.device import Device
from kernels.spec import UnsupportedError
from kernels.timing import Figure
from tests.gpu.bench.ground import Ground, event_clock
from tests.gpu.bench.parts import release

HERE = Path(__file__).resolve().parent
FIGURES = pytest.StashKey[list[Figure]]()


def pytest_configure(config: pytest.Config) -> None:
    """A file that needs a package which is not installed costs its own tests alone: GPUs are lent by the hour."""
    config.option.continue_on_collection_errors = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are shown here and fail nothing: they are other people's libraries' on a machine that is not ours."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def device() -> Device:
    """The first GPU, or every test is skipped with the reason."""
    try:
        return gpus.find()[0]
    except UnsupportedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def gpu(device: Device) -> CupyGpu:
    """It, opened."""
    return CupyGpu(device.index)


@pytest.fixture(scope="session")
def ground(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Where cases are opened and programs are built."""
    folder = tmp_path_factory.mktemp("programs")
    return Ground(device=device, torch_device=require_torch(device.index), clock=event_clock, folder=folder)


@pytest.fixture(autouse=True)
def _memory_given_back() -> Iterator[None]:
    """What torch's and cupy's pools keep after a test is missed by the other library, and by other processes."""
    yield
    if {"torch", "cupy"} <= sys.modules.keys():
        release()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[Figure], None]:
    """Keeps a figure for the table."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line per figure."""
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        middle = figure.summary.value
        variant = str(figure.context.get("variant", ""))
        at = "" if figure.at is None else f"{figure.at:g}"
        terminalreporter.write_line(
            f"{figure.key:24} {at:>12} {middle:14.6g} {figure.unit:7} n={len(figure.samples):<5} "
            f"{'converged' if figure.converged else 'not converged':14} {variant}"
        )
