"""Removes a job's folder, whatever the job did to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path


def remove(folder: Path) -> None:
    """Also where a job took rights away from itself; links are removed, never followed; no error when it is gone."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, onerror=_retry)
    if folder.exists():  # once more, now that every folder can be entered
        shutil.rmtree(folder, ignore_errors=True)


def _retry(function: Callable[[str], object], path: str, error: object) -> None:
    del error
    with contextlib.suppress(OSError):
        for one in (os.path.dirname(path), path):  # noqa: PTH120 - paths come as text here
            if not os.path.islink(one):  # noqa: PTH114
                os.chmod(one, stat.S_IRWXU)  # noqa: PTH101
        function(path)
