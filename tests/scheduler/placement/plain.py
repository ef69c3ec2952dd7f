"""Fragmentation and packing worked out the long way, straight from the definitions: what the quick way is held to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.placement.fgd import Ask, Typical


@dataclass(frozen=True)
class State:
    """A node as it stands."""

    free_milli: tuple[int, ...]
    cpu_milli_free: int
    pattern: int = 1


def fragments(state: State, typical: Sequence[Typical]) -> int:
    """Idle thousandths that the usual jobs cannot use, summed by weight."""
    total = 0
    for one in typical:
        able = bool(one.gpus) and bool(state.pattern >> one.terms & 1) and state.cpu_milli_free >= one.cpu_milli
        fits = [milli for milli in state.free_milli if milli >= one.each_milli]
        if able and len(fits) >= one.gpus:
            total += one.weight * sum(milli for milli in state.free_milli if milli < one.each_milli)
        else:
            total += one.weight * sum(state.free_milli)
    return total


def placements(state: State, ask: Ask) -> list[tuple[int, State]]:
    """For each GPU a share could come from: what is left of it, and the node afterwards; else one for all."""
    cpu = state.cpu_milli_free - ask.cpu_milli
    if not ask.is_share:
        left, wanted = list(state.free_milli), ask.gpus
        for gpu, milli in enumerate(left):
            if wanted and milli >= 1000:
                left[gpu], wanted = milli - 1000, wanted - 1
        return [(1000, State(tuple(left), cpu, state.pattern))]
    return [
        (
            milli,
            State((*state.free_milli[:gpu], milli - ask.each_milli, *state.free_milli[gpu + 1 :]), cpu, state.pattern),
        )
        for gpu, milli in enumerate(state.free_milli)
        if milli >= ask.each_milli
    ]


def gradients(state: State, ask: Ask, typical: Sequence[Typical]) -> list[tuple[int, int]]:
    """The same with how much fewer fragments there are afterwards."""
    before = fragments(state, typical)
    return [(milli, before - fragments(after, typical)) for milli, after in placements(state, ask)]


def points(state: State, ask: Ask, typical: Sequence[Typical]) -> int:
    """The best of them as whole points from 0 to 100."""
    best = max(gradient for _, gradient in gradients(state, ask, typical))
    return math.floor(100 / (1 + math.exp(-best / (1000 * sum(one.weight for one in typical)))))
