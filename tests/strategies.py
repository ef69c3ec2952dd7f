"""Arbitrary records for property tests, built from the records' own type hints."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from hypothesis import strategies as st

from qualify import records
from qualify.records import Measurement, Report

WHOLE = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
#: a sample that is its own rounding: mantissa of 7 digits
SAMPLES = st.tuples(st.integers(-9_999_999, 9_999_999), st.integers(-20, 20)).map(
    lambda pair: float(f"{pair[0]}e{pair[1]}")
)


class AnyJson:
    """Stands for Json in hints."""


def of_hint(hint: Any) -> st.SearchStrategy[Any]:
    """Values of the type, as the records' hints spell it."""
    simple = {
        str: TEXT,
        int: WHOLE,
        float: NUMBERS,
        bool: st.booleans(),
        AnyJson: JSON,
        type(None): st.none(),
        object: JSON,
    }
    if hint in simple:
        return simple[hint]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return of_record(hint)
    if isinstance(hint, type) and issubclass(hint, enum.IntEnum):
        return st.sampled_from(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([of_hint(one) for one in arguments])
    if origin is Mapping:
        return st.dictionaries(TEXT, of_hint(arguments[1]), max_size=2)
    assert origin is tuple
    if arguments[-1] is Ellipsis:
        return st.lists(of_hint(arguments[0]), max_size=2).map(tuple)
    return st.tuples(*[of_hint(one) for one in arguments])


def of_record(kind: type) -> st.SearchStrategy[Any]:
    """Records of `kind` with every field filled."""
    hints = typing.get_type_hints(kind, localns={"Json": AnyJson})
    fields = {name: of_hint(hint) for name, hint in hints.items()}
    if "samples" in fields:
        fields["samples"] = st.lists(SAMPLES, max_size=3).map(tuple)
    if kind is Report:
        fields["schema"] = st.just(records.SCHEMA)
    if kind is not Measurement:
        return st.builds(kind, **fields)
    measured = {**fields, "status": st.just("ok"), "value": NUMBERS}
    missing = {
        **fields,
        "status": st.sampled_from(["skipped", "failed"]),
        "value": st.none(),
        "reason": TEXT.filter(bool),
    }
    return st.builds(kind, **measured) | st.builds(kind, **missing)
