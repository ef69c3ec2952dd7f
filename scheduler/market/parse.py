"""Text -> tree: the offers' language read by an LALR(1) parser; every fault is a QueryError with its place."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from scheduler.market.errors import QueryError
from scheduler.market.syntax import (
    Among,
    Arithmetic,
    ArithmeticSign,
    Call,
    Compare,
    CompareSign,
    Expression,
    Name,
    Negative,
    Not,
    Quantity,
    Text,
    Truth,
    conjoin,
    disjoin,
    walk,
)

MAX_CHARACTERS = 2000
MAX_DEPTH = 48  #: of the tree; what follows a parse may recurse
_NUMBER = re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?", re.ASCII)
_ESCAPED = re.compile(r'\\(["\\])')
#: what the parser's words are called in a message
_WORDS = {
    "QUANTITY": "a number",
    "STRING": "a text in quotes",
    "NAME": "a field",
    "TRUTH": "true or false",
    "COMPARE": "a comparison (= != < <= > >= ~)",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": "a comma",
    "IN": "in",
    "_AND": "and",
    "_OR": "or",
}


def read(text: str) -> Expression:
    """The tree of `text`; fields and units are not looked at yet.

    Raises:
        QueryError: it is too long, too deep or no sentence of the language.
    """
    if len(text) > MAX_CHARACTERS:
        raise QueryError(
            f"a query has {MAX_CHARACTERS} characters at most, found {len(text)}; shorten it", position=MAX_CHARACTERS
        )
    if not text.strip():
        raise QueryError("the query is empty; write a condition such as count >= 1", position=0)
    try:
        tree = cast("Expression", _parser().parse(text))
    except UnexpectedInput as error:
        raise _explained(error, text) from None
    deepest = max(walk(tree), key=lambda found: found[1])
    if deepest[1] > MAX_DEPTH:
        raise QueryError(
            f"the query is nested {deepest[1]} deep, {MAX_DEPTH} are allowed; simplify it", position=deepest[0].at
        )
    return tree


@cache
def _parser() -> Lark:
    grammar = resources.files("scheduler.market").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Builder(), maybe_placeholders=False)


class _Builder(Transformer[Token, Expression]):
    """Builds the tree from below while parsing, so that no text is too deep for it."""

    def disjunction(self, parts: list[Expression]) -> Expression:
        return disjoin(tuple(parts))

    def conjunction(self, parts: list[Expression]) -> Expression:
        return conjoin(tuple(parts))

    def negate(self, parts: list[Token | Expression]) -> Expression:
        word, operand = cast("tuple[Token, Expression]", parts)
        return Not(operand, at=_at(word))

    def compare(self, parts: list[Token | Expression]) -> Expression:
        left, sign, right = cast("tuple[Expression, Token, Expression]", parts)
        return Compare(cast("CompareSign", "=" if sign == "==" else str(sign)), left, right, at=_at(sign))

    def among(self, parts: list[Token | Expression]) -> Expression:
        operand, word, *values = cast("tuple[Expression, Token, Expression]", parts)
        return Among(operand, tuple(values), at=_at(word))

    def not_among(self, parts: list[Token | Expression]) -> Expression:
        operand, negation, word, *values = cast("tuple[Expression, Token, Token, Expression]", parts)
        return Not(Among(operand, tuple(values), at=_at(word)), at=_at(negation))

    def arithmetic(self, parts: list[Token | Expression]) -> Expression:
        left, sign, right = cast("tuple[Expression, Token, Expression]", parts)
        return Arithmetic(cast("ArithmeticSign", str(sign)), left, right, at=_at(sign))

    def negative(self, parts: list[Token | Expression]) -> Expression:
        sign, operand = cast("tuple[Token, Expression]", parts)
        return Negative(operand, at=_at(sign))

    def negative_quantity(self, parts: list[Token]) -> Expression:
        return Negative(self.quantity(parts[1:]), at=_at(parts[0]))

    def quantity(self, parts: list[Token]) -> Expression:
        (token,) = parts
        number = _NUMBER.match(token)
        digits = number.group() if number else ""
        return Quantity(digits, "".join(token[len(digits) :].split()), at=_at(token))

    def text(self, parts: list[Token]) -> Expression:
        (token,) = parts
        inner = token[1:-1]
        return Text(_ESCAPED.sub(r"\1", inner) if token[0] == '"' else str(inner), at=_at(token))

    def truth(self, parts: list[Token]) -> Expression:
        return Truth(parts[0].lower() == "true", at=_at(parts[0]))

    def call(self, parts: list[Token | Expression]) -> Expression:
        function, argument = cast("tuple[Token, Expression]", parts)
        return Call(str(function), argument, at=_at(function))

    def name(self, parts: list[Token]) -> Expression:
        return Name(str(parts[0]), at=_at(parts[0]))


def _at(token: Token) -> int:
    return token.start_pos or 0


def _explained(error: UnexpectedInput, text: str) -> QueryError:
    end = len(text.rstrip())
    match error:
        case UnexpectedToken(token=token) if token.type != "$END":
            wanted = _wanted(error.accepts or error.expected)
            return QueryError(f"{str(token)!r} does not fit here; wanted {wanted}", position=token.start_pos or 0)
        case UnexpectedToken() | UnexpectedEOF():
            expected = error.accepts or error.expected if isinstance(error, UnexpectedToken) else error.expected
            return QueryError(f"the query ends too early; wanted {_wanted(expected)}", position=end)
        case UnexpectedCharacters():
            return _unreadable(text, error.pos_in_stream or 0)
        case _:
            return QueryError("this is no query", position=error.pos_in_stream or 0)


def _unreadable(text: str, position: int) -> QueryError:
    character = text[position]
    if character in "\"'":
        return QueryError(f"the text that begins with {character} has no end; close it", position=position)
    if character == "$":
        return QueryError("money is written after its number", position=position, suggestion="2.50 $/h")
    suggestion = {"&": "and", "|": "or", "!": "not"}.get(character)
    return QueryError(f"{character!r} means nothing here", position=position, suggestion=suggestion)


def _wanted(expected: object) -> str:
    found = {str(name) for name in expected} if isinstance(expected, set | frozenset | list | tuple) else set()
    words = [called for name, called in _WORDS.items() if name in found]
    if len(words) > 1:
        return f"{', '.join(words[:-1])} or {words[-1]}"
    return words[0] if words else "something else"
