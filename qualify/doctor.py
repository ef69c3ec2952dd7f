"""Whether the five packages are ours, and what in this installation or machine stands in the way of good figures.

The first question is asked at every start of a command, so that importing this module loads nothing of ours.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

PACKAGES = ("kernels", "qualify", "scheduler", "server", "reports")
OWNER = "gridmark"
OWNER_MARK = re.compile(r"""^OWNER\s*=\s*["']([^"']*)["']""", re.MULTILINE)
OWN_ENVIRONMENT = (
    "install gridmark into an environment of its own: `uv tool install gridmark` or `pipx install gridmark`, "
    "or a new virtual environment"
)


class ShadowedError(RuntimeError):
    """Another distribution's package stands in the place of one of ours."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    name: str  #: "packages", "huge pages": unique, in plain words
    ok: bool | None  #: None = could not be told, or optional; then `remedy` says what would change it, if anything
    found: str  #: one clause with the figures in it
    remedy: str = ""  #: one sentence: what to do; "" where nothing is to be done


def checks(*, environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> tuple[Check, ...]:
    """Every check, in the order a reader should mend what is amiss.

    Args:
        environment: the variables of the process; those of this one if None.
        root: where /proc, /sys and /etc are looked for.
    """
    import os
    import time

    packages = check_packages()
    if packages.ok is False:
        return (packages,)  # the rest could not be imported, or would be imported from strangers
    from qualify import checkup, installation
    from qualify.files import Files

    variables = os.environ if environment is None else environment
    found = (
        packages,
        *installation.checks(variables),
        *checkup.checks(Files(root), variables, now_unix_s=time.time()),
    )
    return tuple(replace(check, remedy="") if check.ok else check for check in found)


def ensure_owned() -> None:
    """Raise ShadowedError when a package of ours is missing or somebody else's; costs about a millisecond."""
    strangers = foreign_packages()
    if strangers:
        raise ShadowedError(f"{_explained(strangers)}; {OWN_ENVIRONMENT}")


def check_packages() -> Check:
    """The ownership of the five packages as a check."""
    strangers = foreign_packages()
    if strangers:
        return Check("packages", ok=False, found=_explained(strangers), remedy=f"{OWN_ENVIRONMENT.capitalize()}.")
    return Check("packages", ok=True, found=f"{', '.join(PACKAGES)} are gridmark's own")


def foreign_packages(path: list[str] | None = None) -> dict[str, str]:
    """Package of ours -> the file that Python finds in its place, "" for none; empty when all is well.

    Nothing is imported: a stranger's package would run its code and may load for seconds.

    Args:
        path: folders to look in, as in sys.path; that of this process if None.
    """
    found = {}
    for name in PACKAGES:
        origin = _origin(name, path)
        if not origin or _owner(Path(origin)) != OWNER:
            found[name] = origin
    return found


def _origin(name: str, path: list[str] | None) -> str:
    try:
        find = importlib.machinery.PathFinder.find_spec
        spec = importlib.util.find_spec(name) if path is None else find(name, path)
    except ValueError:  # a module without a spec, put into sys.modules by hand
        return ""
    return spec.origin or "" if spec is not None else ""


def _owner(module: Path) -> str | None:
    """The string that a module assigns to OWNER, read without running it."""
    try:
        found = OWNER_MARK.search(module.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def _explained(strangers: Mapping[str, str]) -> str:
    wanted = ", ".join(strangers)
    present = {name: origin for name, origin in strangers.items() if origin}
    if not present:
        return f"gridmark's packages {wanted} cannot be found; the installation is incomplete"
    shown = ", ".join(f"{name} from {origin}" + _brought_by(name) for name, origin in present.items())
    return f"Python would take {shown} for gridmark's own: two distributions here use the import names {wanted}"


def _brought_by(name: str) -> str:
    import importlib.metadata

    owners = [owner for owner in importlib.metadata.packages_distributions().get(name, ()) if owner != OWNER]
    return f" (distribution {', '.join(sorted(set(owners)))})" if owners else ""
