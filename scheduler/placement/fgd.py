"""Fragmentation: how much of what is idle the usual jobs could not use, and what a placement adds to it.

The measure and the score are those of FGD (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with
Fragmentation Gradient Descent", USENIX ATC 2023). A job drawn from the usual mix finds on a node some idle GPUs it
cannot use: all of them when the node lacks what it asks for, else those with less left than it needs of each. The mean
of that over the mix is the node's fragmentation; a job goes where it adds least.

All weights are whole numbers, so that equal nodes score exactly alike: ties are what keeps jobs together, and a last
digit that differs would break them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.leftovers import NO_GPU, Leftovers, Rows
from scheduler.records import Resources

WHOLE_MILLI = 1000
#: points at no change, and the largest: a score is a whole number of points, as published, so that near-equals tie
EVEN_POINTS, MOST_POINTS = 50, 100
#: thousandths of a GPU over which the score goes from 50 to 73 points
SLOPE_MILLI = 1000
#: the score is 100 / (1 + exp(-x)), rounded down: these are the x at which it reaches 1, 2 … 99
STEPS = np.array([math.log(point / (MOST_POINTS - point)) for point in range(1, MOST_POINTS)])
#: scores that are remembered, for each ask, and asks
MAX_REMEMBERED = 1 << 14
MAX_ASKS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """What many jobs ask for."""

    gpus: int  #: 0 = none
    each_milli: int  #: of each of them
    cpu_milli: int
    terms: int  #: which of the window's terms it insists on (bit in a node's pattern)
    weight: int  #: part of the jobs, in any unit


class Ask(NamedTuple):
    """The part of a job's resources that fragmentation depends on."""

    gpus: int
    each_milli: int
    cpu_milli: int

    @classmethod
    def of(cls, resources: Resources) -> Ask:
        """Of a job."""
        gpus = resources.gpus or int(resources.gpu_milli > 0)
        return cls(gpus, (resources.gpu_milli or WHOLE_MILLI) if gpus else 0, resources.cpu_milli)

    @property
    def is_share(self) -> bool:
        """Whether it is a part of one GPU."""
        return 0 < self.each_milli < WHOLE_MILLI


@dataclass(frozen=True, slots=True)
class Places:
    """Nodes to be scored, as arrays of one length."""

    leftover: Rows  #: code of what is left of the GPUs
    kind: Rows  #: place of the node's pattern among the patterns
    cpu_milli_free: Rows


