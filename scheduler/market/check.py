"""Whether a tree makes sense: fields known, like compared with like, conditions where conditions are wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scheduler.market import units
from scheduler.market.errors import QueryError
from scheduler.market.fields import FUNCTIONS, Field, Fields, Kind
from scheduler.market.syntax import (
    Among,
    And,
    Arithmetic,
    Call,
    Compare,
    Expression,
    Name,
    Negative,
    Not,
    Or,
    Quantity,
    Text,
    Truth,
    show,
)
from scheduler.market.units import PURE, Dimension

#: of a number's exponent; with more, working it out would take for ever
EXPONENT_DIGITS = 3
_CALLED = {"number": "a number", "text": "a text", "truth": "a condition"}


@dataclass(frozen=True, slots=True)
class Type:
    """What an expression gives."""

    kind: Kind
    dimension: Dimension | None = PURE  #: of a number; None = not known yet, fits any


def check(tree: Expression, fields: Fields) -> Type:
    """What `tree` gives.

    Raises:
        QueryError: an unknown field, function or unit, or things that do not go together.
    """
    match tree:
        case Quantity():
            return _quantity(tree)
        case Text():
            return Type("text")
        case Name():
            field = _field(tree, fields)
            return Type(field.kind, field.dimension)
        case Call():
            return _call(tree, fields)
        case Negative(operand=operand):
            return _wanted(operand, "number", fields)
        case Arithmetic():
            return _arithmetic(tree, fields)
        case _:
            _condition(tree, fields)
            return Type("truth")


def check_condition(tree: Expression, fields: Fields) -> None:
    """Raise QueryError unless `tree` is a condition."""
    _wanted(tree, "truth", fields)


def _condition(tree: Truth | Compare | Among | Not | And | Or, fields: Fields) -> None:
    match tree:
        case Truth():
            pass
        case Compare():
            _compare(tree, fields)
        case Among():
            for value in tree.values:
                _compare(Compare("=", tree.operand, value, at=tree.at), fields)
        case Not(operand=operand):
            _wanted(operand, "truth", fields)
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                _wanted(part, "truth", fields)


def _quantity(node: Quantity) -> Type:
    try:
        dimension = units.unit(node.unit)[1]
        exponent = node.digits.lower().partition("e")[2].lstrip("+-0")
        if len(exponent) > EXPONENT_DIGITS or not math.isfinite(node.value):
            raise OverflowError
    except units.UnknownUnitError as error:
        place = node.at + len(node.digits)
        raise QueryError(str(error), position=place, suggestion=error.suggestion) from None
    except OverflowError:
        raise QueryError(f"{show(node)} is beyond what a number can be", position=node.at) from None
    return Type("number", dimension)


def _field(node: Name, fields: Fields) -> Field:
    if node.name not in fields:
        raise QueryError(f"unknown field {node.name!r}", position=node.at, suggestion=fields.nearest(node.name))
    return fields[node.name]


def _call(node: Call, fields: Fields) -> Type:
    if node.function not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise QueryError(f"unknown function {node.function!r}; there are {known}", position=node.at)
    argument = node.argument
    if not isinstance(argument, Name):
        message = f"{node.function} is asked of a figure such as matmul.bf16, not of {show(argument)}"
        raise QueryError(message, position=argument.at)
    field = _field(argument, fields)
    if node.function == "age":
        if field.at_ms is None:
            raise QueryError(f"{field.name} is not measured, so it has no age", position=argument.at)
        return Type("number", units.TIME)
    if not field.is_figure:
        raise QueryError(f"{field.name} has no interval; {node.function} is for figures", position=argument.at)
    return Type("number", field.dimension)


def _arithmetic(node: Arithmetic, fields: Fields) -> Type:
    left, right = (_wanted(side, "number", fields).dimension for side in (node.left, node.right))
    if node.sign in ("*", "/"):
        if left is None or right is None:
            return Type("number", None)
        return Type("number", units.times(left, right) if node.sign == "*" else units.over_(left, right))
    _same_dimension(node, left, right, "added" if node.sign == "+" else "subtracted")
    return Type("number", left if left is not None else right)


def _compare(node: Compare, fields: Fields) -> None:
    left, right = check(node.left, fields), check(node.right, fields)
    if node.sign == "~" and left.kind != "text":
        raise QueryError(f"~ looks for a text in a text; {show(node.left)} is {_CALLED[left.kind]}", position=node.at)
    if left.kind != right.kind:
        sides = f"{show(node.left)} is {_CALLED[left.kind]}, {show(node.right)} {_CALLED[right.kind]}"
        raise QueryError(f"{sides}: they cannot be compared", position=node.at)
    if left.kind == "number":
        _same_dimension(node, left.dimension, right.dimension, "compared")
    elif node.sign not in ("=", "!=", "~"):
        message = f"{_CALLED[left.kind]} is compared by = or !=, not by {node.sign}"
        raise QueryError(message, position=node.at)
    elif left.kind == "text" and isinstance(node.left, Text) == isinstance(node.right, Text):
        raise QueryError("a field is compared with a text in quotes", position=node.at)
    elif node.sign == "~" and not isinstance(node.right, Text):
        raise QueryError(f'the text to look for stands on the right: {show(node.right)} ~ "…"', position=node.at)


def _same_dimension(node: Arithmetic | Compare, left: Dimension | None, right: Dimension | None, what: str) -> None:
    if left is None or right is None or left == right:
        return
    sides = f"{show(node.left)} is {units.called(left)}, {show(node.right)} is {units.called(right)}"
    raise QueryError(f"{sides}: they cannot be {what}", position=node.at, suggestion=_with_unit(node, left, right))


def _with_unit(node: Arithmetic | Compare, left: Dimension, right: Dimension) -> str | None:
    """The side that lacks a unit with one; None when both have one."""
    for side, own, other in ((node.left, left, right), (node.right, right, left)):
        if isinstance(side, Quantity) and own == PURE and not side.unit and units.usual(other):
            return f"{side.digits} {units.usual(other)}"
    return None


def _wanted(node: Expression, kind: Kind, fields: Fields) -> Type:
    found = check(node, fields)
    if found.kind != kind:
        wanted = "a condition such as count >= 1" if kind == "truth" else _CALLED[kind]
        raise QueryError(f"wanted {wanted}, found {show(node)}, which is {_CALLED[found.kind]}", position=node.at)
    return found
