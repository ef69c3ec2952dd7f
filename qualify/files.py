"""Reads /proc, /sys and /etc below a root, so that a test can build a machine out of files."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Files:
    """Paths are given as the kernel documents them ("/proc/stat"); what cannot be read is None or empty."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Where `path` lies below the root."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str | None:
        """The contents, stripped; None when they cannot be read (not there, not allowed, no such device)."""
        try:
            return self.at(path).read_text(encoding="utf-8", errors="replace").strip()
        except (OSError, ValueError):  # ValueError: a NUL in a name that came from another file
            return None

    def head(self, path: str, size_bytes: int = 1024) -> str | None:
        """The first bytes, as `text` gives them but in a fifth of its time: for what is read again and again."""
        try:
            descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            return os.read(descriptor, size_bytes).decode("utf-8", errors="replace").strip()
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def lines(self, path: str) -> tuple[str, ...]:
        """The lines; none when the file cannot be read."""
        return tuple((self.text(path) or "").splitlines())

    def number(self, path: str) -> int | None:
        """The whole number the file holds; None when it holds anything else."""
        return number(self.text(path))

    def names(self, path: str) -> tuple[str, ...]:
        """The entries of a folder, sorted; none when it cannot be read."""
        try:
            return tuple(sorted(entry.name for entry in self.at(path).iterdir()))
        except OSError:
            return ()

    def link(self, path: str) -> str | None:
        """What a symbolic link says, unresolved; None when there is none to read."""
        try:
            return str(self.at(path).readlink())
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether something is there that we may know of."""
        try:
            return self.at(path).exists()
        except OSError:
            return False

    def why_not(self, path: str) -> str:
        """What is wrong with a file or folder that told nothing: "is not there", "says nothing of it", …"""
        try:
            self.at(path).read_bytes()
        except FileNotFoundError:
            return "is not there"
        except IsADirectoryError:
            return "says nothing of it"
        except OSError as error:
            return f"cannot be read ({error.strerror or type(error).__name__})"
        return "says nothing of it"


def number(text: str | None) -> int | None:
    """The whole number in `text` (decimal, may be negative, of 64 bits); None when it is anything else."""
    digits = (text or "").strip()
    # 20 digits write the largest count a kernel has; int() itself refuses some thousands
    return int(digits) if digits.removeprefix("-").isdecimal() and len(digits) <= 20 else None


def real(text: str | None) -> float | None:
    """The finite number in `text`; None when it is anything else, nan and inf among it."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def pairs(lines: tuple[str, ...], separator: str | None = None) -> dict[str, str]:
    """The first value of each name in lines such as "nr_periods 12" or "MemTotal: 5 kB"."""
    found: dict[str, str] = {}
    for line in lines:
        name, *value = line.split(separator, 1)
        if value:
            found.setdefault(name.strip(), value[0].strip())
    return found
