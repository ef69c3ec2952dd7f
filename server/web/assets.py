"""The style sheet, the script and the icon: read once, served under names that change with their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str
    version: str  #: the beginning of its digest


def load(folder: Path = FOLDER) -> Mapping[str, Asset]:
    """Every file of the folder, by name."""
    return {path.name: _asset(path) for path in sorted(folder.iterdir()) if path.suffix in _TYPES}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:12])


def address(assets: Mapping[str, Asset], name: str) -> str:
    """Where a page finds a file; another address when the file changes, so that it may be kept for ever."""
    return f"/static/{name}?v={assets[name].version}"
