"""What a query is made of: a tree of frozen records, and the text they are written as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from scheduler.market.units import unit

CompareSign = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
ArithmeticSign = Literal["+", "-", "*", "/"]
FunctionName = Literal["p05", "p95", "age"]


@dataclass(frozen=True, slots=True)
class Node:
    """Anything in the tree; where it stood in the text is no part of what it is."""

    at: int = field(default=0, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Quantity(Node):
    """A number as it was written, and its unit."""

    digits: str
    unit: str = ""

    @property
    def value(self) -> float:
        """In base units, rounded once.

        Raises:
            OverflowError: beyond the range of a float.
        """
        return _in_base_units(self.digits, self.unit)


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A text in quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Truth(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A field."""

    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of a field."""

    function: str
    argument: Expression


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """- x."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """Two numbers, one sign."""

    sign: ArithmeticSign
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """Two values compared."""

    sign: CompareSign
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Among(Node):
    """x in (a, b, …)."""

    operand: Expression
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """Not x."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Node):
    """X and y and …; none of the parts is itself an And."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """X or y or …; none of the parts is itself an Or."""

    parts: tuple[Expression, ...]


Expression = Quantity | Text | Truth | Name | Call | Negative | Arithmetic | Compare | Among | Not | And | Or

#: how tightly each binds; an operand that binds less tightly stands in brackets
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _ATOM = range(8)


@lru_cache(maxsize=4096)
def _in_base_units(digits: str, word: str) -> float:
    return float(Fraction(digits) * unit(word)[0])


def children(node: Expression) -> tuple[Expression, ...]:
    """The parts of a node, from left to right."""
    match node:
        case Call(argument=only) | Negative(operand=only) | Not(operand=only):
            return (only,)
        case Arithmetic(left=left, right=right) | Compare(left=left, right=right):
            return (left, right)
        case Among(operand=operand, values=values):
            return (operand, *values)
        case And(parts=parts) | Or(parts=parts):
            return parts
        case _:
            return ()


def walk(node: Expression) -> Iterator[tuple[Expression, int]]:
    """Every node with its depth, the root at 1; without recursion, for a tree that may be deep."""
    waiting = [(node, 1)]
    while waiting:
        one, depth = waiting.pop()
        yield one, depth
        waiting.extend((child, depth + 1) for child in children(one))


def names(node: Expression) -> frozenset[str]:
    """Every field that a query names."""
    return frozenset(one.name for one, _ in walk(node) if isinstance(one, Name))


def conjuncts(node: Expression) -> tuple[Expression, ...]:
    """The conditions that must all hold."""
    return node.parts if isinstance(node, And) else (node,)


def conjoin(parts: tuple[Expression, ...]) -> Expression:
    """The condition that all of `parts` (one at least) hold; one that is itself a conjunction is taken apart."""
    flat = tuple(inner for part in parts for inner in conjuncts(part))
    return flat[0] if len(flat) == 1 else And(flat)


def disjoin(parts: tuple[Expression, ...]) -> Expression:
    """The condition that one of `parts` (one at least) holds; one that is itself a disjunction is taken apart."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def moved(node: Quantity, *, digits: str) -> Quantity:
    """The same unit with another number."""
    return replace(node, digits=digits)


def show(node: Expression) -> str:
    """The text of a tree; read again it gives the same tree."""
    return _show(node)[0]


def _show(node: Expression) -> tuple[str, int]:
    match node:
        case Quantity() | Text() | Truth() | Name():
            return _leaf(node), _ATOM
        case Call(function=function, argument=argument):
            return f"{function}({show(argument)})", _ATOM
        case Negative(operand=operand):
            return f"-{_within(operand, _SIGN)}", _SIGN
        case Arithmetic(sign=sign, left=left, right=right):
            level = _SUM if sign in "+-" else _PRODUCT
            return f"{_within(left, level)} {sign} {_within(right, level + 1)}", level
        case Compare(sign=sign, left=left, right=right):
            return f"{_within(left, _SUM)} {sign} {_within(right, _SUM)}", _COMPARE
        case Among(operand=operand, values=values):
            return f"{_within(operand, _SUM)} in ({', '.join(show(value) for value in values)})", _COMPARE
        case Not(operand=operand):
            return f"not {_within(operand, _NOT)}", _NOT
        case And(parts=parts):
            return " and ".join(_within(part, _NOT) for part in parts), _AND
        case Or(parts=parts):
            return " or ".join(_within(part, _AND) for part in parts), _OR


def _leaf(node: Quantity | Text | Truth | Name) -> str:
    match node:
        case Quantity(digits=digits, unit=word):
            return f"{digits} {word}" if word else digits
        case Text(value=value):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case Truth(value=truth):
            return "true" if truth else "false"
        case Name(name=name):
            return name


def _within(node: Expression, least: int) -> str:
    text, level = _show(node)
    return text if level >= least else f"({text})"
