"""scheduler.market.parse and syntax: text to tree and back, and what is said of text that is no query."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.market.errors import QueryError
from scheduler.market.parse import MAX_CHARACTERS, MAX_DEPTH, read
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
    walk,
)
from tests.scheduler.market.trees import conditions, trees

#: no text may take longer than this, however it is made; a parse of 2,000 characters takes a few milliseconds
LONGEST_MS = 3000

A, B, C = Name("a"), Name("b"), Name("c")
ONE, TWO = Quantity("1"), Quantity("2")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a and b or c", Or((And((A, B)), C))),
        ("a and (b or c)", And((A, Or((B, C))))),
        ("(a and b) and c", And((A, B, C))),
        ("not a and b", And((Not(A), B))),
        ("NOT a OR b", Or((Not(A), B))),
        (
            "a = 1 + 2 * 3",
            Compare("=", A, Arithmetic("+", Quantity("1"), Arithmetic("*", Quantity("2"), Quantity("3")))),
        ),
        ("a == 1", Compare("=", A, Quantity("1"))),
        (
            "a - 1 - 2 > 0",
            Compare(">", Arithmetic("-", Arithmetic("-", A, Quantity("1")), Quantity("2")), Quantity("0")),
        ),
        ("-a < 2.50 $ / h", Compare("<", Negative(A), Quantity("2.50", "$/h"))),
        ("a >= 600TFLOP/s", Compare(">=", A, Quantity("600", "TFLOP/s"))),
        ("age(a) < 6h", Compare("<", Call("age", A), Quantity("6", "h"))),
        ("100 GB / a > 5 %", Compare(">", Arithmetic("/", Quantity("100", "GB"), A), Quantity("5", "%"))),
        ("a = 8and b", And((Compare("=", A, Quantity("8")), B))),
        ('a in (\'eu\', "u\\"s")', Among(A, (Text("eu"), Text('u"s')))),
        ("a not in (1, -2)", Not(Among(A, (Quantity("1"), Negative(Quantity("2")))))),
        ("a = true", Compare("=", A, Truth(True))),
        ("a ~ 'H100'", Compare("~", A, Text("H100"))),
        ("capability.cpu-inference", Name("capability.cpu-inference")),
        ("m.a - 1", Arithmetic("-", Name("m.a"), Quantity("1"))),
        ("android", Name("android")),
    ],
)
def test_text_becomes_the_tree_it_means(text: str, tree: Expression) -> None:
    """The usual order: not before and before or, products before sums, left before right."""
    assert read(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 0, "empty"),
        ("a <", 3, "ends too early; wanted a number, a text in quotes, a field"),
        ("a and", 5, "ends too early"),
        ("1 < a < 5", 6, "'<' does not fit here; wanted and or or"),
        ("a in ()", 6, "wanted a number or a text in quotes"),
        ("a & b", 2, "did you mean and?"),
        ("price < $2.50", 8, "did you mean 2.50 $/h?"),
        ('gpu = "H100', 6, "has no end"),
        ("a b", 2, "'b' does not fit here"),
        ("(a", 2, "ends too early"),
        ("a)", 1, "')' does not fit here"),
        ("a ? b", 2, "'?' means nothing here"),
    ],
)
def test_an_error_names_the_place_and_what_was_wanted(text: str, position: int, said: str) -> None:
    """Characters are counted from 0 in `position` and from 1 in the sentence."""
    with pytest.raises(QueryError) as caught:
        read(text)

    assert caught.value.position == position
    assert said in str(caught.value)
    assert f"(character {position + 1})" in str(caught.value)


def test_a_text_that_is_too_long_is_refused_unread() -> None:
    """One character less is read."""
    fitting = "a" * MAX_CHARACTERS

    assert read(fitting) == Name(fitting)
    with pytest.raises(QueryError, match="2000 characters at most, found 2001"):
        read(fitting + "a")


@pytest.mark.parametrize("repeated", ["not ", "- ", "("])
def test_nesting_has_a_limit(repeated: str) -> None:
    """What follows a parse may recurse, so a chain of prefixes must not be deeper than it can go; brackets vanish."""
    deep = repeated * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1) * (repeated == "(")

    assert max(depth for _, depth in walk(read(deep))) <= MAX_DEPTH
    if repeated != "(":
        with pytest.raises(QueryError, match="49 deep, 48 are allowed"):
            read(repeated + deep)


def tree_of(text: str) -> Expression | None:
    """What `text` means, or None where it is refused at a place within it; anything else that is raised stands."""
    try:
        return read(text)
    except QueryError as error:
        if not 0 <= error.position <= len(text):
            raise AssertionError(f"{error.position} is not within {text!r}") from error
        return None


WORST = ("not ", "-", "(", "((a)", "a and ", "a+", '"', "\\", "1 ", "1.", "p05(", "a in (1,", "9")


@pytest.mark.parametrize("part", WORST)
def test_the_worst_texts_end_in_a_tree_or_an_error(part: str) -> None:
    """As much of one thing as fits."""
    assert tree_of(part * (MAX_CHARACTERS // len(part))) is None or part == "9"


@settings(max_examples=200, deadline=LONGEST_MS)
@given(trees)
def test_what_is_shown_is_read_as_the_same_tree(tree: Expression) -> None:
    """Brackets are put where they are needed."""
    if max(depth for _, depth in walk(tree)) <= MAX_DEPTH and len(show(tree)) <= MAX_CHARACTERS:
        assert read(show(tree)) == tree


@settings(max_examples=100, deadline=LONGEST_MS)
@given(conditions)
def test_showing_twice_shows_the_same(tree: Expression) -> None:
    """A shown query is in its final form."""
    assert show(read(show(tree))) == show(tree)


_WORDS = [
    "a",
    "matmul.bf16",
    "p05(",
    "(",
    ")",
    ",",
    "and",
    "or",
    "not",
    "in",
    "=",
    "<",
    "~",
    "-",
    "*",
    "1",
    "2.5",
    "GB",
    "$/h",
    "true",
    "%",
    "é",
    "µs",
    "١",
]
_pieces = st.sampled_from([*_WORDS, '"x"', "'", '"', "\\", "\n", "\x00"])
_texts = st.one_of(
    st.text(max_size=60),
    st.lists(_pieces, max_size=25).map(" ".join),
    st.lists(_pieces, max_size=25).map("".join),
)


@settings(max_examples=300, deadline=LONGEST_MS)
@given(_texts)
@example("\ud800")
@example("ı = 1")
def test_any_text_is_a_query_or_an_error(text: str) -> None:
    """Nothing else is ever raised, and the place lies within the text."""
    tree = tree_of(text)

    assert tree is None or read(show(tree)) == tree
