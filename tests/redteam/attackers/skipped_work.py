"""Work that is left out: rows, segments, or all but what was done before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kernels.chain.arithmetic import replay
from kernels.chain.derive import Order, States
from kernels.chain.params import Params
from tests.redteam.attack import Attack, ends
from tests.redteam.bout import Bout
from tests.redteam.hardware import H100, Card, Pace, side_by_side
from tests.redteam.rogue import Rogue

#: checked by one short chain: what is left out is the same in all kinds
ONE_CHAIN = replace(H100, bf16_flops=0.0, memory_bytes=0)


class SkipsRows(Rogue):
    """Leaves a part of the rows of every segment as they were."""

    def __init__(self, part: float) -> None:
        self.part, self.draw = part, random.Random(5)

    def work(self, states: States, order: Order, rounds: range) -> States:
        after = super().work(states, order, rounds)
        for unit in range(self.params.units):
            if self.draw.random() < self.part:
                after[unit] = states[unit]
        return after


class SkipsSegments(SkipsRows):
    """Leaves whole segments as they were."""

    def work(self, states: States, order: Order, rounds: range) -> States:
        return (
            states
            if self.segments and self.draw.random() < self.part
            else super(SkipsRows, self).work(states, order, rounds)
        )


def quicker(part: float) -> Pace:
    """An H100 that does the rest only."""
    return lambda params, _: H100.seconds(params) * (1 - part)


def _rows(part: float) -> Attack:
    def run(bout: Bout) -> str:
        bout.line.claim(ONE_CHAIN, 1)
        return bout.check(quicker(part), lambda: SkipsRows(part))

    certain = part >= 0.1
    return Attack(
        name=f"skipped-rows-{part:.0%}",
        against="Prime Intellect's gpu-challenge, which passed with half of its rows wrong",
        does=f"leaves {part:.0%} of all rows as they were, which {(1 - part) ** 64:.2%} of checks by 64 openings miss",
        run=run,
        ends=ends("cheat_proven")
        if part == 0.5
        else ends("cheat_proven", "hardware_corruption", *(() if certain else ("pass",))),
        why="" if not certain else "do not lead",
        truth=H100.proves(),
        gains=0.0 if certain else part / (1 - part),
    )


def _segments(bout: Bout) -> str:
    bout.line.claim(ONE_CHAIN, 1)
    return bout.check(quicker(0.25), lambda: SkipsSegments(0.25))


class Stands(Rogue):
    """Computes one segment and commits to it again and again."""

    def work(self, states: States, order: Order, rounds: range) -> States:
        return states if self.segments else super().work(states, order, rounds)


def _stands(bout: Bout) -> str:
    def pace(params: Params, _: int) -> float:
        return H100.seconds(params) / 2

    bout.line.claim(ONE_CHAIN, 1)
    return bout.check(pace, Stands)


class LiesOnce(Rogue):
    """Makes all rows one in the first segment, and from then on works out one and says that the others are like it."""

    def work(self, states: States, order: Order, rounds: range) -> States:
        one = replay(self.params, states[:1], order, rounds, self.tiles, units=[0])
        return np.repeat(one, self.params.units, axis=0)


class LiesOnceInMemory(LiesOnce):
    """The same with chains through the memory; products are computed as they should be."""

    def work(self, states: States, order: Order, rounds: range) -> States:
        if self.params.kind == "compute":
            return Rogue.work(self, states, order, rounds)
        return super().work(states, order, rounds)


def _over(engine: type[Rogue], card: Card = ONE_CHAIN) -> Callable[[Bout], str]:
    def run(bout: Bout) -> str:
        bout.line.claim(card, 1)
        return bout.check(quicker(0.5), engine)

    return run


def _honest(bout: Bout) -> str:
    bout.line.claim(H100, 1)
    return bout.check(side_by_side(H100))


ATTACKS = (
    *map(_rows, (0.01, 0.05, 0.1, 0.5)),
    Attack(
        name="skipped-segments",
        against="proofs that draw rows of the last result only",
        does="leaves a quarter of the segments as they were",
        run=_segments,
        ends=ends("cheat_proven"),
        why="do not lead",
        truth=H100.proves(),
    ),
    Attack(
        name="one-segment-for-all",
        against="answer banks whose seeds come again",
        does="computes the first segment and commits to its result in every other",
        run=_stands,
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
    Attack(
        name="lies-once",
        against="rows that all go through the same rounds, ours before each had a key of its own",
        does="makes all rows equal once; were they to stay so, one would do for all, and nothing else be a lie",
        run=_over(LiesOnce),
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
    Attack(
        name="lies-once-and-reads-once",
        against="pools that all chains read at the same place: ours before each row had a key of its own",
        does="makes all chains of the memory equal once, so that they would read the same tile for ever",
        run=_over(LiesOnceInMemory, replace(H100, bf16_flops=0.0)),
        ends=ends("cheat_proven"),
        truth=H100.proves(),
    ),
    Attack(
        name="honest",
        against="nobody: what an honest node comes to by the same road, lest all be refused",
        does="answers all of a check truly",
        run=_honest,
        ends=ends("pass"),
        truth=H100.proves(),
    ),
)
