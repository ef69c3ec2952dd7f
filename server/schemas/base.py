"""The pieces every schema is built of: strict documents, and texts and quantities with bounds."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from qualify import quantities

ID_MAX = 2**53 - 1  #: what a JavaScript reader keeps exact
TIME_MS_MAX = 253_402_300_799_999  #: the end of the year 9999
_PRICE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*\$/h", re.ASCII)
_NO_NUL = r"^[^\x00]*$"


class Document(BaseModel):
    """Something sent to us: unknown fields are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class View(BaseModel):
    """Something we send; it documents the answers and the tests hold them to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def example(**values: Any) -> ConfigDict:
    """A model's configuration with one example for the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [values]})


def _inside(path: str) -> str:
    """A path that stays below the folder it is relative to."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("must be relative, without empty, '.' or '..' parts")
    if any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        raise ValueError("has a part longer than 255 bytes")
    return path


def _size(value: object) -> object:
    return quantities.size_bytes(value) if isinstance(value, str) else value


def _duration(value: object) -> object:
    return math.ceil(quantities.duration_s(value)) if isinstance(value, str) else value


def _price_uh(value: object) -> object:
    """Micro-dollars per hour of "0.50 $/h", or of a number of dollars per hour."""
    if isinstance(value, str):
        found = _PRICE.fullmatch(value.strip())
        if not found:
            raise ValueError('is no price: a number and $/h, as in "0.50 $/h"')
        value = float(found[1])
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return round(value * 1_000_000)
    return value


def _cpus_milli(value: object) -> object:
    """Thousandths of a CPU from a number of CPUs."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return round(value * 1000)
    return value


def _moment_ms(value: object) -> object:
    """Unix milliseconds of an RFC 3339 time, or of Unix seconds."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value) if len(value) <= 40 else None
        if moment is None or moment.tzinfo is None:
            raise ValueError('is no time with a zone, as in "2026-01-31T18:00:00Z"')
        return round(moment.timestamp() * 1000)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return round(value * 1000)
    return value


def _between(low: int, high: int, words: str) -> AfterValidator:
    """Bounds that are told in the unit that was written, not in ours."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be {words}")
        return value

    return AfterValidator(check)


def _schema(kind: str, low: float, high: float, pattern: str) -> WithJsonSchema:
    number = {"type": kind, "minimum": low, "maximum": high}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": pattern, "maxLength": 40}]})


_SIZE_PATTERN = r"^[0-9]{1,6}(\.[0-9]{1,3})? ?(B|[kKMGT]B|[KMGT]iB)$"
_DURATION_PATTERN = r"^[0-9]{1,4}(\.[0-9]{1,3})? ?(s|m|min|h|d)$"

Id = Annotated[int, Field(ge=1, le=ID_MAX)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TimeMs = Annotated[int, Field(ge=0, le=TIME_MS_MAX)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$")]
Region = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Path = Annotated[str, Field(min_length=1, max_length=1024, pattern=_NO_NUL), AfterValidator(_inside)]
Size = Annotated[
    int, BeforeValidator(_size), _between(0, 1 << 50, "0 B to 1024 TiB"), _schema("integer", 0, 1 << 50, _SIZE_PATTERN)
]  #: bytes, or "4 GB", "512 MiB"
Duration = Annotated[
    int,
    BeforeValidator(_duration),
    _between(1, 366 * 86400, "1 s to 366 d"),
    _schema("integer", 1, 366 * 86400, _DURATION_PATTERN),
]  #: seconds, or "90s", "2h"
PriceUh = Annotated[
    int,
    BeforeValidator(_price_uh),
    _between(0, 10**12, "0 to 1000000 $/h"),
    _schema("number", 0, 1_000_000, r"^[0-9]{1,5}(\.[0-9]{1,6})? ?\$/h$"),
]  #: $/h as a number, or "0.50 $/h"
CpusMilli = Annotated[
    int,
    BeforeValidator(_cpus_milli),
    _between(1, 4_096_000, "0.001 to 4096 CPUs"),
    WithJsonSchema({"type": "number", "minimum": 0.001, "maximum": 4096}),
]  #: CPUs, in thousandths
MomentMs = Annotated[
    int,
    BeforeValidator(_moment_ms),
    _between(0, TIME_MS_MAX, "between the years 1970 and 9999"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": TIME_MS_MAX // 1000},
                {"type": "string", "format": "date-time", "maxLength": 40},
            ]
        }
    ),
]  #: Unix seconds, or RFC 3339 with a zone
