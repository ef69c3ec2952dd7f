"""A random walk over the same rules and invariants as hypothesis takes, many times faster and made small by ourselves.

A history is drawn as a whole from one seed, so that the seed alone shows again what it showed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.scheduler.model.draws import values
from tests.scheduler.model.machine import BEGIN, EVENTS, Protocol

STEPS = 40
#: of each rule, drawn anew for each history: a history without a rule, or with much of it, goes where one that has a
#: little of everything does not (Groce et al., "Swarm Testing", 2012)
WEIGHTS = (0, 1, 1, 4)


@dataclass(frozen=True)
class Step:
    """One rule and its arguments."""

    rule: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"machine.{self.rule}({told})"


@dataclass(frozen=True)
class History:
    """What happens, from the first moment on."""

    begin: Step
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, (self.begin, *self.steps)))


def drawn(seed: int, steps: int = STEPS) -> History:
    """The history of a seed."""
    random = Random(seed)
    begin = Step("begin", values(BEGIN, random))
    weights = [random.choice(WEIGHTS) for _ in EVENTS]
    if not any(weights):
        weights = [1] * len(EVENTS)
    rules = random.choices([*EVENTS], weights, k=steps)
    return History(begin, tuple(Step(rule, values(EVENTS[rule], random)) for rule in rules))


def play(history: History, machine: type[Protocol] = Protocol) -> None:
    """Let it happen, and look at the invariants after each step; an AssertionError says what does not hold."""
    played = machine()
    for step in (history.begin, *history.steps):
        getattr(played, step.rule)(**step.arguments)
        played.memory_is_what_was_committed()
    played.teardown()


def smaller(history: History, fails: Callable[[History], bool]) -> History:
    """The same without every step that it fails without as well, and with as little time between them."""
    steps = _fewer(history.steps, lambda kept: fails(replace(history, steps=tuple(kept))))
    for place, step in enumerate(steps):
        for then_ms in (0, 250, 1_000, 4_000):
            sooner = replace(step, arguments={**step.arguments, "then_ms": then_ms})
            tried = [*steps[:place], sooner, *steps[place + 1 :]]
            if then_ms < step.arguments["then_ms"] and fails(replace(history, steps=tuple(tried))):
                steps = tried
                break
    return replace(history, steps=tuple(steps))


def _fewer(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """Leave out halves, quarters, … and single steps, as long as it still fails."""
    kept, size = [*steps], len(steps)
    while size:
        place = 0
        while place < len(kept):
            without = [*kept[:place], *kept[place + size :]]
            if fails(without):
                kept = without
            else:
                place += size
        size //= 2
    return kept
