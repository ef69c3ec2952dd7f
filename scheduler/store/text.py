"""The JSON columns: records and plain values as text, and back without believing anything unchecked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from scheduler.codec import CodecError, decode, encode
from scheduler.store.errors import DamagedError
from scheduler.told import Told

#: texts that are read once though many rows hold them
SHORT_CHARS = 2_000

T = TypeVar("T")
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def of_record(record: object) -> str:
    """A record as an object with every field."""
    return of_plain(encode(record))


def of_records(records: Iterable[object]) -> str:
    """Records as a list."""
    return of_plain([encode(record) for record in records])


def of_named(records: Mapping[str, object]) -> str:
    """Records by name, as an object."""
    return of_plain({name: encode(record) for name, record in records.items()})


def of_plain(value: object) -> str:
    """What is JSON already: numbers, texts, lists, objects. NaN is refused (ValueError)."""
    if isinstance(value, Told):
        return value.text
    return _ENCODER.encode(value)


@lru_cache(maxsize=4096)
def of_numbers(numbers: tuple[int, ...]) -> str:
    """A short list of whole numbers, of which the same are written again and again."""
    return _ENCODER.encode(numbers)


@lru_cache(maxsize=4096)
def listed(text: str) -> tuple[Any, ...]:
    """A short list of numbers or of texts, of which the same are read again and again."""
    return tuple(plain(text))


def record(kind: type[T], text: str) -> T:
    """What `of_record` wrote.

    Raises:
        DamagedError: the text is no such record.
    """
    if len(text) > SHORT_CHARS:
        return _decoded(kind, plain(text))
    key: Any = kind  # what is looked up by is hashable, which mypy doubts of a class
    found: T = _short(key, text)
    return found


@lru_cache(maxsize=4096)
def _short(kind: Any, text: str) -> Any:
    """The same record for the same text: of ten thousand jobs most are alike, and nobody changes a record."""
    return _decoded(kind, plain(text))


def records(kind: type[T], text: str) -> tuple[T, ...]:
    """What `of_records` wrote."""
    return tuple([_decoded(kind, item) for item in plain(text)])


def named(kind: type[T], text: str) -> dict[str, T]:
    """What `of_named` wrote."""
    return {name: _decoded(kind, item) for name, item in plain(text).items()}


def plain(text: str) -> Any:
    """What `of_plain` wrote."""
    return json.loads(text)


def _decoded(kind: type[T], data: Any) -> T:
    try:
        return decode(kind, data)
    except CodecError as error:
        raise DamagedError(f"a stored {kind.__name__} cannot be read: {error}") from error
