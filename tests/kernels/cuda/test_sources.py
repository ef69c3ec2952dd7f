"""The CUDA sources compile for every architecture we name, and use nothing the emulation could not tell apart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import kernels.cuda
from kernels.cuda.library import source_of
from tests.kernels.cuda import nvrtc
from tests.kernels.cuda.emulated import SOURCES, kernels_in

#: Volta, Turing, A100, the RTX 30s, the RTX 40s and L40, H100, B200, the RTX 50s
ARCHITECTURES = (70, 75, 80, 86, 89, 90, 100, 120)


def cuda_compiler() -> str:
    """CUDA's compiler, or the test is skipped."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if not found:
        pytest.skip("no CUDA compiler: nvcc is neither on PATH nor in /usr/local/cuda/bin")
    return found


def test_every_source_is_known_to_the_tests() -> None:
    """A new .cu file is compiled and emulated too."""
    folder = Path(kernels.cuda.__path__[0])

    assert sorted(path.stem for path in folder.glob("*.cu")) == list(SOURCES)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sources_compile_without_a_warning(architecture: int, tmp_path: Path) -> None:
    """By nvcc, to machine code of that architecture."""
    compiler = cuda_compiler()
    offered = subprocess.run([compiler, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    if f"sm_{architecture}" not in offered:
        pytest.skip(f"this nvcc has no sm_{architecture}, only {' '.join(offered)}")
    everything = tmp_path / "all.cu"
    # one compilation of all four costs a quarter: each in a name space of its own, as each is a module of its own
    everything.write_text(
        "".join(f"namespace in_{name} {{\n{source_of(name)}\n#undef EACH\n#undef FIRST\n}}\n" for name in SOURCES)
    )

    done = subprocess.run(
        [compiler, f"-arch=sm_{architecture}", "-cubin", "-Werror", "all-warnings", "-o", tmp_path / "all", everything],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sources_compile_as_cupy_compiles_them(architecture: int) -> None:
    """By NVRTC, each by itself and without a header, to machine code."""
    offered = nvrtc.offered()
    if architecture not in offered:
        pytest.skip(f"this NVRTC has no sm_{architecture}, only {offered}")
    for name in SOURCES:
        size_bytes, log = nvrtc.compiled(source_of(name), architecture)
        assert size_bytes > 0, log
        assert not log.strip("\0\n ")


def test_a_source_that_is_wrong_does_not_compile() -> None:
    """The compiler's word is looked at: a kernel that names nothing gives no code."""
    size_bytes, log = nvrtc.compiled('extern "C" __global__ void bad() { nothing(); }', 80)

    assert size_bytes == 0
    assert "nothing" in log


@pytest.mark.parametrize("name", SOURCES)
def test_no_kernel_has_a_barrier(name: str) -> None:
    """Threads are emulated one after the other: with a barrier between them the result would mean nothing."""
    text = source_of(name)

    assert not [word for word in ("__syncthreads", "__syncwarp", "__shfl", "__shared__", "cooperative") if word in text]
    assert list(kernels_in(text))
