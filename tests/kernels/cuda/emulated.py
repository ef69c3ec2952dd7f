"""A GPU whose kernels are ours, compiled as C++: memory is numpy's, a launch loops over grid and block."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.cuda.library import source_of

HERE = Path(__file__).parent
SOURCES = ("chain", "chase", "launch", "pattern", "stream")
SIGNATURE = re.compile(r"__global__ void (\w+)\(([^)]*)\)")
#: a walk is declared by a macro: its name is the macro's first argument
WALK = re.compile(r"^WALK\((\w+),", re.MULTILINE)


def kernels_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and parameters of each kernel of a source."""
    walk: list[str] = []
    for name, listed in SIGNATURE.findall(text):
        parameters = [" ".join(part.split()) for part in listed.split(",") if part.strip()]
        if name == "name":
            walk = parameters
        else:
            yield name, parameters
    for name in WALK.findall(text):
        yield name, walk


def _driver(name: str, parameters: list[str]) -> str:
    """C++ that runs a kernel's whole grid."""
    names = [parameter.replace("*", "* ").split()[-1] for parameter in parameters]
    listed = ", ".join(["unsigned grid", "unsigned block", *parameters])
    return (
        f'extern "C" void run_{name}({listed}) {{\n'
        "  gridDim.x = grid; blockDim.x = block;\n"
        "  for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)\n"
        f"    for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) {name}({', '.join(names)});\n}}\n"
    )


def compiler() -> str:
    """A C++ compiler, or the test is skipped."""
    found = shutil.which("g++") or shutil.which("c++")
    if not found:
        pytest.skip("no C++ compiler (g++) to run the kernels on the CPU")
    return found


@cache
def built(source: str, edit: Callable[[str], str] | None = None) -> ctypes.CDLL:
    """The library of a source's kernels; `edit` plants a fault in its text first."""
    text = source_of(source)
    whole = edit(text) if edit else text
    assert edit is None or whole != text, "the fault was not planted"
    drivers = "".join(_driver(name, parameters) for name, parameters in kernels_in(text))
    with tempfile.TemporaryDirectory() as folder:
        code, library = Path(folder) / f"{source}.cpp", Path(folder) / f"{source}.so"
        code.write_text(f'#include "{HERE / "shim.h"}"\n{whole}\n{drivers}')
        options = ["-O1", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off", "-w"]
        subprocess.run([compiler(), *options, "-o", str(library), str(code)], check=True, capture_output=True)
        return ctypes.CDLL(str(library))


CTYPES: dict[str, Any] = {
    "uint64": ctypes.c_uint64,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "int32": ctypes.c_int32,
    "float64": ctypes.c_double,
}


def argument(value: Any) -> Any:
    """As ctypes takes it; a scalar whose type the kernel does not expect is refused, as it would be misread."""
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return CTYPES[value.dtype.name](value.item())


def aligned(count: int, dtype: str) -> np.ndarray[Any, Any]:
    """An array that begins at a multiple of 256 bytes, as a GPU's allocations do."""
    size = np.dtype(dtype).itemsize
    whole = np.zeros(count * size + 256, dtype=np.uint8)
    first = -whole.ctypes.data % 256
    return whole[first : first + count * size].view(dtype)


@dataclass
class EmulatedGpu:
    """Implements kernels.cuda.library.Gpu."""

    sms: int = 2
    l2_bytes: int = 1 << 16
    free: int = 1 << 26
    faults: dict[str, Callable[[str], str]] = field(default_factory=dict)  #: source -> what is changed in it
    launched: list[tuple[str, int, int]] = field(default_factory=list)

    def free_bytes(self) -> int:
        return self.free

    def empty(self, count: int, dtype: str) -> Any:
        return aligned(count, dtype)

    def upload(self, values: Any) -> Any:
        copy = aligned(values.size, values.dtype.name)
        copy[:] = values
        return copy

    def download(self, array: Any) -> Any:
        return array.copy()

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def launcher(self, source: str, kernel: str, grid: int, block: int, *arguments: Any) -> Callable[[], None]:
        function = getattr(built(source, self.faults.get(source)), f"run_{kernel}")
        given = [argument(value) for value in arguments]

        def call() -> None:
            self.launched.append((kernel, grid, block))
            function(ctypes.c_uint(grid), ctypes.c_uint(block), *given)

        call.arguments = arguments  # type: ignore[attr-defined]  # kept alive
        return call

    def graph(self, call: Callable[[], object], nodes: int) -> Callable[[], object]:
        def replay() -> None:
            for _ in range(nodes):
                call()

        return replay

    def synchronize(self) -> None:
        """All is done when a launch returns."""

    def trim(self) -> None:
        """numpy gives back what nobody holds."""
