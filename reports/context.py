"""How the values of a context or of evidence are said: the unit is read from the end of the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qualify.records import Json
from reports import units
from reports.units import plain


def evidence(mapping: Mapping[str, Json]) -> str:
    """Evidence in one line: {"periods": 203, "memory_bytes": 1024} gives "periods 203, memory 1 KiB"."""
    return plain(", ".join(f"{name_text(name)} {value_text(name, value)}" for name, value in mapping.items()))


def name_text(name: str) -> str:
    """The name of a context value in words; the unit at its end is said by the value."""
    ending = next((ending for ending in _ENDINGS if name.endswith(ending) and ending not in ("_ratio", "_share")), "")
    return plain(name.removesuffix(ending).replace("_", " "))


def value_text(name: str, value: Json) -> str:
    """A value of a context in words; its unit is read from the end of its name."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number_text(name, value)
    if isinstance(value, list):
        return "×".join(map(str, value)) if name == "shape" else ", ".join(value_text(name, item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{inner} {value_text(inner, item)}" for inner, item in value.items())
    return plain(value)


def _number_text(name: str, value: float) -> str:
    for ending, say in _ENDINGS.items():
        if name.endswith(ending):
            return say(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


_ENDINGS: Mapping[str, Callable[[float], str]] = {
    "_bytes_per_s": lambda value: units.figure(value, "B/s"),
    "_per_s": lambda value: f"{value:.4g}/s",
    "_bytes": units.size,
    "_hz": lambda value: units.figure(value, "Hz"),
    "_ratio": units.percent,
    "_share": units.percent,
    "_s": lambda value: units.figure(value, "s"),
}
