"""Records to JSON and back: nothing lost on the way out, nothing believed unchecked on the way in.

Reading is strict and driven by the type hints of the records: an unknown field, a missing one, a wrong type, NaN, a key
given twice, each is a `RecordError` that names the place. A field that has a default may be absent, so that a report
stays readable after a field was added.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

from qualify.reading import MAX_DEPTH, RecordError, bounded, finite, found, member, quoted, reader_of
from qualify.records import SCHEMA, Json, Report

__all__ = ["MAX_BYTES", "RecordError", "dumps", "from_json", "loads", "parse", "report_from_json", "to_json"]

MAX_BYTES = 64 << 20  #: of a report's text; a deep run keeps every sample and stays below 10 MiB

#: digits kept of a sample: a clock resolves 1 ns in 10 ms, which is the 7th digit
SAMPLE_DIGITS = 7

_ROUNDED = frozenset({"samples"})

T = TypeVar("T")


def to_json(record: object) -> dict[str, Json]:
    """A record as a JSON object with every field, in the order of its definition.

    Samples are rounded to 7 significant digits, other figures are exact.

    Raises:
        RecordError: a figure is NaN or infinite, or a value has no JSON form.
    """
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise RecordError(f"expected a record, found {found(record)}")
    return _fields(record)


def from_json(kind: type[T], data: object) -> T:
    """Build a record of `kind` from parsed JSON.

    Raises:
        RecordError: the data is not exactly such a record.
    """
    return cast("T", reader_of(cast("type", kind))(data))


def report_from_json(data: object) -> Report:
    """Build a Report from parsed JSON; its schema number is checked before anything else.

    Raises:
        RecordError: the data is not exactly a Report of this schema.
    """
    if not isinstance(data, dict):
        raise RecordError(f"expected a report (an object), found {found(data)}")
    if "schema" not in data:
        raise RecordError("missing; every report says which schema it follows", ".schema")
    if type(data["schema"]) is not int or data["schema"] != SCHEMA:
        raise RecordError(f"expected schema {SCHEMA}, found {found(data['schema'])}", ".schema")
    return from_json(Report, data)


def dumps(report: Report, *, indent: int | None = None) -> str:
    """A report as one JSON document in plain ASCII, so that any terminal, pipe or locale carries it."""
    return json.dumps(to_json(report), allow_nan=False, indent=indent)


def loads(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> Report:
    """Read a report.

    Raises:
        RecordError: the text is too long, is not JSON, or is not a report.
    """
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise RecordError(f"expected at most {max_bytes} bytes, found {size}")
    return report_from_json(parse(text))


def parse(text: str | bytes) -> object:
    """Strict JSON: no NaN, no Infinity, no key twice in an object.

    Raises:
        RecordError: the text is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_object_once, parse_constant=_refuse_constant)
    except RecordError:
        raise
    except RecursionError:
        raise RecordError("nested too deeply to be read") from None
    except ValueError as error:  # a JSON error, text that is not UTF-8, an integer of thousands of digits
        raise RecordError(f"not JSON: {error}") from None


def _object_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    once = dict(pairs)
    if len(once) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecordError(f"not JSON: an object has the key {quoted(twice)} twice")
    return once


def _refuse_constant(name: str) -> object:
    raise RecordError(f"not JSON: {name} is not a number; an unknown figure is null")


def _fields(record: Any) -> dict[str, Json]:
    written: dict[str, Json] = {}
    for name in _names(record.__class__):
        value = getattr(record, name)
        try:
            if name in _ROUNDED:
                value = [_rounded(number) for number in value]
            written[name] = _plain(value, 0)
        except RecordError as error:
            raise error.under(f".{name}") from None
    return written


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _rounded(number: float) -> float:
    return float(f"{number:.{SAMPLE_DIGITS}g}")


def _plain(value: object, depth: int) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, int):
        return bounded(int(value))
    if isinstance(value, float):
        return finite(float(value))
    return _plain_container(value, depth + 1)


def _plain_container(value: object, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise RecordError(f"nested deeper than {MAX_DEPTH} levels")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, Mapping):
        return {_key(key): _at(member(_key(key)), item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_at(f"[{index}]", item, depth) for index, item in enumerate(value)]
    raise RecordError(f"expected a JSON value, found {found(value)}")


def _at(place: str, value: object, depth: int) -> Json:
    try:
        return _plain(value, depth)
    except RecordError as error:
        raise error.under(place) from None


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise RecordError(f"expected text as a key, found {found(key)}")
    return _sound(key)


def _sound(text: str) -> str:
    """Bytes of a file name that are not UTF-8 come as lone surrogates, which no JSON reader accepts."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
