"""Reads what people type: durations, sizes, rates and claims, each with its unit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from qualify.records import Claim

DURATION_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_BYTES = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip
RATE_BYTES_PER_S = {
    "B/s": 1.0, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9,
    "bit/s": 0.125, "kbit/s": 125.0, "Mbit/s": 125e3, "Gbit/s": 125e6,
}  # fmt: skip
NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z/]*)\s*", re.ASCII)


class QuantityError(ValueError):
    """A text that is no such quantity; the message says what would be."""


def _read(text: str, units: dict[str, Any], what: str) -> float:
    found = NUMBER.fullmatch(text)
    if not found or found[2] not in units:
        known = " ".join(unit for unit in units if unit)
        raise QuantityError(f"{text!r} is no {what}: a number and one of {known}")
    value = float(found[1]) * float(units[found[2]])
    if not math.isfinite(value):
        raise QuantityError(f"{text!r} is too large for a {what}")
    return value


def duration_s(text: str) -> float:
    """Seconds in "45", "90s", "5m", "24h", "7d"."""
    return _read(text, DURATION_S, "duration")


def size_bytes(text: str) -> int:
    """Bytes in "64GiB", "80 GB", "1000000"."""
    return int(_read(text, SIZE_BYTES, "size"))


def rate_bytes_per_s(text: str) -> float:
    """Bytes per second in "100 Mbit/s", "1.2GB/s"."""
    return _read(text, RATE_BYTES_PER_S, "rate")


def _count(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise QuantityError(f"{text!r} is no count: a whole number")
    return int(text)


#: what can be claimed: the word typed, the field of Claim, how it is read
CLAIMS: dict[str, tuple[str, Callable[[str], object]]] = {
    "cores": ("cores", _count),
    "memory": ("memory_bytes", size_bytes),
    "disk": ("disk_bytes", size_bytes),
    "gpu": ("gpu", str.strip),
    "gpus": ("gpus", _count),
    "down": ("down_bytes_per_s", rate_bytes_per_s),
    "up": ("up_bytes_per_s", rate_bytes_per_s),
}


def claim(items: Sequence[str]) -> Claim | None:
    """The claim in ("cores=8", "memory=64GiB", …); None when nothing was claimed.

    Raises:
        QuantityError: not WORD=VALUE, an unknown or repeated word, or a value that cannot be read.
    """
    fields: dict[str, Any] = {}
    for item in items:
        word, equals, text = item.partition("=")
        if not equals or word not in CLAIMS:
            raise QuantityError(f"{item!r} is no claim: WORD=VALUE with one of {' '.join(CLAIMS)}")
        field, read = CLAIMS[word]
        if field in fields:
            raise QuantityError(f"{word} is claimed twice")
        fields[field] = read(text)
    return Claim(**fields) if fields else None
