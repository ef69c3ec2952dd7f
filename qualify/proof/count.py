"""How many devices there are: one that plays several is slower when all of them have to work at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qualify.proof.verdict import BANDWIDTH, BF16, INT8, Verdict

#: the same work may take a device so many times longer beside its neighbours than alone: shared power, heat and hosts
MOST_RATIO = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Whether the devices of a node are as many as it says."""

    holds: bool
    ratios: Mapping[int, float]  #: by device: seconds of the same work beside all others / alone
    why: str  #: a sentence; empty when it holds


def count(solos: Mapping[int, Verdict], joint: Verdict) -> Count:
    """Compare each device alone with all together, by whichever rate both prove.

    A ratio near 2 means one device under two names. No absolute deadline could tell that: a quick card serves two
    slow claims one after the other.

    Args:
        solos: by device, of a run of it alone; without one for each device of the joint run nothing holds.
        joint: of the run of all.
    """
    ratios: dict[int, float] = {}
    for device, figures in joint.devices.items():
        alone = solos[device].devices.get(device, {}) if device in solos else {}
        key = next((key for key in (INT8, BF16, BANDWIDTH) if key in figures and key in alone), None)
        if key is None or figures[key].value <= 0:
            return Count(
                holds=False, ratios=ratios, why=f"device {device} has no rate both alone and beside the others"
            )
        ratios[device] = alone[key].value / figures[key].value
    if not ratios:
        return Count(holds=False, ratios=ratios, why="the run of all devices together proved no rate")
    slowest = max(ratios, key=lambda device: ratios[device])
    if ratios[slowest] > MOST_RATIO:
        why = f"device {slowest} takes {ratios[slowest]:.2f} times as long beside the others, {MOST_RATIO} at most"
        return Count(holds=False, ratios=ratios, why=why)
    return Count(holds=True, ratios=ratios, why="")
