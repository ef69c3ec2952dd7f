"""The offers' language: typed fields and units, `and or not ( )`, comparisons, arithmetic, `in`, p05, p95 and age.

    gpu = "H100 SXM" and count >= 8 and p05(matmul.bf16) >= 600 TFLOP/s and age(memory.triad) < 6h and price < 2.50 $/h

- Fields are those of `Fields`; `~` looks for a text in a text, and texts are compared without regard to case.
- Every number has a dimension; what has none in common is neither compared nor added. Money is $, a price $/h.
- p05(x) is a figure's pessimistic end: the low end of its 95 % interval, or for times and losses, where less is better,
  the high end. p95(x) is the other end. age(x) is how long ago x was measured.
- What is unknown never matches, under `not` neither (three-valued logic, see evaluate.py).
- A minus after a name with a point wants a space before it: capability.cpu-inference is one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scheduler.market.check import check, check_condition
from scheduler.market.columns import Columns, Mask, Part
from scheduler.market.errors import QueryError
from scheduler.market.evaluate import Evaluator, columns_of, is_aging
from scheduler.market.explain import Explanation, explain
from scheduler.market.fields import Fields
from scheduler.market.parse import read
from scheduler.market.syntax import And, Expression, Name, Negative, names, show

#: queries that are kept as read; people and scripts ask the same ones again and again
REMEMBERED = 1024
#: queries of which it is kept where their conditions hold, a byte per condition and node
KEPT = 64
#: those that are left are asked apart from all others when they are fewer than one in so many
FEWER = 4

__all__ = ["Explanation", "Query", "QueryError", "Sorting", "parse", "parse_sorting"]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A condition on nodes, checked."""

    tree: Expression
    fields: Fields
    names: frozenset[str]  #: the fields it names
    columns: frozenset[str]  #: what an answer needs

    def mask(self, columns: Columns, now_ms: int) -> Mask:
        """Where it certainly holds."""
        found = Evaluator(columns, self.fields, now_ms).condition(self.tree).yes
        return np.broadcast_to(found, columns.size)

    def among(self, columns: Columns, base: Mask, now_ms: int) -> NDArray[np.intp]:
        """The places of `base` where it certainly holds; once few are left, only these are asked the rest."""
        evaluator, rest = Evaluator(columns, self.fields, now_ms), list[Expression]()
        for condition in _conditions(self):
            if (known := condition.known(evaluator)) is None:
                rest.append(condition.tree)
            else:
                base = base & known
        slots: NDArray[np.intp] | None = None
        for part in rest:
            if np.count_nonzero(base) * FEWER < base.size:
                left = np.flatnonzero(base)
                slots = left if slots is None else slots[left]
                columns, base = Part(columns, left), np.ones(left.size, dtype=np.bool_)
            base = base & Evaluator(columns, self.fields, now_ms).condition(part).yes
        left = np.flatnonzero(base)
        return left if slots is None else slots[left]

    def explain(self, columns: Columns, now_ms: int, base_mask: Mask) -> Explanation:
        """Which of its conditions rejects how many of the nodes in `base_mask`, and the smallest way out."""
        return explain(self.tree, Evaluator(columns, self.fields, now_ms), base_mask)

    def __str__(self) -> str:
        """The query as text."""
        return show(self.tree)


class _Condition:
    """One of those that all have to hold, and where it does, kept while nothing changes that it names."""

    def __init__(self, tree: Expression, fields: Fields) -> None:
        self.tree = tree
        self._columns = None if is_aging(tree, fields) else tuple(columns_of(tree, fields))
        self._known: tuple[object, Mask | None] = (None, None)  #: replaced as a whole: any thread may ask

    def known(self, evaluator: Evaluator) -> Mask | None:
        """Where it certainly holds; None when its columns are not as they were the last time: they may never be."""
        if self._columns is None or (state := evaluator.columns.state(self._columns)) is None:
            return None
        before, mask = self._known
        if before != state:
            self._known = (state, None)
            return None
        if mask is None:
            mask = evaluator.condition(self.tree).yes
            self._known = (state, mask)
        return mask


@lru_cache(maxsize=KEPT)
def _conditions(query: Query) -> tuple[_Condition, ...]:
    parts = query.tree.parts if isinstance(query.tree, And) else (query.tree,)
    return tuple(_Condition(part, query.fields) for part in parts)


@dataclass(frozen=True, slots=True, eq=False)
class Sorting:
    """What nodes are sorted by: a number or a text, the lowest first unless it descends."""

    tree: Expression
    fields: Fields
    names: frozenset[str]  #: the fields it names
    columns: frozenset[str]  #: what it needs
    is_text: bool
    descends: bool

    def keys(self, columns: Columns, now_ms: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """A number per node, NaN where it is unknown; of a text its rank among the words, which else are empty."""
        evaluator = Evaluator(columns, self.fields, now_ms)
        if not (self.is_text and isinstance(self.tree, Name)):
            return np.broadcast_to(evaluator.number(self.tree), columns.size), ()
        texts = evaluator.texts(self.tree)
        words = tuple(sorted({word for word in texts.values if word}))
        rank_of = {word: rank for rank, word in enumerate(words)}
        ranks = np.array([rank_of.get(word, np.nan) for word in texts.values], dtype=np.float64)
        return ranks[texts.codes], words


@lru_cache(maxsize=REMEMBERED)
def parse(text: str, fields: Fields) -> Query:
    """Read a query; the same one is read once, however many pages are asked of it.

    Raises:
        QueryError: what is wrong, where, and what was probably meant; nothing else is ever raised.
    """
    tree = read(text)
    check_condition(tree, fields)
    return Query(tree, fields, names(tree), columns_of(tree, fields))


@lru_cache(maxsize=REMEMBERED)
def parse_sorting(text: str, fields: Fields) -> Sorting:
    """Read what to sort by: a field, any number such as price / count, or either behind a minus, the highest first.

    Raises:
        QueryError: what is wrong, where, and what was probably meant.
    """
    tree = read(text)
    descends = isinstance(tree, Negative)
    inner = tree.operand if isinstance(tree, Negative) else tree
    kind = check(inner, fields).kind
    if kind == "truth" or (kind == "text" and not isinstance(inner, Name)):
        raise QueryError("wanted a field or a number to sort by, such as price or -p05(matmul.fp32)", position=inner.at)
    return Sorting(inner, fields, names(inner), columns_of(inner, fields), is_text=kind == "text", descends=descends)
