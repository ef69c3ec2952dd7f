"""Fragmentation and packing worked out the long way, straight from the definitions: what the quick way is held to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.market.query import parse
from scheduler.placement.demand import Terms
from scheduler.placement.fgd import Ask, Typical
from scheduler.placement.filters import filters, share_price_uh, terms_filters
from scheduler.placement.index import Index
from scheduler.placement.order import in_order
from scheduler.placement.policy import Candidates, policies
from scheduler.records import JobSpec, Resources


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


def choice(index: Index, spec: JobSpec, now_ms: int) -> int | None:
    """The node for a job, every one of them looked at from the beginning."""
    columns = index.live
    price_uh = share_price_uh(columns, spec.resources)
    query = parse(spec.where, index.fields) if spec.where else None
    held = columns.truths("held") & ~columns.truths("retired")
    masks = [one.passes for one in filters(columns, spec, now_ms=now_ms, price_uh=price_uh, query=query)]
    slots = np.flatnonzero(np.logical_and.reduce([held, *masks]))
    if not slots.size:
        return None
    policy = policies()[spec.policy]
    terms = policy.rank(
        Candidates(spec=spec, columns=columns, fields=index.fields, slots=slots, price_uh=price_uh[slots])
    )
    order = in_order(terms, columns.integers("id")[slots]).tolist()
    packing = packings(index, Ask.of(spec.resources), slots.tolist(), now_ms)
    equals = order
    if not policy.packs:
        equals = [place for place in order if all(term.no_worse(float(term.values[order[0]]))[place] for term in terms)]
    best = max(packing[place] for place in equals)
    return int(columns.integers("id")[slots[next(place for place in equals if packing[place] == best)]])


def packings(index: Index, ask: Ask, slots: Sequence[int], now_ms: int) -> list[float]:
    """Points, less the scarcity price, less the larger part that would be left; to a millionth."""
    mix, columns = index.demand.mix, index.live
    patterns = [
        sum(fulfils(index, terms, now_ms)[slot] << bit for bit, terms in enumerate(mix.terms))
        for slot in range(columns.size)
    ]
    scarce = scarce_patterns(index, patterns)
    found: list[float] = []
    for slot in slots:
        free, cpu_free = index.gpus_free_at(slot), int(columns.integers("cpu_milli_free")[slot])
        state = State(tuple(max(milli, 0) for milli in free), cpu_free, patterns[slot])
        score = points(state, ask, mix.typical) if mix.typical else 50
        parts = [(cpu_free - ask.cpu_milli) / max(int(columns.integers("cpu_milli")[slot]), 1)]
        if free:
            parts.append((sum(free) - ask.gpus * ask.each_milli) / (1000 * len(free)))
        micro = int(min(max(*parts, 0.0), 1.0) * 999_999)
        found.append(score * 1_000_000 - 1_000_000 * (bool(ask.gpus) and patterns[slot] in scarce) - micro)
    return found


def scarce_patterns(index: Index, patterns: Sequence[int]) -> set[int]:
    """Kinds of nodes of which fewer GPUs are free than the demand insists on."""
    columns = index.live
    slots = [
        slot for slot in range(columns.size) if columns.truths("held")[slot] and not columns.truths("retired")[slot]
    ]
    whole = {slot: 1000 * int(columns.integers("gpus")[slot]) for slot in slots}
    every = sum(whole.values())
    insisted = dict.fromkeys(patterns, 0.0)
    for bit, part in enumerate(index.demand.mix.gpu_parts):
        able = [slot for slot in slots if patterns[slot] >> bit & 1]
        theirs = sum(whole[slot] for slot in able)
        if 0 < theirs < every:
            for slot in able:
                insisted[patterns[slot]] += whole[slot] / theirs * part * every
    free = {pattern: sum(sum(index.gpus_free_at(s)) for s in slots if patterns[s] == pattern) for pattern in insisted}
    return {pattern for pattern, milli in free.items() if milli < insisted[pattern]}


def fulfils(index: Index, terms: Terms, now_ms: int) -> list[bool]:
    """Of each node, whether jobs of these terms may run there."""
    spec = JobSpec(
        name="",
        command=(),
        image=None if terms.process else "x",
        region=terms.region,
        max_price_uh=terms.max_price_uh,
        resources=terms.priced or Resources(gpu_milli=int(terms.share)),
    )
    columns = index.live
    price_uh = share_price_uh(columns, spec.resources)
    query = parse(terms.where, index.fields) if terms.where else None
    masks = [one.passes for one in terms_filters(columns, spec, now_ms=now_ms, price_uh=price_uh, query=query)]
    held = columns.truths("held") & ~columns.truths("retired")
    return [bool(passes) for passes in np.logical_and.reduce([held, *masks])]
