"""Money, ages and states as a terminal shows them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from reports import units

#: states of jobs and nodes -> how they are coloured
TONES = {
    "done": "good",
    "active": "good",
    "ready": "good",
    "backoff": "warn",
    "degraded": "warn",
    "draining": "warn",
    "failed": "bad",
    "expired": "bad",
    "quarantined": "bad",
    "offline": "bad",
    "queued": "muted",
    "cancelled": "muted",
    "new": "muted",
    "qualifying": "muted",
    "retired": "muted",
}


def toned(state: str) -> tuple[str, str]:
    """A state with its tone."""
    return state, TONES.get(state, "")


def money(micro_dollars: float | None) -> str:
    """Micro-dollars as "$2.50"; below a cent as many digits as it takes."""
    if micro_dollars is None:
        return units.UNKNOWN
    dollars = micro_dollars / 1e6
    return f"${dollars:,.2f}" if dollars == 0 or abs(dollars) >= 0.1 else f"${dollars:.3g}"


def age(unix_ms: int | None, now_ms: int) -> str:
    """How long ago: "5 s", "12 min", "3 h", "2 d"; a clock ahead of ours makes it "0 s"."""
    if unix_ms is None:
        return units.UNKNOWN
    seconds = max(0, now_ms - unix_ms) // 1000
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 48 * 3600 else f"{seconds // 86400} d"


def age_of(seconds: float | None) -> str:
    """How long ago, of an age in seconds."""
    return units.UNKNOWN if seconds is None else age(0, round(seconds * 1000))


def exit_code(code: int | None) -> str:
    """An exit code, with its signal: "0", "137 (signal 9)"; nothing where there is none yet."""
    if code is None:
        return ""
    return f"{code} (signal {code - 128})" if 128 < code < 193 else str(code)


def moment(unix_ms: int | None) -> str:
    """A moment in local time, to the second: "2026-08-01 11:45:03"."""
    if unix_ms is None:
        return units.UNKNOWN
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1000))


def between_s(began_ms: int | None, ended_ms: int | None) -> float | None:
    """Seconds between two moments; None where one is unknown."""
    return None if began_ms is None or ended_ms is None else (ended_ms - began_ms) / 1000


def inline(value: object) -> str:
    """A value of an event or a reason on one line: {"a": 1.0, "b": [2, 3]} gives "a: 1, b: 2, 3"."""
    match value:
        case None:
            return units.UNKNOWN
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{name}: {inline(one)}" for name, one in value.items())
        case list() | tuple():
            return ", ".join(inline(one) for one in value)
        case _:
            return str(value)


def event(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """When, what, who, and the rest of an event."""
    about = {name: found[name] for name in ("job", "node", "token") if found[name] is not None}
    told = {name: value for name, value in found["data"].items() if value not in ("", None, [], {})}
    return moment(found["at_ms"]), found["kind"], found["actor"], inline({**about, **told})


def count(number: float, one: str) -> str:
    """ "1 CPU", "0.5 CPUs", "3 GPUs"."""
    return f"{number:g} {one}{'' if number == 1 else 's'}"


def until(unix_ms: int | None, now_ms: int) -> str:
    """When something is due: "in 3 h", "since 2 d"."""
    if unix_ms is None:
        return units.UNKNOWN
    return f"since {age(unix_ms, now_ms)}" if unix_ms <= now_ms else f"in {age(2 * now_ms - unix_ms, now_ms)}"


def capacity(found: Mapping[str, Any]) -> str:
    """What a node has: "8 GPUs, 192 CPUs, 2.0 TiB, disk 7.0 TiB"."""
    gpus = len(found["gpu_milli"])
    parts = [count(gpus, "GPU")] if gpus else []
    parts += [count(found["cpu_milli"] / 1000, "CPU"), units.size(found["memory_bytes"])]
    return ", ".join([*parts, f"disk {units.size(found['disk_bytes'])}"])


def interval(figure: Mapping[str, Any]) -> str:
    """A figure's 95 % interval, relative to it: "±0.8 %"."""
    low, high = figure["low"], figure["high"]
    return units.plus_minus(figure["value"], None if low is None or high is None else (low, high))


def figure(found: Mapping[str, Any] | None, now_ms: int) -> str:
    """A measured figure with its interval and its age: "42.3 GB/s ±0.8 %, 3 h"."""
    if found is None:
        return units.UNKNOWN
    arm = interval(found)
    value = units.figure(found["value"], found["unit"])
    return f"{value}{'' if arm == units.UNKNOWN else f' {arm}'}, {age(found['at_ms'], now_ms)}"


def proof(found: Mapping[str, Any], now_ms: int) -> tuple[str, str]:
    """Where a node stands with its proofs, with its tone: "12 min ago", "unproven", "barred: cheat"."""
    if found["bar"]:
        return f"barred: {found['bar']}", "bad"
    if found["proved_ms"] is None:
        return "unproven", "warn"
    return f"{age(found['proved_ms'], now_ms)} ago", "good"


def share(free_bytes: float, all_bytes: float) -> str:
    """What is left of a capacity: "12.0/24.0 GiB"."""
    whole, unit = units.size(all_bytes).rsplit(" ", 1)
    left = free_bytes / all_bytes * float(whole) if all_bytes else 0.0
    return f"{left:.0f}/{whole} {unit}" if left == int(left) else f"{left:.1f}/{whole} {unit}"
