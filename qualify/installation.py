"""Checks of the installation: the interpreter, the extras, the iperf3 library and the folder of compiled kernels."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qualify import software
from qualify.doctor import OWN_ENVIRONMENT, OWNER, Check

PYTHON_MIN = (3, 11)
#: extra -> what it is for; the first is needed to measure anything
EXTRAS = {
    "node": "measuring this machine",
    "server": "the server",
    "cuda12": "GPUs with CUDA 12",
    "cuda13": "GPUs with CUDA 13",
    "containers": "jobs in containers",
    "ray": "jobs on Ray",
}
NEEDED = "node"
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*(?:>=\s*([0-9.]+))?")  # "torch>=2.8; extra …"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A distribution that an extra brings, and the least version of it."""

    name: str
    minimum: str | None


def checks(environment: Mapping[str, str]) -> tuple[Check, ...]:
    """Every check of the installation."""
    wanted = requirements()
    return (
        check_python(sys.version_info[:3], sys.executable),
        check_environment(own=sys.prefix != sys.base_prefix, prefix=sys.prefix),
        *(
            check_extra(extra, wanted.get(extra, ()), command=pip_command(extra), installed=software.installed)
            for extra in EXTRAS
        ),
        check_libiperf(software.libiperf_version()),
        check_kernel_cache(_cache_folders(environment)),
    )


def requirements(checkout: Path | None = None) -> dict[str, tuple[Requirement, ...]]:
    """Extra -> what it brings, from the installed distribution, or from pyproject.toml in a checkout.

    Empty when neither is there. `checkout` is the folder above our packages if None.
    """
    file = (checkout or _checkout()) / "pyproject.toml"
    try:
        with file.open("rb") as source:
            extras = tomllib.load(source)["project"]["optional-dependencies"]
        return {extra: tuple(_requirement(text) for text in texts) for extra, texts in extras.items()}
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return _from_metadata()


def pip_command(extra: str, *, executable: str = sys.executable, checkout: Path | None = None) -> str:
    """What installs one more extra into the environment of `executable`, from the checkout if there is one."""
    folder = checkout or _checkout()
    where = f"-e '{folder}[{extra}]'" if (folder / "pyproject.toml").is_file() else f"'{OWNER}[{extra}]'"
    return f"{executable} -m pip install {where}"


def check_python(version: tuple[int, ...], executable: str) -> Check:
    """Whether the interpreter is recent enough."""
    found = f"{'.'.join(map(str, version))} at {executable}"
    least = ".".join(map(str, PYTHON_MIN))
    return Check("python", ok=version >= PYTHON_MIN, found=found, remedy=f"Use Python {least} or newer.")


def check_environment(*, own: bool, prefix: str) -> Check:
    """Whether gridmark can be overwritten by what others install."""
    if own:
        return Check("environment", ok=True, found=f"a virtual environment at {prefix}")
    return Check(
        "environment",
        ok=None,
        found=f"the interpreter's own packages at {prefix}, where kernels and scheduler of others would overwrite ours",
        remedy=f"{OWN_ENVIRONMENT.capitalize()}.",
    )


def check_extra(
    extra: str,
    wanted: tuple[Requirement, ...],
    *,
    command: str,
    installed: Callable[[str], str | None],
) -> Check:
    """Whether the packages of an extra are installed and recent enough; only `node` must be.

    Args:
        wanted: what the extra brings; empty when it could not be found out.
        command: what would install it.
        installed: a distribution's version, None when it is not installed.
    """
    name, remedy = f"extra {extra}", f"For {EXTRAS[extra]}: {command}"
    if not wanted:
        return Check(name, ok=None, found="what it brings is unknown: gridmark has no metadata here", remedy=remedy)
    lacking = [text for requirement in wanted if (text := _lacks(requirement, installed(requirement.name)))]
    if not lacking:
        found = ", ".join(f"{requirement.name} {installed(requirement.name)}" for requirement in wanted)
        return Check(name, ok=True, found=found)
    return Check(name, ok=False if extra == NEEDED else None, found=", ".join(lacking), remedy=remedy)


def check_libiperf(version: str | None) -> Check:
    """Whether the network is measured with iperf3's own library."""
    if version is not None:
        return Check("libiperf", ok=True, found=f"version {version}")
    return Check(
        "libiperf",
        ok=None,
        found=f"{software.LIBIPERF} cannot be loaded; network figures come from the built-in tester",
        remedy="Install the library, on Debian and Ubuntu: apt-get install libiperf0",
    )


def check_kernel_cache(folders: Sequence[Path]) -> Check:
    """Whether numba can keep what it compiled in one of `folders`, tried in order."""
    kept = next((folder for folder in folders if is_writable(folder)), None)
    if kept is not None:
        return Check("kernel cache", ok=True, found=f"compiled kernels are kept in {kept}")
    return Check(
        "kernel cache",
        ok=False,
        found=f"none of {', '.join(map(str, folders))} can be written: every run compiles anew, at the cost of samples",
        remedy="Set NUMBA_CACHE_DIR to a folder that can be written.",
    )


def is_writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, or the folder in the nearest one above it that exists."""
    present = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    if present is None:
        return False
    try:
        # permission bits do not tell: root passes them, a read-only or full file system ignores them
        with tempfile.TemporaryFile(dir=present):
            return True
    except OSError:
        return False


def at_least(version: str, minimum: str) -> bool:
    """Whether a version is `minimum` or newer, by its leading numbers ("2.13.0+cpu" is 2.13.0)."""
    return _numbers(version) >= _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:  # 3.0 is as new as 3
        numbers.pop()
    return tuple(numbers)


def _lacks(requirement: Requirement, version: str | None) -> str | None:
    if version is None:
        return f"{requirement.name} is not installed"
    if requirement.minimum is not None and not at_least(version, requirement.minimum):
        return f"{requirement.name} is {version}, {requirement.minimum} is needed"
    return None


def _from_metadata() -> dict[str, tuple[Requirement, ...]]:
    found: dict[str, tuple[Requirement, ...]] = {}
    try:
        lines = importlib.metadata.requires(OWNER) or []
    except importlib.metadata.PackageNotFoundError:
        return found
    for line in lines:  # "torch>=2.8; extra == 'node'"
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)""", line)
        if extra:
            found[extra[1]] = (*found.get(extra[1], ()), _requirement(line))
    return found


def _requirement(text: str) -> Requirement:
    found = REQUIREMENT.match(text)
    return Requirement(name=found[1], minimum=found[2]) if found else Requirement(name=text, minimum=None)


def _checkout() -> Path:
    return Path(__file__).resolve().parent.parent


def _cache_folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where numba keeps compiled kernels: the first of these that it can write (numba.core.caching)."""
    if chosen := environment.get("NUMBA_CACHE_DIR"):
        return (Path(chosen),)
    home = Path(environment.get("HOME") or Path.home())
    user = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    return (_checkout() / "kernels" / "cpu" / "__pycache__", user / "numba")
