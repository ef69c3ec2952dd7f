"""How long to wait before a server that is away is tried again."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.25
LONGEST_S = 20.0


def pauses(random: Callable[[], float]) -> Callable[[], float]:
    """A series of pauses, in seconds: doubled each time, half of it by chance, so that a fleet does not return at once.

    Args:
        random: uniform in [0, 1).
    """
    step = 0

    def pause() -> float:
        nonlocal step
        longest = min(LONGEST_S, FIRST_S * float(2**step))
        step = min(step + 1, 16)
        return longest * (0.5 + 0.5 * random())

    return pause
