"""Why a query finds nothing, or little: what each condition rejects, and the smallest change that finds more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from scheduler.market import units
from scheduler.market.columns import Mask
from scheduler.market.evaluate import Evaluator, Verdicts
from scheduler.market.syntax import Compare, CompareSign, Expression, Name, Quantity, Text, conjuncts, names, show

SIGNIFICANT = 3  #: digits of a suggested bound, unless the bound it replaces has more
MAX_DECIMALS = 15
MAX_RELAXATIONS = 5
_MIRRORED: dict[CompareSign, CompareSign] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """What one condition rejects by itself, whatever the others say."""

    condition: str
    nodes: int
    unknown: int  #: of these, where nothing is known of what it asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """One condition changed, and how many nodes the whole query then finds."""

    before: str
    after: str | None  #: None = left out altogether
    matches: int
    change: float  #: of the bound, relative to itself; infinite where there is no bound to move

    def __str__(self) -> str:
        """`price < 2.50 $/h -> price < 2.61 $/h gives 3 nodes`."""
        into = f"{self.before} -> {self.after}" if self.after is not None else f"without {self.before}"
        return f"{into} gives {_nodes(self.matches)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a query finds what it finds."""

    among: int  #: nodes that were asked
    matches: int
    rejections: tuple[Rejection, ...]  #: in the order of the query
    relaxations: tuple[Relaxation, ...]  #: of one condition each, the smallest change first
    together: tuple[str, ...] = ()  #: where none of these helps: the fewest conditions that all have to give way
    together_matches: int = 0

    def __str__(self) -> str:
        """One sentence: the smallest change, or that one is not enough."""
        if not self.among:
            return "there is no node to ask"
        if self.relaxations:
            return str(self.relaxations[0])
        if self.together:
            conditions = " and ".join(self.together)
            return (
                f"no single change is enough: without {conditions} together {_nodes(self.together_matches)} would match"
            )
        return f"all {_nodes(self.among)} match"


def explain(tree: Expression, evaluator: Evaluator, base_mask: Mask) -> Explanation:
    """What each top-level condition of `tree` rejects of the nodes in `base_mask`, and what to change.

    A relaxation of one condition is exact: the changed text, asked again, finds just so many nodes, and no smaller
    change of a bound (at the digits shown) finds any more than now.
    """
    parts = conjuncts(tree)
    size = evaluator.columns.size
    verdicts = [_spread(evaluator.condition(part), size) for part in parts]
    failing = np.array([~verdict.yes & base_mask for verdict in verdicts])
    failures = failing.sum(axis=0)
    matched = base_mask & (failures == 0)
    rejections = tuple(
        Rejection(condition=show(part), nodes=int(fails.sum()), unknown=int((fails & ~verdict.no).sum()))
        for part, verdict, fails in zip(parts, verdicts, failing, strict=True)
    )
    found = [
        relaxation
        for part, fails in zip(parts, failing, strict=True)
        if (within := fails & (failures == 1)).any()
        and (relaxation := _relaxed(part, evaluator, within, int(matched.sum()))) is not None
    ]
    found.sort(key=lambda relaxation: (relaxation.change, -relaxation.matches))
    together = () if found else _together(parts, failing, failures, base_mask)
    return Explanation(
        among=int(base_mask.sum()),
        matches=int(matched.sum()),
        rejections=rejections,
        relaxations=tuple(found[:MAX_RELAXATIONS]),
        together=together[0] if together else (),
        together_matches=together[1] if together else 0,
    )


def _spread(verdicts: Verdicts, size: int) -> Verdicts:
    return Verdicts(np.broadcast_to(verdicts.yes, size), np.broadcast_to(verdicts.no, size))


def _together(
    parts: Sequence[Expression], failing: Mask, failures: np.ndarray[tuple[int, ...], np.dtype[np.intp]], base: Mask
) -> tuple[tuple[str, ...], int] | tuple[()]:
    """The fewest conditions that keep a node out; of several such sets the one that keeps out most nodes."""
    left = base & (failures > 0)
    if not left.any():
        return ()
    nearest = left & (failures == failures[left].min())
    sets, counts = np.unique(failing[:, nearest], axis=1, return_counts=True)
    best = int(counts.argmax())
    return tuple(show(part) for part, fails in zip(parts, sets[:, best], strict=True) if fails), int(counts[best])


