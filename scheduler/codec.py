"""The market's records as JSON and back, by the same strict reader as reports: nothing unknown, missing or mistyped.

An enumeration travels as its number, as it stands in the database.
"""

from __future__ import annotations

import json
from typing import TypeVar

from qualify.codec import from_json, parse, to_json
from qualify.reading import RecordError
from qualify.records import Json

__all__ = ["CodecError", "decode", "dumps", "encode", "loads"]

#: data that is not the record it should be; `.path` says where, in JSON path notation, `.problem` what
CodecError = RecordError

T = TypeVar("T")


def encode(record: object) -> dict[str, Json]:
    """A record as a JSON object with every field, in the order of its definition.

    Raises:
        CodecError: a figure is NaN or infinite, or a value has no JSON form.
    """
    return to_json(record)


def decode(kind: type[T], data: object) -> T:
    """Build a record of `kind` from parsed JSON; a field that has a default may be absent.

    Raises:
        CodecError: the data is not exactly such a record.
    """
    return from_json(kind, data)


def dumps(record: object) -> str:
    """A record as compact JSON in plain ASCII.

    Raises:
        CodecError: as `encode`.
    """
    return json.dumps(encode(record), allow_nan=False, separators=(",", ":"))


def loads(kind: type[T], text: str | bytes) -> T:
    """Build a record of `kind` from JSON text; a key given twice is refused.

    Raises:
        CodecError: the text is not JSON, or not exactly such a record.
    """
    return decode(kind, parse(text))
