"""Whether a node's devices are as many as it says, by the verdicts of one check."""

from __future__ import annotations

from collections.abc import Sequence

from qualify.proof.count import count
from qualify.proof.verdict import Verdict
from scheduler.records import MarketNode


def too_few(node: MarketNode, verdicts: Sequence[Verdict]) -> str:
    """Why its devices cannot be as many; "" when they can, or when these verdicts do not tell yet.

    A full check of several devices begins with each of them alone; the first run of all is compared with those.
    """
    if len(node.capacity.gpu_milli) < 2:
        return ""
    solos = {next(iter(one.devices)): one for one in verdicts if len(one.devices) == 1}
    joint = next((one for one in verdicts if len(one.devices) > 1), None)
    if joint is None or not solos:
        return ""
    found = count(solos, joint)
    return "" if found.holds else found.why
