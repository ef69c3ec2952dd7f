"""What is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from qualify import installation
from qualify.installation import Requirement
from tests.machines import lay

PROJECT = """\
[project]
name = "gridmark"
[project.optional-dependencies]
node = ["numpy>=1.26", "torch>=2.8", "iperf3"]
ray = ["ray[default]>=2.40"]
"""
NODE = (Requirement("numpy", "1.26"), Requirement("torch", "2.8"))


def test_the_extras_are_read_from_the_checkout(tmp_path: Path) -> None:
    """Names and least versions; an extra of the extra is no part of the name."""
    lay(tmp_path, {"pyproject.toml": PROJECT})

    assert installation.requirements(tmp_path) == {
        "node": (Requirement("numpy", "1.26"), Requirement("torch", "2.8"), Requirement("iperf3", None)),
        "ray": (Requirement("ray", "2.40"),),
    }


def test_the_extras_are_read_from_the_metadata_of_an_installed_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requirements without an extra are the renter's and not asked for here."""
    lines = ["click>=8.1", "numpy>=1.26; extra == 'node'", 'torch>=2.8; extra == "node"', "ray>=2.40; extra == 'ray'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)

    assert installation.requirements(tmp_path) == {"node": NODE, "ray": (Requirement("ray", "2.40"),)}


def test_the_extras_of_this_project_are_all_known() -> None:
    """An extra that is added to pyproject.toml needs a word here about what it is for."""
    assert set(installation.requirements()) - {"dev"} == set(installation.EXTRAS)
    assert Requirement("torch", "2.8") in installation.requirements()["node"]


@pytest.mark.parametrize(
    ("versions", "ok", "found"),
    [
        ({"numpy": "2.4.6", "torch": "2.13.0+cpu"}, True, "numpy 2.4.6, torch 2.13.0+cpu"),
        ({"numpy": "2.4.6"}, False, "torch is not installed"),
        ({"numpy": "1.25.9", "torch": "2.8.0"}, False, "numpy is 1.25.9, 1.26 is needed"),
        ({}, False, "numpy is not installed, torch is not installed"),
    ],
)
def test_what_measuring_needs_must_be_there_and_recent(versions: dict[str, str], ok: bool, found: str) -> None:
    """The remedy is the very command."""

    def installed(name: str) -> str | None:
        return versions.get(name)

    check = installation.check_extra("node", NODE, command="pip install X", installed=installed)

    assert (check.ok, check.found) == (ok, found)
    assert check.remedy == ("" if ok else "For measuring this machine: pip install X")


def test_what_this_node_may_never_need_is_only_mentioned() -> None:
    """No server on a supplier's machine is not a fault."""
    check = installation.check_extra("server", NODE, command="pip install X", installed=lambda name: None)

    assert check.ok is None


def test_without_metadata_an_extra_is_unknown() -> None:
    """Not complete, and not missing."""
    assert installation.check_extra("node", (), command="pip install X", installed=lambda name: None).ok is None


def test_the_command_installs_where_gridmark_came_from(tmp_path: Path) -> None:
    """From the checkout into the interpreter that runs; by name where there is no checkout."""
    by_name = installation.pip_command("node", executable="/v/bin/python", checkout=tmp_path)
    lay(tmp_path, {"pyproject.toml": PROJECT})

    from_here = installation.pip_command("node", executable="/v/bin/python", checkout=tmp_path)

    assert by_name == "/v/bin/python -m pip install 'gridmark[node]'"
    assert from_here == f"/v/bin/python -m pip install -e '{tmp_path}[node]'"


@pytest.mark.parametrize(
    ("version", "minimum", "enough"),
    [
        ("2.8", "2.8", True),
        ("2.13.0+cpu", "2.8", True),
        ("2.7.1", "2.8", False),
        ("3", "3.0", True),
        ("3.0", "3", True),
        ("1.26.4", "1.26", True),
        ("13.615.71", "12.560", True),
        ("unknown", "1", False),
    ],
)
def test_versions_compare_by_their_numbers(version: str, minimum: str, enough: bool) -> None:
    """2.13 is newer than 2.8, which texts would deny."""
    assert installation.at_least(version, minimum) is enough


@pytest.mark.parametrize(("version", "ok"), [((3, 11, 0), True), ((3, 14, 1), True), ((3, 10, 12), False)])
def test_an_old_interpreter_is_refused(version: tuple[int, ...], ok: bool) -> None:
    """3.11 is the least."""
    assert installation.check_python(version, "/usr/bin/python3").ok is ok


def test_an_environment_shared_with_others_is_a_risk_and_no_fault() -> None:
    """It works until somebody installs another kernels."""
    assert installation.check_environment(own=True, prefix="/v").ok is True
    shared = installation.check_environment(own=False, prefix="/usr")
    assert shared.ok is None
    assert "pipx" in shared.remedy


def test_without_libiperf_the_other_tester_is_named() -> None:
    """Figures are still measured, so nothing stands in the way."""
    assert installation.check_libiperf("3.12").ok is True
    assert installation.check_libiperf(None).ok is None
    assert "built-in" in installation.check_libiperf(None).found


def test_the_first_folder_that_can_be_written_keeps_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there yet counts by the one above it; a read-only one does not count."""
    really = tempfile.TemporaryFile

    def writes(*, dir: Path) -> object:  # noqa: A002
        if "read-only" in str(dir):
            raise OSError(30, "Read-only file system")
        return really(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", writes)
    (tmp_path / "read-only").mkdir()
    read_only, absent = tmp_path / "read-only/__pycache__", tmp_path / "cache/numba"

    assert installation.check_kernel_cache((read_only, absent)).found == f"compiled kernels are kept in {absent}"
    assert installation.check_kernel_cache((read_only,)).ok is False


def test_a_chosen_cache_folder_is_the_only_one() -> None:
    """As numba has it."""
    chosen = installation._cache_folders({"NUMBA_CACHE_DIR": "/fast", "HOME": "/home/a"})
    usual = installation._cache_folders({"HOME": "/home/a"})

    assert chosen == (Path("/fast"),)
    assert usual[1] == Path("/home/a/.cache/numba")
