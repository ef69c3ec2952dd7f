"""A tree asked of all nodes at once: numpy masks in three-valued logic, never `eval`.

Every condition gives two masks: where it certainly holds and where it certainly does not. Where a figure is unknown it
is in neither, and stays in neither under `not`; `and` and `or` follow Kleene's strong logic, so `unknown or true` holds
and `unknown and false` does not. A query matches where it certainly holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Columns, Mask, Texts
from scheduler.market.fields import HIGH, LOW, REPORTED_MS, STALE_AFTER_MS, Field, Fields
from scheduler.market.syntax import (
    Among,
    And,
    Arithmetic,
    Call,
    Compare,
    CompareSign,
    Expression,
    Name,
    Negative,
    Not,
    Or,
    Quantity,
    Text,
    Truth,
    names,
    walk,
)

Values = NDArray[np.float64]
MS_PER_S = 1000.0


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Where a condition holds and where it does not; unknown is neither. Of one place when it names no field."""

    yes: Mask
    no: Mask

    def __invert__(self) -> Verdicts:
        """The opposite; what is unknown stays unknown."""
        return Verdicts(self.no, self.yes)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Answers for one state of the market. Only trees that passed the check may be asked."""

    columns: Columns
    fields: Fields
    now_ms: int

    def condition(self, node: Expression) -> Verdicts:
        """Where a condition holds and where it does not."""
        match node:
            case Truth(value=value):
                return Verdicts(np.array([value]), np.array([not value]))
            case Name(name=name):
                truths = self._truths(self.fields[name])
                return Verdicts(truths, ~truths)
            case Not(operand=operand):
                return ~self.condition(operand)
            case And(parts=parts):
                return _all([self.condition(part) for part in parts])
            case Or(parts=parts):
                return ~_all([~self.condition(part) for part in parts])
            case Among(operand=operand, values=values):
                return ~_all([~self._compare("=", operand, value) for value in values])
            case Compare(sign=sign, left=left, right=right):
                return self._compare(sign, left, right)
            case _:
                raise TypeError(f"{type(node).__name__} is no condition")

    def number(self, node: Expression) -> Values:
        """A number in base units per node, or of one place when it names no field; NaN = unknown."""
        match node:
            case Quantity():
                return np.array([node.value])
            case Name(name=name):
                field = self.fields[name]
                return self._scaled(field.column, field.scale)
            case Call(function=function, argument=Name(name=name)):
                return self._call(function, self.fields[name])
            case Negative(operand=operand):
                return -self.number(operand)
            case Arithmetic(sign=sign, left=left, right=right):
                return _arithmetic(sign, self.number(left), self.number(right))
            case _:
                raise TypeError(f"{type(node).__name__} is no number")

    def texts(self, node: Name) -> Texts:
        """The column of a field that is a text."""
        return self.columns.texts(self.fields[node.name].column)

    def _scaled(self, column: str, scale: float) -> Values:
        values = self.columns.numbers(column).astype(np.float64, copy=False)
        # a division is rounded once: 1500 thousandths are 1.5, and so is the 1.5 of a query
        return values if scale == 1 else values / round(1 / scale)

    def _call(self, function: str, field: Field) -> Values:
        if function == "age":
            measured = self.columns.numbers(field.at_ms or REPORTED_MS)
            return (self.now_ms - measured.astype(np.float64, copy=False)) / MS_PER_S
        pessimistic = function == "p05"
        end = HIGH if pessimistic == field.less_is_better else LOW
        return self._scaled(f"{field.column}{end}", field.scale)

    def _truths(self, field: Field) -> Mask:
        if field.column != "fresh":
            return self.columns.truths(field.column)
        # NaN, never measured, compares as false: such a node is not fresh
        fresh: Mask = self.now_ms - self.columns.numbers(REPORTED_MS) <= STALE_AFTER_MS
        return fresh

    def _compare(self, sign: CompareSign, left: Expression, right: Expression) -> Verdicts:
        if isinstance(left, Text) or isinstance(right, Text):
            return self._compare_text(sign, left, right)
        if self._is_truth(left):
            return _same(self.condition(left), self.condition(right), wanted=sign == "=")
        return _compare_numbers(sign, self.number(left), self.number(right))

    def _compare_text(self, sign: CompareSign, left: Expression, right: Expression) -> Verdicts:
        name, text = (right, left) if isinstance(left, Text) else (left, right)
        if not isinstance(name, Name) or not isinstance(text, Text):
            raise TypeError("a text is compared with a field")
        column, wanted = self.texts(name), text.value.casefold()
        if sign == "~":
            codes = [code for code, value in enumerate(column.folded) if wanted in value]
        else:
            codes = [code for code, value in enumerate(column.folded) if wanted == value]
        known, found = column.codes != 0, column.holding(codes)
        verdicts = Verdicts(found & known, ~found & known)
        return ~verdicts if sign == "!=" else verdicts

    def _is_truth(self, node: Expression) -> bool:
        if isinstance(node, Name):
            return self.fields[node.name].kind == "truth"
        return isinstance(node, Truth | Not | And | Or | Compare | Among)


def columns_of(tree: Expression, fields: Fields) -> frozenset[str]:
    """The columns that an answer needs."""
    found = set()
    for name in names(tree):
        field = fields[name]
        found.add(REPORTED_MS if field.column == "fresh" else field.column)
    for node, _ in walk(tree):
        if isinstance(node, Call) and isinstance(node.argument, Name):
            field = fields[node.argument.name]
            if node.function == "age":
                found.add(field.at_ms or REPORTED_MS)
            else:
                found.update((f"{field.column}{LOW}", f"{field.column}{HIGH}"))
    return frozenset(found)


def is_aging(tree: Expression, fields: Fields) -> bool:
    """Whether time alone may change the answer."""
    ages = any(isinstance(node, Call) and node.function == "age" for node, _ in walk(tree))
    return ages or any(fields[name].column == "fresh" for name in names(tree))


def _all(parts: list[Verdicts]) -> Verdicts:
    yes, no = parts[0].yes, parts[0].no
    for part in parts[1:]:
        yes, no = yes & part.yes, no | part.no
    return Verdicts(yes, no)


def _same(left: Verdicts, right: Verdicts, *, wanted: bool) -> Verdicts:
    same = Verdicts((left.yes & right.yes) | (left.no & right.no), (left.yes & right.no) | (left.no & right.yes))
    return same if wanted else ~same


def _compare_numbers(sign: CompareSign, left: Values, right: Values) -> Verdicts:
    # every comparison with NaN is false, so both masks of a pair leave the unknown out
    match sign:
        case "<":
            return Verdicts(left < right, left >= right)
        case "<=":
            return Verdicts(left <= right, left > right)
        case ">":
            return Verdicts(left > right, left <= right)
        case ">=":
            return Verdicts(left >= right, left < right)
        case _:
            equal = Verdicts(left == right, (left < right) | (left > right))
            return ~equal if sign == "!=" else equal


def _arithmetic(sign: str, left: Values, right: Values) -> Values:
    with np.errstate(all="ignore"):
        match sign:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case _:  # nothing can be said of what is divided by zero
                return np.where(right == 0, np.nan, left / right)
