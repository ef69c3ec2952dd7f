"""Figures as people read them: three digits, an SI prefix, a unit."""

from __future__ import annotations

import time
import unicodedata

_LARGE = ("", "k", "M", "G", "T", "P", "E")
_SMALL = ("", "m", "µ", "n", "p")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

UNKNOWN = "–"


def split(value: float, unit: str) -> tuple[str, str]:
    """A figure as number and unit, so that a table can align both: (42.31e9, "B/s") gives ("42.3", "GB/s")."""
    if unit == "ratio":
        return percent(value).removesuffix(" %"), "%"
    if value == 0:
        return "0", unit
    if not unit:
        return f"{value:.4g}", ""
    digits, power = _rounded(value)
    step = max(1 - len(_SMALL), min(len(_LARGE) - 1, power // 3))
    prefix = _LARGE[step] if step >= 0 else _SMALL[-step]
    if abs(power - 3 * step) > 5:  # beyond the prefixes
        return f"{value:.2e}", unit
    return f"{digits * 10 ** (power - 3 * step):.{max(0, 2 - (power - 3 * step))}f}", f"{prefix}{unit}"


def figure(value: float | None, unit: str) -> str:
    """A figure with its unit: "42.3 GB/s", "98.2 ns", "0.12 %"; "–" when it is unknown."""
    return UNKNOWN if value is None else " ".join(split(value, unit)).strip()


def _rounded(value: float) -> tuple[float, int]:
    """Mantissa (1 <= |m| < 10) of three digits and its power of ten; 999.7 becomes (1.0, 3)."""
    mantissa, _, power = f"{value:.2e}".partition("e")
    return float(mantissa), int(power)


def percent(ratio: float | None, digits: int = 3) -> str:
    """A ratio as a percentage with so many significant digits: 0.9812 gives "98.1 %"; beyond 10 000 % as a multiple."""
    if ratio is None:
        return UNKNOWN
    if ratio == 0:
        return "0 %"
    if not abs(ratio) < 100:
        return f"{ratio:.{digits}g}×"
    power = int(f"{ratio * 100:.{digits - 1}e}".partition("e")[2])
    if power < -4:
        return f"{ratio * 100:.{digits - 1}e} %"
    return f"{ratio * 100:.{max(0, digits - 1 - power)}f} %"


def half_width(value: float, ci95: tuple[float, float] | None) -> float | None:
    """The larger arm of an interval relative to its figure: 0.012 reads ±1.2 %; None where there is no interval."""
    if ci95 is None or value == 0:
        return None
    return max(ci95[1] - value, value - ci95[0], 0.0) / abs(value)


def plus_minus(value: float, ci95: tuple[float, float] | None) -> str:
    """An interval relative to its figure: "±0.8 %"; "–" where there is none."""
    arm = half_width(value, ci95)
    if arm is None:
        return UNKNOWN
    return "±<0.01 %" if arm < 5e-5 else f"±{percent(arm, 2)}"


def size(count: float | None) -> str:
    """A capacity in binary units: "24.0 GiB", "512 KiB"; whole numbers stay whole."""
    if count is None:
        return UNKNOWN
    step = 0
    while abs(count) >= 1024 and step < len(_BINARY) - 1:
        count /= 1024
        step += 1
    number = f"{count:.0f}" if count == int(count) else f"{count:.1f}"
    return f"{number} {_BINARY[step]}"


def duration(seconds: float | None) -> str:
    """A length of time: "410 ms", "41.7 s", "4 min 12 s", "3 h 05 min", "2 d 4 h"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole:02d} s"


def moment(unix_s: float | None) -> str:
    """A moment in UTC: "2026-08-01 11:45 UTC"; "–" when it is unknown or no clock could have shown it."""
    if unix_s is None:
        return UNKNOWN
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s))
    except (OverflowError, ValueError, OSError):
        return UNKNOWN


def plain(text: str) -> str:
    """Text on one line without anything that steers a terminal: control codes and marks of direction become "�".

    What a report says comes from a stranger's machine.
    """
    if text.isascii() and text.isprintable():
        return text
    spaced = text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
    return "".join("�" if unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Zl", "Zp") else mark for mark in spaced)
