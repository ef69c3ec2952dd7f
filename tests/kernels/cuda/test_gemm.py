"""Our own CUDA product without a GPU: right in numba's simulator, compiled to code that keeps its sums in registers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kernels.cuda import gemm, products
from kernels.spec import UnsupportedError

SIMULATED = Path(__file__).with_name("simulated.py")
ARCHITECTURES = ((7, 5), (8, 0), (9, 0))


def test_it_is_numpy_s_product_in_the_simulator() -> None:
    """In a pytest call of its own: numba chooses between device and simulator when it is loaded."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SIMULATED)]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^6 passed", done.stdout, re.MULTILINE), done.stdout


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=str)
def ptx(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernel as numba compiles it for a compute capability, or the test is skipped."""
    from numba import cuda, types
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv.error import NvvmSupportError

    matrix = types.Array(types.float32, 2, "C")
    for function in (gemm._step_row, gemm._store_row):
        function.overloads.clear()
    with pytest.MonkeyPatch.context() as patch:
        # functions called by the kernel are compiled for the device that is there
        patch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=request.param))
        try:
            text, _ = cuda.compile_ptx(gemm.kernel(gemm.SIDE), (matrix, matrix, matrix), cc=request.param)
        except NvvmSupportError as error:
            pytest.skip(f"no compiler for numba's CUDA target (libNVVM): {error}")
        yield str(text)


def test_a_step_is_64_multiply_adds_and_16_loads(ptx: str) -> None:
    """Fused, in single precision, from shared memory; nothing is kept in memory of a thread's own."""
    assert len(re.findall(r"fma\.rn\.f32", ptx)) == gemm.EACH**2
    assert len(re.findall(r"ld\.shared\.f32", ptx)) == 2 * gemm.EACH
    assert not re.findall(r"(?:ld|st)\.local|\.f64", ptx)


def test_two_blocks_share_a_multiprocessor(ptx: str, tmp_path: Path) -> None:
    """With at most 128 registers a thread, none of which is spilled to memory."""
    assembler = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
    if not assembler:
        pytest.skip("no CUDA assembler: ptxas is neither on PATH nor in /usr/local/cuda/bin")
    major, minor = re.findall(r"\.target sm_(\d+)(\d)", ptx)[0]
    (tmp_path / "gemm.ptx").write_text(ptx)

    done = subprocess.run(
        [assembler, "-v", f"-arch=sm_{major}{minor}", f"-maxrregcount={gemm.MOST_REGISTERS}", "gemm.ptx", "-o", "gemm"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr
    assert int(re.findall(r"Used (\d+) registers", done.stderr)[0]) <= gemm.MOST_REGISTERS
    assert gemm.MOST_REGISTERS * gemm.SIDE**2 * 2 <= 65536


def test_a_machine_without_a_driver_says_so() -> None:
    """A reason for the reader, not a traceback."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    left, right = torch.zeros(4, 4), torch.zeros(4, 4)

    with pytest.raises(UnsupportedError, match="our own kernel needs numba with CUDA's compiler"):
        products.own_product(left, right, torch.zeros(4, 4))


@pytest.mark.parametrize(("shape", "blocks"), [((128, 128), (1, 1)), ((129, 128), (1, 2)), ((1, 257), (3, 1))])
def test_blocks_cover_the_result(shape: tuple[int, int], blocks: tuple[int, int]) -> None:
    """Tiles of 128, columns first."""
    assert gemm.grid(shape, gemm.SIDE) == blocks
