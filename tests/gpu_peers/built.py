"""The peers' programs compiled by g++ over a CUDA runtime of one CPU thread, and a ground that uses them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from kernels.device import Device
from tests.gpu.bench.ground import PEERS, Ground

HERE = Path(__file__).parent
NAMES = ("babel", "chase", "copies")
DEVICE = Device(
    kind="cuda",
    index=0,
    name="NVIDIA Emulated 1",
    cpus=tuple(sorted(os.sched_getaffinity(0)))[:1],
    threads=1,
    sms=2,
    capability=(9, 0),
    memory_bytes=1 << 26,
)


def command(source: Path, program: Path) -> list[str]:
    """What builds a program for this CPU."""
    found = shutil.which("g++") or shutil.which("c++")
    if not found:
        pytest.skip("no C++ compiler (g++) to run the programs on the CPU")
    options = ["-x", "c++", "-std=c++17", "-O0", "-w", "-I", str(PEERS), "-include", str(HERE / "on_cpu.h")]
    return [found, *options, "-o", str(program), str(source)]


@cache
def program(name: str, edit: Callable[[str], str] | None = None) -> Path:
    """A peer's program; `edit` plants a fault in its text first."""
    folder = Path(mkdtemp(prefix="gpu-peers-"))
    text = (PEERS / f"{name}.cu").read_text()
    source = folder / f"{name}.cu"
    source.write_text(edit(text) if edit else text)
    assert edit is None or source.read_text() != text, "the fault was not planted"
    subprocess.run(command(source, folder / name), check=True, capture_output=True)
    return folder / name


def by_host(call: Callable[[], object], calls: int) -> float:
    """A clock for torch's CPU."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def link(device: Device, source: Path, target: Path) -> list[str]:
    """Instead of a compilation: the program that is built already."""
    return ["ln", "-s", str(program(source.stem)), str(target)]


def ground(folder: Path) -> Ground:
    """A small one, on which everything runs on the CPU."""
    return Ground(
        device=DEVICE,
        torch_device="cpu",
        clock=by_host,
        folder=folder,
        command=link,
        side=64,
        copied_bytes=1 << 16,
        linked_bytes=1 << 16,
        seconds=0.02,
    )
