"""A benchmark's child in which one case is made slower: each of its calls is followed by a busy wait.

`python -m tests.bench.slow_child KEY RATIO PIPE`: every call of KEY lasts RATIO longer, on the same core, within the
time that is measured; the figure that comes out is true for a machine that is slower by as much.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from kernels.spec import Case, Variant
from kernels.timing import Effort, Figure, Timer
from qualify import child


def slower(call: Callable[[], object], ratio: float) -> Callable[[], object]:
    """`call`, then a wait of `ratio` of what it took."""

    def slow() -> object:
        start = time.perf_counter_ns()
        result = call()
        until = time.perf_counter_ns()
        until += int((until - start) * ratio)
        while time.perf_counter_ns() < until:
            pass
        return result

    return slow


def main(key: str, ratio: float, pipe: str) -> None:
    """Be the child that qualify.run starts, with one case slowed down."""
    names = vars(child)
    honest = names["measure"]

    def measure(case: Case, timer: Timer, effort: Effort, budget_s: float) -> tuple[Figure, ...]:
        if case.key == key:
            case = replace(case, variants=tuple(_slow(variant, ratio) for variant in case.variants))
        figures: tuple[Figure, ...] = honest(case, timer, effort, budget_s)
        return figures

    names["measure"] = measure
    child.main([pipe])


def _slow(variant: Variant, ratio: float) -> Variant:
    if variant.clock is not None:
        clock = variant.clock
        return replace(variant, clock=lambda calls: clock(calls) * (1 + ratio))
    return replace(variant, call=slower(variant.call, ratio))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
