"""What jobs ask for these days: a sliding window of requests, from which the usual ones are taken.

The window lives in memory: it is filled again from the jobs of the book when the server starts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from scheduler.placement.fgd import Ask, Typical
from scheduler.records import JobSpec, Resources

#: after as long a request counts half
HALF_LIFE_MS = 7 * 24 * 3600 * 1000
#: the most frequent requests that together are this part of all stand for all, as in FGD's evaluation
TYPICAL_PART = 0.95
MAX_TYPICAL = 128
#: different terms that are told apart, the ones with the most GPUs; each is a bit in a node's pattern
MAX_TERMS = 62
MAX_REQUESTS = 4096
#: the mix is drawn up again when so much of the window is new
NEW_PART = 0.1
#: one that differs by no more than this part from the mix in use is not put in its place: that costs every score kept,
#: which at 100,000 nodes stops placing for a tenth of a second and more
SAME_PART = 0.02
#: what the weights of the typical requests add up to, nearly
WEIGHT = 1_000_000

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Terms:
    """Which nodes a job will have, whatever is free on them."""

    where: str
    region: str | None
    process: bool  #: it runs without a container
    share: bool  #: it wants a part of a GPU
    max_price_uh: int | None
    priced: Resources | None  #: with a highest price: what the price is for

    @classmethod
    def of(cls, spec: JobSpec) -> Terms:
        """Of a job."""
        return cls(
            where=spec.where.strip(),
            region=spec.region,
            process=spec.image is None,
            share=spec.resources.gpu_milli > 0,
            max_price_uh=spec.max_price_uh,
            priced=None if spec.max_price_uh is None else spec.resources,
        )


@dataclass(frozen=True, slots=True)
class Mix:
    """The usual requests."""

    typical: tuple[Typical, ...]
    terms: tuple[Terms, ...]  #: what Typical.terms counts through
    gpu_parts: tuple[float, ...]  #: of all GPUs asked for, the part that jobs of these terms ask for


EMPTY = Mix((), (), ())


class Demand:
    """Requests by how often they came; older ones fade."""

    def __init__(self) -> None:
        self.mix = EMPTY
        self._weights: dict[tuple[Ask, Terms], float] = {}
        self._origin_ms: int | None = None
        self._total = self._new = 0.0

    def note(self, spec: JobSpec, at_ms: int) -> None:
        """A job was asked for."""
        weight = self._weight(at_ms)
        key = (Ask.of(spec.resources), Terms.of(spec))
        self._weights[key] = self._weights.get(key, 0.0) + weight
        self._total += weight
        self._new += weight
        if len(self._weights) > MAX_REQUESTS:
            self._drop_rare()

    def forget(self, spec: JobSpec, at_ms: int) -> None:
        """It was not, after all."""
        weight = self._weight(at_ms)
        key = (Ask.of(spec.resources), Terms.of(spec))
        left = self._weights.pop(key, 0.0) - weight
        if left > 0:
            self._weights[key] = left
        self._total = max(self._total - weight, 0.0)

    def refresh(self) -> bool:
        """Draw up the mix again if enough is new; whether it has become another."""
        if self._new <= NEW_PART * self._total or not self._weights:
            return False
        self._new = 0.0
        drawn = self._drawn_up()
        if _distance(self.mix, drawn) <= SAME_PART:
            return False
        self.mix = drawn
        return True

    def _weight(self, at_ms: int) -> float:
        """More the later, so that nothing that was noted need be touched again."""
        if self._origin_ms is None:
            self._origin_ms = at_ms
        halves = (at_ms - self._origin_ms) / HALF_LIFE_MS
        if abs(halves) > 500:  # floats end at 2^1023
            self._weights = {key: math.ldexp(weight, -round(halves)) for key, weight in self._weights.items()}
            self._total, self._new = math.ldexp(self._total, -round(halves)), math.ldexp(self._new, -round(halves))
            self._origin_ms, halves = at_ms, 0.0
        return float(2.0**halves)

    def _drop_rare(self) -> None:
        kept = sorted(self._weights.items(), key=lambda item: -item[1])[: MAX_REQUESTS // 2]
        self._weights = dict(kept)
        self._total = math.fsum(self._weights.values())

    def _drawn_up(self) -> Mix:
        ranked = sorted(self._weights.items(), key=lambda item: (-item[1], repr(item[0])))
        total = math.fsum(self._weights.values())
        milli: dict[Terms, float] = {}
        for (ask, terms), weight in ranked:
            milli[terms] = milli.get(terms, 0.0) + ask.gpus * ask.each_milli * weight
        terms_told = sorted(milli, key=lambda terms: (-milli[terms], repr(terms)))[:MAX_TERMS]
        bit = {terms: place for place, terms in enumerate(terms_told)}
        chosen, held = [], 0.0
        for (ask, terms), weight in ranked[:MAX_TYPICAL]:
            if terms in bit:
                chosen.append((ask, bit[terms], weight))
            held += weight
            if held >= TYPICAL_PART * total:
                break
        all_chosen = math.fsum(weight for _, _, weight in chosen)
        all_milli = math.fsum(milli.values())
        return Mix(
            typical=tuple(
                Typical(
                    gpus=ask.gpus,
                    each_milli=ask.each_milli,
                    cpu_milli=ask.cpu_milli,
                    terms=place,
                    weight=max(1, round(weight / all_chosen * WEIGHT)),
                )
                for ask, place, weight in chosen
            ),
            terms=tuple(terms_told),
            gpu_parts=tuple(milli[terms] / all_milli if all_milli else 0.0 for terms in terms_told),
        )


def _distance(one: Mix, other: Mix) -> float:
    """How much of the requests, or of the GPUs they ask for, would have to be others to make one mix of the other."""
    parts = [
        {
            (typical.gpus, typical.each_milli, typical.cpu_milli, mix.terms[typical.terms]): typical.weight / WEIGHT
            for typical in mix.typical
        }
        for mix in (one, other)
    ]
    gpus = [dict(zip(mix.terms, mix.gpu_parts, strict=True)) for mix in (one, other)]
    return max(_apart(*parts), _apart(*gpus))


def _apart(one: Mapping[K, float], other: Mapping[K, float]) -> float:
    """Half the sum of the differences (total variation distance)."""
    return sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in {*one, *other}) / 2
