"""Whose packages these are, and that all checks can be had on any machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qualify import doctor
from qualify.doctor import PACKAGES, ShadowedError
from tests.machines import lay

OURS = '"""A package."""\n\n#: a mark\nOWNER = "gridmark"\n'
CHECKOUT = Path(doctor.__file__).parent.parent


def packages(root: Path, **sources: str) -> list[str]:
    """A folder with the five packages; `sources` replaces the __init__ of some."""
    lay(root, {f"{name}/__init__.py": sources.get(name, OURS) for name in PACKAGES})
    return [str(root)]


def test_our_own_packages_raise_nothing() -> None:
    """The packages under test are ours."""
    assert doctor.foreign_packages() == {}
    doctor.ensure_owned()
    assert doctor.check_packages().ok is True


@pytest.mark.parametrize(
    "source",
    [
        "",
        "OWNER = 'huggingface'\n",
        "import torch\nVERSION = '0.4'\n",
        "text = \"OWNER = 'gridmark'\"\n",
        "OWNER = x\n",
    ],
    ids=["empty", "another owner", "no mark", "a mark in a text", "no text"],
)
def test_a_stranger_is_found_without_being_run(tmp_path: Path, source: str) -> None:
    """A package called kernels that would delete files must be read, not imported."""
    trap = "raise SystemExit('imported')\n" + source

    found = doctor.foreign_packages(packages(tmp_path, kernels=trap))

    assert found == {"kernels": str(tmp_path / "kernels/__init__.py")}


def test_a_missing_package_is_found_too(tmp_path: Path) -> None:
    """A folder without code is nobody's package."""
    lay(tmp_path, {"scheduler/notes.txt": "", **{f"{name}/__init__.py": OURS for name in PACKAGES[:2]}})

    assert doctor.foreign_packages([str(tmp_path)]) == {"scheduler": "", "server": "", "reports": ""}


def test_the_clash_is_explained_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which file, and the environment of its own; the distribution that brought it is named where it is known."""
    path = tmp_path / "kernels/__init__.py"
    monkeypatch.setattr(doctor, "foreign_packages", lambda: {"kernels": str(path)})
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"kernels": ["kernels", "gridmark"]})

    with pytest.raises(ShadowedError) as raised:
        doctor.ensure_owned()

    assert f"kernels from {path} (distribution kernels)" in str(raised.value)
    assert "uv tool install gridmark" in str(raised.value)
    assert "pipx install gridmark" in str(raised.value)


def test_packages_that_are_not_there_are_called_missing_and_not_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is no clash."""
    monkeypatch.setattr(doctor, "foreign_packages", lambda: {"server": "", "reports": ""})

    with pytest.raises(ShadowedError, match="server, reports cannot be found"):
        doctor.ensure_owned()


def test_with_a_stranger_among_us_nothing_else_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other checks would import what is not ours."""
    monkeypatch.setattr(doctor, "foreign_packages", lambda: {"kernels": "/elsewhere/kernels/__init__.py"})

    (only,) = doctor.checks(environment={})

    assert (only.name, only.ok) == ("packages", False)


def test_the_question_at_every_start_loads_nothing_of_ours(tmp_path: Path) -> None:
    """A stranger's kernels on the path must not be imported before it is reported."""
    shadow = tmp_path / "kernels/__init__.py"
    lay(tmp_path, {"kernels/__init__.py": "raise SystemExit('imported')\n"})
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(CHECKOUT)!r}]\n"
        "from qualify import doctor\n"
        "try:\n    doctor.ensure_owned()\n"
        "except doctor.ShadowedError as error:\n    print(error)\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in doctor.PACKAGES))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)

    explained, loaded = done.stdout.splitlines()
    assert f"kernels from {shadow}" in explained
    assert loaded == "['qualify', 'qualify.doctor']"


def test_every_check_has_an_answer_and_a_name_of_its_own(tmp_path: Path) -> None:
    """On an empty machine as on this one; what is well needs no remedy, what is not has one."""
    for root in (tmp_path, Path("/")):
        found = doctor.checks(environment={"GRIDMARK_DATA": str(tmp_path), "HOME": str(tmp_path)}, root=root)

        assert len({check.name for check in found}) == len(found) >= 20
        assert all(check.found for check in found)
        assert not [check.name for check in found if check.ok and check.remedy]
        assert not [check.name for check in found if check.ok is False and not check.remedy]
