"""The protocol's state machine in slices: each walks through some histories, every one from a seed of its own."""

from __future__ import annotations

import traceback

from tests.scheduler.model import walk
from tests.scheduler.model.machine import Protocol

HISTORIES = 250
#: what is kept of a failure: its end says what did not hold
KEPT_CHARS = 4_000


def search(
    first: int, histories: int = HISTORIES, machine: type[Protocol] = Protocol
) -> tuple[dict[str, int], list[str]]:
    """Try so many histories; what was done, and what was found wrong, made small.

    The steps of a history that fails are not counted, and the slice ends with it.
    """
    counts = {"histories": 0, "steps": 0}
    for seed in range(first * histories, (first + 1) * histories):
        history = walk.drawn(seed)
        found = failure(history, machine)
        if found:
            small = walk.smaller(history, lambda tried: bool(failure(tried, machine)))
            told = f"history {seed}: {found[-KEPT_CHARS:]}\nfails as well as\n{small}\nwith\n"
            return counts, [told + failure(small, machine)[-KEPT_CHARS:]]
        counts["histories"] += 1
        counts["steps"] += len(history.steps)
    return counts, []


def failure(history: walk.History, machine: type[Protocol] = Protocol) -> str:
    """How it goes wrong; "" = it does not."""
    try:
        walk.play(history, machine)
    except Exception as error:  # noqa: BLE001 - the rules under test may fail in any way; all of them are findings
        return "".join(traceback.format_exception(error))
    return ""
