"""Which benchmarks a run makes and how many seconds each may take."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kernels.device import Device
from kernels.spec import Bench, Profile

BUDGET_S: dict[Profile, float] = {"quick": 45.0, "standard": 300.0, "deep": 1200.0}
#: measuring again what missed a limit: part of the budget kept for it
REPEAT_PART = 0.10
#: the probe, the gates and writing the report
OVERHEAD_S = 1.5
#: below this a benchmark cannot take the samples an interval needs
MIN_MEASURING_S = 0.5
#: a budget larger than the profile asks for lengthens each benchmark at most this much
MAX_STRETCH = 4.0


class PlanError(ValueError):
    """What was asked for cannot be planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One benchmark's place in a run."""

    bench: Bench
    keys: tuple[str, ...]  #: that it will be asked for
    seconds: float  #: wall, process start included


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run, decided beforehand."""

    device: Device
    profile: Profile
    budget_s: float
    slots: tuple[Slot, ...]
    waived: Mapping[str, str]  #: key or bench -> why this kind of device has no such figure
    required: frozenset[str]  #: keys without which nothing can be said of the node


def choose_keys(benches: Mapping[str, Bench], device: Device, wanted: Sequence[str]) -> frozenset[str]:
    """The keys that `wanted` names: keys as they are, a bench's name for all of its keys; empty = every key.

    Raises:
        PlanError: a name is unknown (with the nearest one), or this kind of device has no such figure.
    """
    known = {key: bench for bench in benches.values() for key in bench.keys.get(device.kind, ())}
    chosen: set[str] = set()
    for name in wanted:
        bench = benches.get(name) or benches.get(name.partition(".")[0])
        if name in known:
            chosen.add(name)
        elif name in benches and name not in known and benches[name].keys.get(device.kind):
            chosen.update(benches[name].keys[device.kind])
        elif bench and device.kind in bench.waived and not bench.keys.get(device.kind):
            raise PlanError(f"{name} is not measured on a {device.kind}: {bench.waived[device.kind]}")
        else:
            raise PlanError(f"unknown key {name!r}{_suggest(name, (*known, *benches))}")
    return frozenset(chosen)


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


def make(
    benches: Mapping[str, Bench],
    device: Device,
    *,
    profile: Profile,
    budget_s: float | None = None,
    only: Sequence[str] = (),
) -> Plan:
    """The plan of a run on `device`.

    Each benchmark gets what it asks for in the profile, all scaled by one factor when the budget is another; a part
    is kept back for measuring again what misses a limit.

    Raises:
        PlanError: an unknown key, or a budget too short for what was asked.
    """
    budget = BUDGET_S[profile] if budget_s is None else budget_s
    keys = choose_keys(benches, device, only)
    asked = [bench for bench in benches.values() if _runs(bench, device, profile, keys)]
    floor = OVERHEAD_S + sum(bench.startup_s + MIN_MEASURING_S for bench in asked)
    if not budget >= floor:
        names = ", ".join(bench.name for bench in asked)
        raise PlanError(
            f"a budget of {budget:g} s is too short for {names}: they need {math.ceil(floor)} s; "
            "raise --budget or use --only"
        )
    slots = _slots(asked, device, profile, keys, (budget - OVERHEAD_S) * (1 - REPEAT_PART))
    waived = {} if keys else {name: why for b in benches.values() for name, why in _waived(b, device)}
    required = frozenset(key for slot in slots for key in slot.keys)
    return Plan(device=device, profile=profile, budget_s=budget, slots=slots, waived=waived, required=required)


def _runs(bench: Bench, device: Device, profile: Profile, keys: frozenset[str]) -> bool:
    if device.kind not in bench.open:
        return False
    if keys:
        return bool(keys & set(bench.keys[device.kind]))
    return profile in bench.seconds


def _waived(bench: Bench, device: Device) -> list[tuple[str, str]]:
    if device.kind not in bench.waived:
        return []
    elsewhere = [key for kind, keys in bench.keys.items() if kind != device.kind for key in keys]
    return [(key, bench.waived[device.kind]) for key in elsewhere or [bench.name]]


def _slots(
    asked: Sequence[Bench], device: Device, profile: Profile, keys: frozenset[str], seconds: float
) -> tuple[Slot, ...]:
    wished = {bench.name: _wish(bench, profile, device, keys) for bench in asked}
    startups = sum(bench.startup_s for bench in asked)
    measuring = sum(wished.values())
    factor = min(MAX_STRETCH, max(0.0, seconds - startups) / measuring) if measuring else 1.0
    return tuple(
        Slot(
            bench=bench,
            keys=tuple(key for key in bench.keys[device.kind] if not keys or key in keys),
            seconds=bench.startup_s + wished[bench.name] * factor,
        )
        # the short ones first: what they do not use of their time goes to the long ones
        for bench in sorted(asked, key=lambda bench: wished[bench.name])
    )


def _wish(bench: Bench, profile: Profile, device: Device, keys: frozenset[str]) -> float:
    """Seconds of measuring that a bench asks for, in proportion to the keys wanted of it."""
    asked = bench.seconds.get(profile) or max(bench.seconds.values(), default=bench.startup_s + 5.0)
    every = bench.keys[device.kind]
    part = len(keys & set(every)) / len(every) if keys else 1.0
    return max(MIN_MEASURING_S, (asked - bench.startup_s) * part)
