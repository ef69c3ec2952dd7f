"""Parsed JSON into frozen records, driven by their type hints and strict about every one of them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from qualify.records import Json

MAX_DEPTH = 32  #: of nested lists and objects in a context

Reader = Callable[[object], Any]


class RecordError(ValueError):
    """Data that is not the record it should be; `path` is where, in JSON path notation."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"${path}: {problem}")
        self.problem = problem
        self.path = path

    def under(self, parent: str) -> RecordError:
        """The same problem, seen from one level further up."""
        return RecordError(self.problem, parent + self.path)


@functools.cache
def reader_of(kind: type) -> Reader:
    """The function that turns a parsed object into a record of `kind`; it raises RecordError."""
    # Json is recursive, which get_type_hints would unroll; a name of our own stands in for it
    hints = typing.get_type_hints(kind, localns={"Json": _AnyJson})
    fields = [field for field in dataclasses.fields(kind) if field.init]
    readers = {field.name: _reader(hints[field.name]) for field in fields}
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def read(data: object) -> object:
        if not isinstance(data, dict):
            raise RecordError(f"expected an object ({kind.__name__}), found {found(data)}")
        for name in data:
            if name not in readers:
                raise RecordError(f"unknown field {quoted(name)} in {kind.__name__}")
        for name in required:
            if name not in data:
                raise RecordError(f"missing in {kind.__name__}", f".{name}")
        values = {name: _read_at(f".{name}", readers[name], value) for name, value in data.items()}
        try:
            return kind(**values)
        except ValueError as error:  # the record's own rules
            raise RecordError(str(error)) from None

    return read


class _AnyJson:
    """Stands for any JSON value in a record's hints."""


def _read_at(place: str, reader: Reader, value: object) -> Any:
    try:
        return reader(value)
    except RecordError as error:
        raise error.under(place) from None


def _reader(hint: Any) -> Reader:
    """The function that turns parsed JSON into a value of the hinted type."""
    simple: dict[object, Reader] = {
        str: _read_text,
        int: _read_int,
        float: _read_float,
        bool: _read_bool,
        _AnyJson: _read_any,
        object: _read_any,
    }
    if hint in simple:
        return simple[hint]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return reader_of(hint)
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        return _number_of(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return _one_of(arguments)
    if origin in (types.UnionType, typing.Union) and len(arguments) == 2 and type(None) in arguments:
        return _or_null(_reader(next(one for one in arguments if one is not type(None))))
    if origin is tuple and arguments[-1] is Ellipsis:
        return _series_of(_reader(arguments[0]))
    if origin is tuple:
        return _exactly([_reader(one) for one in arguments])
    if origin is Mapping:
        return _mapping_of(_reader(arguments[1]))
    raise TypeError(f"no reader for the type {hint!r}; teach qualify/codec.py about it")


def _or_null(inner: Reader) -> Reader:
    return lambda data: None if data is None else inner(data)


def _one_of(allowed: tuple[object, ...]) -> Reader:
    def read(data: object) -> object:
        if not isinstance(data, str) or data not in allowed:
            raise RecordError(f"expected one of {', '.join(map(str, allowed))}, found {found(data)}")
        return data

    return read


def _number_of(kind: type[enum.IntEnum]) -> Reader:
    def read(data: object) -> enum.IntEnum:
        number = _read_int(data)
        try:
            return kind(number)
        except ValueError:
            allowed = ", ".join(f"{one.value} ({one.name.lower()})" for one in kind)
            raise RecordError(f"expected one of {allowed}, found {found(data)}") from None

    return read


def _series_of(inner: Reader) -> Reader:
    def read(data: object) -> tuple[object, ...]:
        if not isinstance(data, list):
            raise RecordError(f"expected a list, found {found(data)}")
        return tuple([_read_at(f"[{index}]", inner, item) for index, item in enumerate(data)])

    return read


def _exactly(inner: list[Reader]) -> Reader:
    def read(data: object) -> tuple[object, ...]:
        if not isinstance(data, list) or len(data) != len(inner):
            raise RecordError(f"expected a list of {len(inner)}, found {found(data)}")
        return tuple(
            [_read_at(f"[{index}]", one, item) for index, (one, item) in enumerate(zip(inner, data, strict=True))]
        )

    return read


def _mapping_of(inner: Reader) -> Reader:
    def read(data: object) -> dict[str, object]:
        if not isinstance(data, dict):
            raise RecordError(f"expected an object, found {found(data)}")
        return {_read_text(key): _read_at(member(key), inner, item) for key, item in data.items()}

    return read


def _read_text(data: object) -> str:
    if not isinstance(data, str):
        raise RecordError(f"expected text, found {found(data)}")
    if not data.isascii() and any("\ud800" <= character <= "\udfff" for character in data):
        raise RecordError("expected Unicode text, found half of a surrogate pair")
    return data


def _read_int(data: object) -> int:
    if type(data) is not int:
        raise RecordError(f"expected a whole number, found {found(data)}")
    return bounded(data)


def _read_float(data: object) -> float:
    if type(data) is int:
        try:
            return float(data)
        except OverflowError:
            raise RecordError("expected a number below 1.8e308, found a larger one") from None
    if type(data) is not float:
        raise RecordError(f"expected a number, found {found(data)}")
    return finite(data)


def _read_bool(data: object) -> bool:
    if type(data) is not bool:
        raise RecordError(f"expected true or false, found {found(data)}")
    return data


def _read_any(data: object) -> Json:
    return _any(data, 2)  # the mapping that holds it is the first level


def _any(data: object, depth: int) -> Json:
    if isinstance(data, dict | list):
        return _any_container(data, depth)
    if isinstance(data, str):
        return _read_text(data)
    if isinstance(data, float):
        return finite(data)
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, int):
        return bounded(data)
    raise RecordError(f"expected a JSON value, found {found(data)}")


def _any_container(data: dict[Any, Any] | list[Any], depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise RecordError(f"nested deeper than {MAX_DEPTH} levels")
    deeper = functools.partial(_any, depth=depth + 1)
    if isinstance(data, dict):
        return {_read_text(key): _read_at(member(key), deeper, item) for key, item in data.items()}
    return [_read_at(f"[{index}]", deeper, item) for index, item in enumerate(data)]


def bounded(number: int) -> int:
    """The number itself.

    Raises:
        RecordError: it does not fit into 64 bits, where most readers would round or refuse it.
    """
    if not -(2**63) <= number < 2**63:
        raise RecordError("expected a whole number of at most 64 bits, found a larger one")
    return number


def member(key: str) -> str:
    """A key as a step of a JSON path."""
    return f".{key}" if key.isidentifier() and len(key) <= 40 else f"[{quoted(key)}]"


def quoted(text: str) -> str:
    """Text between quotes, shortened, control characters escaped."""
    return json.dumps(text if len(text) <= 40 else text[:37] + "...")


def found(value: object) -> str:
    """A value in few words, however large it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        return f"the number {value!r}" if abs(value) < 1e300 else "a huge number"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return f"a value of type {type(value).__name__}"


def finite(number: float) -> float:
    """The number itself.

    Raises:
        RecordError: it is NaN or infinite.
    """
    if not math.isfinite(number):
        raise RecordError(f"expected a finite number, found {number}")
    return number
