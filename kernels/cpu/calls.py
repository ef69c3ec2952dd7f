"""The smallest compiled call there is: what remains of its time is the dispatch."""

from __future__ import annotations

from kernels.cpu.native import compiled


@compiled()
def successor(number: int) -> int:
    """One more than `number`."""
    return number + 1
