"""All nodes for a shape of jobs, best first by its policy's terms, and of those that fit now the one to take.

Nodes are known here by their place in that order. Those that are as good as the best that fits, by what the policy
tolerates, lie close behind it: they are looked for from there to where the first term ends to be as good, and only they
are packed. A policy that packs first has all nodes for as good.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.market.columns import Mask
from scheduler.placement.packing import LEAST
from scheduler.placement.peaks import OUT, Peaks
from scheduler.placement.policy import Term
from scheduler.told import number, quoted

Slots = NDArray[np.intp]
#: ranks of nodes are told apart by so many bits, below those of the packing
RANK_BITS = 32
MOST_RANK = (1 << RANK_BITS) - 1


class Packed(NamedTuple):
    """A node, and how well the job packs onto it."""

    slot: int
    score: int  #: see packing.py


class Order:
    """For one shape, until a term of a node changes; for the book's thread only."""

    def __init__(
        self,
        terms: tuple[Term, ...],
        slots: Slots,
        ids: NDArray[np.int64],
        *,
        packs: bool,
        scores: Callable[[Slots], NDArray[np.int64]],
        score_at: Callable[[int], int],
    ) -> None:
        """None of them fits before `fit_all` says so.

        Args:
            terms: of the nodes at `slots`, in their order.
            slots: places in the index of the nodes there are.
            ids: of every node of the index.
            packs: how well a job packs decides before the terms.
            scores: how well it packs onto nodes, which must fit; by their slots.
            score_at: onto one.
        """
        best_first = in_order(terms, ids[slots])
        self._slots = slots[best_first]
        self._terms = tuple(_at(term, best_first) for term in terms)
        self._keys = _keys(self._terms[0]) if terms else np.zeros(slots.size)
        self._place_of = np.full(ids.size, -1, dtype=np.int64)
        self._place_of[self._slots] = np.arange(slots.size)
        self._packs, self._scores, self._score_at = packs, scores, score_at
        self._fits: Mask = np.zeros(slots.size, dtype=np.bool_)
        self._front: int | None = None  #: the first that fits; None = to be looked for
        self._told: dict[int, str] = {}  #: terms as people see them, by slot
        #: of the equals: after which node they are such, where they begin and end, which they are, how they pack
        self._leader: int | None = None
        self._from = self._to = 0
        self._equal: Mask = np.zeros(0, dtype=np.bool_)
        self._group: Peaks | None = None  #: None = the leader stands alone

    def has(self, slots: Slots, terms: tuple[Term, ...]) -> bool:
        """Whether these nodes, all of which are in the order, have these very terms."""
        places = self._place_of[slots]
        return bool((places >= 0).all()) and all(
            np.array_equal(known.values[places], fresh.values, equal_nan=True)
            for known, fresh in zip(self._terms, terms, strict=True)
        )

    def fit_all(self, fitting: Mask) -> None:
        """Which nodes of the index fit, and that they may pack otherwise than before."""
        self._fits = fitting[self._slots]
        self._front = self._leader = self._group = None

    def fit_one(self, slot: int, fits: bool) -> None:
        """One node fits or does not, and may pack otherwise than before."""
        place = self._place_of.item(slot)
        if place < 0:
            return
        self._fits[place] = fits
        if self._front is not None and (place < self._front if fits else place == self._front):
            self._front = place if fits else None
        group = self._group
        if group is not None and self._from <= place < self._to and self._equal[place - self._from]:
            packed = self._packed(place, self._score_at(slot)) if fits else OUT
            group.put_one(place - self._from, packed)

    def fit_some(self, slots: Slots, fits: Mask) -> None:
        """Some nodes, likewise."""
        places = self._place_of[slots]
        places, fits = places[places >= 0], fits[places >= 0]
        self._fits[places] = fits
        self._front = None
        if self._group is None:
            return
        inside = (places >= self._from) & (places < self._to)
        places, fits = places[inside], fits[inside] & self._equal[places[inside] - self._from]
        self._group.put(places - self._from, self._packed_all(places, fits))

    def best(self) -> tuple[Packed, Packed | None]:
        """The node to take, and the next.

        Raises:
            ValueError: none fits.
        """
        front = self._first()
        self._gather(front)
        group = self._group
        first = front if group is None else group.first()
        if first is None or not self._fits.item(front):
            raise ValueError("the best of nodes was asked for where none fits")
        if group is None:
            return self._packed_at(front), self._next_but(front, front)
        second = group.second(first)
        best = self._in_group(group, first)
        if second is not None:
            return best, self._in_group(group, second)
        return best, self._next_but(front, self._from + first)

    def terms_at(self, slot: int) -> str:
        """A node's, by name, as the inside of a JSON object; null is unknown."""
        told = self._told.get(slot)
        if told is None:
            place = self._place_of.item(slot)
            terms = (f"{quoted(term.name)}:{number(term.values.item(place))}" for term in self._terms)
            told = self._told[slot] = ",".join(terms)
        return told

    def _packed_at(self, place: int) -> Packed:
        slot = self._slots.item(place)
        return Packed(slot, self._score_at(slot))

    def _in_group(self, group: Peaks, place: int) -> Packed:
        return Packed(self._slots.item(self._from + place), (group.values.item(place) >> RANK_BITS) + LEAST)

    def _first(self) -> int:
        if self._front is None:
            self._front = int(self._fits.argmax())
        return self._front

    def _next_but(self, front: int, taken: int) -> Packed | None:
        """The first in the order that fits and is not taken."""
        if front != taken:
            return self._packed_at(front)
        rest = self._fits[front + 1 :]
        after = int(rest.argmax()) if rest.size else 0
        return self._packed_at(front + 1 + after) if rest.size and rest.item(after) else None

    def _gather(self, front: int) -> None:
        """Find the nodes that are worse than the first that fits in none of the terms by more than it tolerates."""
        if front == self._leader or (self._leader is not None and self._is_like(front, self._leader)):
            return
        self._leader = front
        if self._packs:
            self._from, self._to = 0, self._slots.size
            self._equal = np.ones(self._to, dtype=np.bool_)
        else:
            self._from, self._to = front, self._end_of_equals(front)
            if self._to - front == 1:  # of distinct prices every one stands alone
                self._group = None
                return
            self._equal = np.ones(self._to - self._from, dtype=np.bool_)
            for term in self._terms:
                self._equal &= _at(term, slice(self._from, self._to)).no_worse(term.values.item(front))
        places = np.arange(self._from, self._to)
        self._group = Peaks(self._packed_all(places, self._fits[self._from : self._to] & self._equal))

    def _is_like(self, front: int, leader: int) -> bool:
        """Whether the equals of one are those of the other, which for a policy that packs they always are."""
        if self._packs:
            return True
        if front < self._from:
            return False
        pairs = ((term.values.item(front), term.values.item(leader)) for term in self._terms)
        return all(one == other or (one != one and other != other) for one, other in pairs)  # NaN is like NaN

    def _end_of_equals(self, front: int) -> int:
        """Where the first term begins to be worse than that of `front` by more than it tolerates."""
        if not self._terms or math.isnan(value := self._terms[0].values.item(front)):
            return self._slots.size
        term = self._terms[0]
        bound = -term.bound(value) if term.more_is_better else term.bound(value)
        if front + 1 == self._keys.size or self._keys.item(front + 1) > bound:
            return front + 1
        return int(self._keys.searchsorted(bound, "right"))

    def _packed(self, place: int, score: int) -> int:
        """The packing above, the place in the order below."""
        return ((score - LEAST) << RANK_BITS) + MOST_RANK - place

    def _packed_all(self, places: Slots, fits: Mask) -> NDArray[np.int64]:
        packed = np.full(places.size, OUT, dtype=np.int64)
        if fits.any():
            fitting = places[fits]
            packed[fits] = ((self._scores(self._slots[fitting]) - LEAST) << RANK_BITS) + MOST_RANK - fitting
        return packed


def in_order(terms: tuple[Term, ...], ids: NDArray[np.generic]) -> Slots:
    """Places from best to worst: by each term in turn, unknown last, then the lowest node number."""
    return np.lexsort([ids, *(_keys(term) for term in reversed(terms))])


def _keys(term: Term) -> NDArray[np.float64]:
    """Numbers of which the lowest is the best."""
    values = term.values.astype(np.float64)
    return np.where(np.isnan(values), np.inf, -values if term.more_is_better else values)


def _at(term: Term, places: Slots | slice) -> Term:
    """A term of some nodes."""
    values = term.values[places].astype(np.float64)
    return Term(term.name, values, more_is_better=term.more_is_better, tolerance=term.tolerance)
