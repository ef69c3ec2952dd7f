"""What a child process tells its parent: one JSON object a line, checked on arrival before anything is believed."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kernels.device import Device
from kernels.spec import Profile

#: a figure with 5000 samples of 24 characters is 120 kB; ten of them still fit
MAX_LINE_BYTES = 4 << 20
UNITS = frozenset({"FLOP/s", "OP/s", "B/s", "IO/s", "s", "ratio"})
ERRORS = frozenset({"wrong_result", "bench_error", "out_of_memory", "unsupported"})


class WireError(Exception):
    """A child sent something that is not a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a child is asked to do."""

    bench: str
    device: Device
    profile: Profile
    seconds: float  #: wall, from the child's start to its end
    seed: int
    only: tuple[str, ...]  #: keys wanted, never empty
    workdir: str
    peer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The child is about to measure these keys."""

    keys: tuple[str, ...]
    kind: Literal["started"] = "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure: a whole measurement, or one point of a series when `at` is set."""

    key: str
    unit: str
    statistic: str
    value: float
    ci95: tuple[float, float] | None
    mad: float
    p5: float
    p95: float
    samples: tuple[float, ...]
    converged: bool
    at: float | None
    axis: str
    lasted_s: float
    version: int
    context: dict[str, Any] = field(default_factory=dict)
    kind: Literal["measured"] = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Keys that will have no figure."""

    keys: tuple[str, ...]
    status: Literal["skipped", "failed"]
    reason: str
    error: str | None = None  #: one of ERRORS
    kind: Literal["missed"] = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The child has nothing more to say."""

    kind: Literal["done"] = "done"


Message = Started | Measured | Missed | Done


def encode(message: Message | Task) -> bytes:
    """One line of JSON; samples keep seven significant digits, far below their noise.

    Raises:
        ValueError: a figure is not finite.
    """
    fields = asdict(message)
    if isinstance(message, Measured):
        fields["samples"] = [float(f"{x:.7g}") for x in message.samples]
    return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def decode_task(line: bytes) -> Task:
    """The task a parent wrote on the child's stdin."""
    fields = json.loads(line)
    device = fields.pop("device")
    for name in ("cpus", "capability"):
        device[name] = None if device[name] is None else tuple(device[name])
    return Task(**{**fields, "device": Device(**device), "only": tuple(fields["only"])})


def decode(line: bytes, allowed: frozenset[str]) -> Message:
    """The message in `line`, whose keys must be among `allowed`.

    Raises:
        WireError: it is not one, in any way: the child is not to be believed any further.
    """
    try:
        fields = json.loads(line, parse_constant=_refuse)
        message = _message(fields)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise WireError(f"not a message: {line[:80]!r}") from error
    keys = (message.key,) if isinstance(message, Measured) else getattr(message, "keys", ())
    if not set(keys) <= allowed:
        raise WireError(f"a figure nobody asked for: {', '.join(sorted(map(str, set(keys) - allowed)))[:80]}")
    return message


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _message(fields: dict[str, Any]) -> Message:
    kind = fields.pop("kind")
    if kind == "started":
        return Started(keys=_strings(fields.pop("keys")), **fields)
    if kind == "missed":
        return _missed(fields)
    if kind == "measured":
        return _measured(fields)
    if kind == "done":
        return Done(**fields)
    raise ValueError(f"unknown kind {kind!r}")


def _missed(fields: dict[str, Any]) -> Missed:
    found = Missed(**{**fields, "keys": _strings(fields["keys"]), "reason": _string(fields["reason"])})
    if found.status not in ("skipped", "failed") or (found.error is not None and found.error not in ERRORS):
        raise ValueError(f"unknown status {found.status!r} or error {found.error!r}")
    return found


def _measured(fields: dict[str, Any]) -> Measured:
    samples = tuple(_number(x) for x in fields["samples"])
    ends = fields["ci95"]
    found = Measured(
        **{
            **fields,
            "key": _string(fields["key"]),
            "samples": samples,
            "ci95": None if ends is None else (_number(ends[0]), _number(ends[1])),
            "at": None if fields["at"] is None else _number(fields["at"]),
            **{name: _number(fields[name]) for name in ("value", "mad", "p5", "p95", "lasted_s")},
        }
    )
    if found.unit not in UNITS or not samples or not isinstance(found.converged, bool):
        raise ValueError(f"a figure without samples or in the unit {found.unit!r}")
    if not isinstance(found.context, dict) or not isinstance(found.version, int):
        raise TypeError("context is an object, version a number")
    if found.value < 0 or (found.ci95 is not None and found.ci95[0] > found.ci95[1]):
        raise ValueError("a negative figure, or an interval that ends before it begins")
    return found


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"not a finite number: {value!r}")
    return float(value)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a string: {value!r}")
    return value


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return tuple(_string(item) for item in value)
