"""Versions without imports."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from qualify import software
from qualify.files import Files
from tests.machines import lay, server


def test_what_is_installed_has_its_version_and_the_rest_is_none() -> None:
    """A distribution nobody published is not version 0."""
    found = software.versions()

    assert found["numpy"] == version("numpy")
    assert software.installed("gridmark-no-such-distribution") is None
    assert set(software.DISTRIBUTIONS) < set(found)


def test_nothing_heavy_is_imported_for_a_version() -> None:
    """torch takes seconds to load, and a probe has one."""
    script = (
        "import sys; from qualify import probe, software; software.versions();"
        "print(sorted({'torch', 'numba', 'numpy', 'iperf3', 'pynvml', 'matplotlib'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_library_that_is_not_there_has_no_version() -> None:
    """Nor has one that is there and is something else."""
    assert software.libiperf_version("libgridmark-none.so.0") is None
    assert software.libiperf_version("libc.so.6") is None


@pytest.mark.parametrize("path", ["etc/os-release", "usr/lib/os-release"])
def test_the_system_s_name_is_found_in_either_place(tmp_path: Path, path: str) -> None:
    """os-release(5) names two."""
    lay(tmp_path, {path: "PRETTY_NAME='Rocky Linux 9.4'\nID=rocky\n"})

    assert software.system_name(Files(tmp_path)) == "Rocky Linux 9.4"


def test_a_system_without_a_name_has_none(tmp_path: Path) -> None:
    """A bare container."""
    assert software.system_name(Files(tmp_path)) is None
    assert software.system_name(Files(server(tmp_path))) == "Debian GNU/Linux 12 (bookworm)"
