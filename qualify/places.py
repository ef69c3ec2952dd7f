"""Where gridmark keeps what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def data_folder(environment: Mapping[str, str]) -> Path:
    """$GRIDMARK_DATA, or a folder of the user's data (XDG Base Directory)."""
    if chosen := environment.get("GRIDMARK_DATA"):
        return Path(chosen)
    home = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".local/share")
    return Path(home) / "gridmark"
