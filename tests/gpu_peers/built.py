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


def all_in_one(edit: Callable[[str, str], str] | None = None) -> str:
    """The programs as one source, each in a name space of its own and run by the name it is called with.

    One compilation costs what each of them would. `edit`: gets a program's name and text, plants a fault.
    """
    parts = ['#include "peer.h"\n#include <string>']
    for name in NAMES:
        text = (PEERS / f"{name}.cu").read_text()
        parts.append(
            f"namespace in_{name} {{\n#define main {name}\n{edit(name, text) if edit else text}\n#undef main\n}}"
        )
    calls = "\n".join(f'    if (name == "{name}") return in_{name}::{name}(count, words);' for name in NAMES)
    parts.append(
        "int main(int count, char** words) {\n    std::string name(words[0]);\n"
        f"    name = name.substr(name.rfind('/') + 1);\n{calls}\n    return 4;\n}}"
    )
    return "\n".join(parts) + "\n"


@cache
def folder(edit: Callable[[str, str], str] | None = None) -> Path:
    """Where the programs are, compiled by g++ for one thread of a CPU."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler (g++) to run the programs on the CPU")
    where = Path(mkdtemp(prefix="gpu-peers-"))
    (where / "all.cpp").write_text(all_in_one(edit))
    options = ["-std=c++17", "-O0", "-w", "-I", str(PEERS), "-include", str(HERE / "on_cpu.h")]
    done = [compiler, *options, "-o", str(where / NAMES[0]), str(where / "all.cpp")]
    subprocess.run(done, check=True, capture_output=True)
    for name in NAMES[1:]:
        (where / name).hardlink_to(where / NAMES[0])
    return where


def program(name: str, edit: Callable[[str, str], str] | None = None) -> Path:
    """One of them."""
    return folder(edit) / name


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
        side=32,
        copied_bytes=1 << 16,
        linked_bytes=1 << 16,
        seconds=0.005,
        batch_s=1e-3,
    )
