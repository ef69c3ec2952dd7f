"""numpy's BLAS threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels.cpu import blas


def test_the_number_of_threads_is_set_and_read_back() -> None:
    """numpy's wheels bring OpenBLAS; its default, one thread per CPU, is put back."""
    first = blas.set_numpy_threads(1)
    if first is None:
        pytest.skip(f"numpy {np.__version__} here uses another BLAS than OpenBLAS")

    try:
        assert first == 1
        assert blas.set_numpy_threads(2) == 2
    finally:
        blas.set_numpy_threads(len(os.sched_getaffinity(0)))


def test_no_openblas_is_unknown(tmp_path: Path) -> None:
    """Other libraries, a file that is gone, no maps at all."""
    (tmp_path / "maps").write_text("7f00-7f01 r-xp 0 08:01 5 /usr/lib/libmkl_rt.so\n7f02-7f03 rw-p 0 0 0\n")
    (tmp_path / "gone").write_text("7f00-7f01 r-xp 0 08:01 5 /nowhere/libopenblas.so.0 (deleted)\n")

    for name in ("maps", "gone", "absent"):
        assert blas._openblas(tmp_path / name) is None


def test_waits_are_shortened_before_numpy_loads_and_told_after() -> None:
    """A fresh process: the variable is set and the wait is short; with numpy there already, neither."""
    code = (
        "from kernels.cpu import blas\n"
        "fresh = {}\n"
        "early = blas.shorten_spins(fresh)\n"
        "import numpy\n"
        "late = {}\n"
        "print(early, fresh, blas.shorten_spins(late), late)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == f"{blas.SPINS_SHORT_S} {{'OPENBLAS_THREAD_TIMEOUT': '14'}} {blas.SPINS_S} {{}}"