def _relaxed(part: Expression, evaluator: Evaluator, within: Mask, matches: int) -> Relaxation | None:
    """How `part` has to change for at least one of the nodes in `within`, which fail by nothing else."""
    left_out = Relaxation(before=show(part), after=None, matches=matches + int(within.sum()), change=math.inf)
    if not isinstance(part, Compare):
        return left_out
    changed = _other_text(part, evaluator, within) or _other_bound(part, evaluator, within)
    if changed is None:
        return left_out
    after, change = changed
    more = int((np.broadcast_to(evaluator.condition(after).yes, within.shape) & within).sum())
    if not more:
        return left_out
    # what matched before still does: a bound only moved outwards; another text or number leaves those before it
    kept = matches if part.sign in _MIRRORED else 0
    return Relaxation(before=show(part), after=show(after), matches=kept + more, change=change)


def _other_text(part: Compare, evaluator: Evaluator, within: Mask) -> tuple[Compare, float] | None:
    """The text that most of the nodes have instead."""
    if part.sign != "=" or not isinstance(part.left, Name) or not isinstance(part.right, Text):
        return None
    column = evaluator.texts(part.left)
    counts = np.bincount(column.codes[within], minlength=len(column.values))
    counts[0] = 0
    if not counts.any():
        return None
    return replace(part, right=Text(column.values[int(counts.argmax())])), math.inf


def _other_bound(part: Compare, evaluator: Evaluator, within: Mask) -> tuple[Compare, float] | None:
    """The bound moved just far enough."""
    if isinstance(part.right, Quantity) and names(part.left):
        bound, other, sign = part.right, part.left, part.sign
    elif isinstance(part.left, Quantity) and names(part.right):
        bound, other, sign = part.left, part.right, _MIRRORED.get(part.sign, part.sign)
    else:
        return None
    values = np.broadcast_to(evaluator.number(other), within.shape)[within]
    values = values[np.isfinite(values)]
    if not values.size or sign not in ("<", "<=", ">", ">=", "="):
        return None
    old = bound.value
    if sign == "=":
        reached = float(values[np.abs(values - old).argmin()])
    else:
        reached = float(values.min() if sign in ("<", "<=") else values.max())
    digits = _digits(reached, bound, sign)
    if digits is None:
        return None
    moved = replace(bound, digits=digits)
    after = replace(part, right=moved) if bound is part.right else replace(part, left=moved)
    return after, abs(moved.value - old) / abs(old) if old else math.inf


def _digits(reached: float, bound: Quantity, sign: CompareSign) -> str | None:
    """A number in the bound's unit that just lets `reached` in, as short as the bound was or of three digits."""
    worth = units.unit(bound.unit)[0]
    exact = Fraction(reached) / worth
    magnitude = _magnitude(exact)
    if exact < 0 or abs(magnitude) > MAX_DECIMALS:
        return None
    upwards = sign in ("<", "<=")
    written = bound.digits.lower().partition("e")[0].partition(".")[2]
    decimals = min(MAX_DECIMALS, max(len(written), SIGNIFICANT - 1 - magnitude))
    if sign == "=":
        decimals = MAX_DECIMALS
    elif not bound.unit and exact.denominator == 1:  # things are counted: more than 7, not more than 7.99
        decimals = len(written)
    step = Fraction(1, 10**decimals)
    steps = round(exact / step) if sign == "=" else math.ceil(exact / step) if upwards else math.floor(exact / step)
    for _ in range(2):  # a strict bound may need one more step
        digits = _plain(steps, decimals, keep=len(written))
        value = replace(bound, digits=digits).value
        if _holds(sign, reached, value):
            return digits
        steps += 1 if upwards else -1
        if steps < 0:
            return None
    return None


def _magnitude(exact: Fraction) -> int:
    """The power of ten of its first digit; 0 for 0."""
    if not exact:
        return 0
    above = len(str(abs(exact.numerator))) - len(str(exact.denominator))
    return above if abs(exact) >= Fraction(10) ** above else above - 1


def _holds(sign: CompareSign, value: float, bound: float) -> bool:
    match sign:
        case "<":
            return value < bound
        case "<=":
            return value <= bound
        case ">":
            return value > bound
        case ">=":
            return value >= bound
        case _:
            return value == bound


def _plain(steps: int, decimals: int, *, keep: int) -> str:
    """`steps` of 10^-decimals without an exponent; zeros at the end go, down to `keep` decimals."""
    whole, part = divmod(steps, 10**decimals)
    digits = f"{part:0{decimals}d}" if decimals else ""
    while len(digits) > keep and digits.endswith("0"):
        digits = digits[:-1]
    return f"{whole}.{digits}" if digits else str(whole)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