class Known:
    """Scores that were worked out, by key; looking up many at once is one search."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, dtype=np.int64)
        self._scores = np.zeros(0, dtype=np.int64)

    def scores(self, keys: Rows, work_out: Callable[[Rows], Rows]) -> Rows:
        """Of each key; those that are not known are worked out, each once."""
        places = self._keys.searchsorted(keys)
        if self._keys.size:
            new = self._keys.take(places, mode="clip") != keys
            if not new.any():
                return self._scores[places]
            fresh = np.unique(keys[new])
        else:
            fresh = np.unique(keys)
        if self._keys.size + fresh.size > MAX_REMEMBERED:
            fresh = np.unique(keys)
            self._keys = self._scores = np.zeros(0, dtype=np.int64)
        at = self._keys.searchsorted(fresh) + np.arange(fresh.size)
        old = np.ones(self._keys.size + fresh.size, dtype=np.bool_)
        old[at] = False
        self._keys, self._scores = (
            _merged(old, at, values, new) for values, new in ((self._keys, fresh), (self._scores, work_out(fresh)))
        )
        return self._scores[self._keys.searchsorted(keys)]


def _merged(old: NDArray[np.bool_], at: NDArray[np.intp], values: Rows, new: Rows) -> Rows:
    """`values` where `old`, `new` at the places `at`."""
    found = np.empty(old.size, dtype=np.int64)
    found[old], found[at] = values, new
    return found


class Fragments:
    """Scores for one mix of typical jobs and some patterns of terms that nodes fulfil."""

    def __init__(self, typical: Sequence[Typical], patterns: Sequence[int], leftovers: Leftovers) -> None:
        """Prepare.

        Args:
            typical: the mix; an empty one makes every score even.
            patterns: of each kind of node, a bit per term it fulfils.
        """
        self._leftovers = leftovers
        self._total = sum(one.weight for one in typical)
        with_gpus = [one for one in typical if one.gpus]
        sizes = sorted({(one.gpus, one.each_milli) for one in with_gpus})
        self._wanted = np.array([gpus for gpus, _ in sizes], dtype=np.int64)
        self._each = np.array([each for _, each in sizes], dtype=np.int64)
        #: CPUs at which one more typical job fits
        self._steps = np.array(sorted({one.cpu_milli for one in with_gpus}), dtype=np.int64)
        self._usable = self._weights(with_gpus, sizes, patterns)
        self._useless = self._total - self._usable.sum(axis=1)
        amounts = np.arange(WHOLE_MILLI + 1)[:, None]
        self._fits_in = (amounts >= self._each).astype(np.int64)  #: [milli left of a GPU, size]
        self._lost_in = np.where(amounts < self._each, amounts, 0)
        self._rows = 0
        self._fits = self._lost = np.zeros((0, len(sizes)), dtype=np.int64)
        self._idle = np.zeros(0, dtype=np.int64)
        self._step_list: list[int] = self._steps.tolist()
        self._steps_to_room = self._steps.size + 1
        self._rooms = self._useless.size
        self._known: dict[Ask, Known] = {}
        self._known_one: dict[Ask, dict[int, int]] = {}

    def _weights(self, typical: Sequence[Typical], sizes: list[tuple[int, int]], patterns: Sequence[int]) -> Rows:
        """Shape (kinds x CPU steps, sizes): the weight of the jobs of a size that may use such a node."""
        steps = self._steps.size + 1
        weights = np.zeros((max(len(patterns), 1) * steps, len(sizes)), dtype=np.int64)
        for kind, pattern in enumerate(patterns):
            for one in typical:
                if pattern >> one.terms & 1:
                    least = kind * steps + int(np.searchsorted(self._steps, one.cpu_milli)) + 1
                    weights[least : (kind + 1) * steps, sizes.index((one.gpus, one.each_milli))] += one.weight
        return weights

    def points(self, ask: Ask, places: Places) -> Rows:
        """The score of each place for `ask`: 0 to 100, 50 where nothing changes, more where fragments are used up.

        Only places on which it fits have a meaningful one.
        """
        if not self._total:
            return np.full(places.leftover.size, EVEN_POINTS, dtype=np.int64)
        self._follow()
        before = self._room(places.kind, places.cpu_milli_free)
        after = self._room(places.kind, places.cpu_milli_free - ask.cpu_milli)
        keys = (places.leftover * self._rooms + before) * self._rooms + after
        known = self._known.get(ask)
        if known is None:
            if len(self._known) >= MAX_ASKS:
                self._known.clear()
            known = self._known[ask] = Known()
        return known.scores(keys, lambda new: self._score(ask, *self._taken_apart(new)))

    def points_at(self, ask: Ask, leftover: int, kind: int, cpu_milli_free: int) -> int:
        """The same for one place, without arrays."""
        base = kind * self._steps_to_room
        before = base + bisect_right(self._step_list, cpu_milli_free)
        after = base + bisect_right(self._step_list, cpu_milli_free - ask.cpu_milli)
        key = (leftover * self._rooms + before) * self._rooms + after
        known = self._known_one.get(ask)
        if known is None:
            if len(self._known_one) >= MAX_ASKS:
                self._known_one.clear()
            known = self._known_one[ask] = {}
        score = known.get(key)
        if score is None:
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            place = Places(np.array([leftover]), np.array([kind]), np.array([cpu_milli_free]))
            score = known[key] = int(self.points(ask, place)[0])
        return score

    def gpu_milli_to_take(self, ask: Ask, place: Places) -> int:
        """Of one place and a share: what is left of the GPU to take it from; among equals the fullest."""
        self._follow()
        before = self._room(place.kind, place.cpu_milli_free)
        after = self._room(place.kind, place.cpu_milli_free - ask.cpu_milli)
        milli, _, gradient = self._gradients(ask, place.leftover, before, after)
        return int(milli[np.argmax(gradient)])

    def _room(self, kind: Rows, cpu_milli_free: Rows) -> Rows:
        """The row of `_usable` for such a node with that many CPUs free."""
        found: Rows = kind * self._steps_to_room + self._steps.searchsorted(cpu_milli_free, "right")
        return found

    def _taken_apart(self, keys: Rows) -> tuple[Rows, Rows, Rows]:
        """Leftover, and the rooms before and after, of which a key was made."""
        rest, after = np.divmod(keys, self._rooms)
        leftover, before = np.divmod(rest, self._rooms)
        return leftover, before, after

    def _follow(self) -> None:
        """Count for every state of GPUs that is new: which sizes fit how often, and what is too small for them."""
        rows = len(self._leftovers)
        if rows == self._rows:
            return
        milli = self._leftovers.milli[self._rows :, :, None]
        idle = np.maximum(milli, 0)
        self._fits = np.concatenate((self._fits, (milli >= self._each).sum(axis=1)))
        self._lost = np.concatenate((self._lost, np.where(milli < self._each, idle, 0).sum(axis=1)))
        self._idle = np.concatenate((self._idle, idle.sum(axis=(1, 2))))
        self._rows = rows

    def _fragments(self, fits: Rows, lost: Rows, idle: Rows, room: Rows) -> Rows:
        """Idle thousandths that a job cannot use, summed over the mix by weight."""
        unusable = np.where(fits >= self._wanted, lost, idle[:, None])
        found: Rows = (unusable * self._usable[room]).sum(axis=1) + self._useless[room] * idle
        return found

    def _score(self, ask: Ask, leftover: Rows, before: Rows, after: Rows) -> Rows:
        if ask.is_share:
            _, owner, gradient = self._gradients(ask, leftover, before, after)
            best = np.full(leftover.size, np.iinfo(np.int64).min)
            np.maximum.at(best, owner, gradient)
        else:
            best = self._fragments(self._fits[leftover], self._lost[leftover], self._idle[leftover], before)
            taken = ask.gpus * WHOLE_MILLI
            best -= self._fragments(
                self._fits[leftover] - ask.gpus, self._lost[leftover], self._idle[leftover] - taken, after
            )
        return STEPS.searchsorted(best / (self._total * SLOPE_MILLI), "right")

    def _gradients(
        self, ask: Ask, leftover: Rows, before: Rows, after: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.intp], Rows]:
        """For every place and GPU that a share fits on: what is left of the GPU, which place, and the fragments saved.

        GPUs of a node with the same left are tried once, the fullest first.
        """
        milli = self._leftovers.milli[leftover]
        new = np.ones(milli.shape, dtype=np.bool_)
        new[:, 1:] = milli[:, 1:] != milli[:, :-1]
        owner, gpu = np.nonzero(new & (milli >= ask.each_milli) & (milli != NO_GPU))
        had = np.minimum(milli[owner, gpu], WHOLE_MILLI)
        left = had - ask.each_milli
        rows = leftover[owner]
        fits = self._fits[rows] - self._fits_in[had] + self._fits_in[left]
        lost = self._lost[rows] - self._lost_in[had] + self._lost_in[left]
        idle = self._idle[rows] - ask.each_milli
        old = self._fragments(self._fits[leftover], self._lost[leftover], self._idle[leftover], before)
        return had, owner, old[owner] - self._fragments(fits, lost, idle, after[owner])
