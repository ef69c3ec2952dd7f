"""Writes the JSON Schema of a report out of the records themselves: their types, their `#:` comments, their docstrings.

`python -m qualify.schema > qualify/report.schema.json` renews the file that is shipped; a test tells when it is due.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from qualify.records import SCHEMA, Json, Measurement, Report

ADDRESS = "https://json-schema.org/draft/2020-12/schema"
_FIELD = re.compile(r"    (\w+): .*#: (.+)")
_SIMPLE: dict[Any, dict[str, Json]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
#: what the records enforce and types cannot say
_MEASUREMENT_RULES: dict[str, Json] = {
    "if": {"properties": {"status": {"const": "ok"}}},
    "then": {"properties": {"value": {"type": "number"}}, "required": ["value"]},
    "else": {
        "properties": {"value": {"type": "null"}, "reason": {"type": "string", "minLength": 1}},
        "required": ["reason"],
    },
}


class _AnyJson:
    """Stands for any JSON value in a record's hints."""


def build() -> dict[str, Json]:
    """The schema of a Report, draft 2020-12."""
    definitions: dict[str, Json] = {}
    _define(Report, definitions)
    report = typing.cast("dict[str, Json]", definitions.pop("Report"))
    return {
        "$schema": ADDRESS,
        "title": f"gridmark report, schema {SCHEMA}",
        "$comment": "Units are SI and stand at the end of a name: _s seconds, _hz hertz, _bytes bytes, _ratio 0..1.",
        **report,
        "$defs": definitions,
    }


def dumps() -> str:
    """The schema as it is shipped."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


def _define(kind: type, definitions: dict[str, Json]) -> dict[str, Json]:
    """Add the schema of a record, and of those it holds, to `definitions`; return a reference to it."""
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # holds the place, in the order of first use
        hints = typing.get_type_hints(kind, localns={"Json": _AnyJson})
        said = dict(_FIELD.findall(inspect.getsource(kind)))
        fields = dataclasses.fields(kind)
        properties: dict[str, Json] = {}
        for field in fields:
            schema = _schema(hints[field.name], definitions)
            properties[field.name] = {**schema, "description": said[field.name]} if field.name in said else schema
        required: list[Json] = [field.name for field in fields if _is_required(field)]
        definitions[kind.__name__] = {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        _refine(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.name == "schema" or (field.default is missing and field.default_factory is missing)


def _refine(kind: type, definitions: dict[str, Json]) -> None:
    schema: Any = definitions[kind.__name__]
    if kind is Report:
        schema["properties"]["schema"]["const"] = SCHEMA
    if kind is Measurement:
        schema.update(_MEASUREMENT_RULES)
    for name in ("n", "lasted_s", "at_s", "budget_s"):
        if name in schema["properties"]:
            schema["properties"][name]["minimum"] = 0


def _schema(hint: Any, definitions: dict[str, Json]) -> dict[str, Json]:
    """The schema of one type as the records spell it."""
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if hint is _AnyJson:
        return {}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _define(hint, definitions)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (types.UnionType, typing.Union):
        return _either(arguments, definitions)
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions) or True}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        items: list[Json] = [_schema(one, definitions) for one in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    raise TypeError(f"no schema for the type {hint!r}; teach qualify/schema.py about it")


def _either(arguments: tuple[Any, ...], definitions: dict[str, Json]) -> dict[str, Json]:
    options = [_schema(one, definitions) for one in arguments if one is not type(None)]
    if len(options) == 1 and "type" in options[0]:
        return {**options[0], "type": [options[0]["type"], "null"]}
    return {"anyOf": [*options, {"type": "null"}]}


if __name__ == "__main__":
    sys.stdout.write(dumps())
