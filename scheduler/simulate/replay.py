"""Replays a workload on an empty market: the published experiment of FGD (Weng et al., USENIX ATC 2023).

Jobs come one at a time in an order that a seed decides, drawn again with replacement after the last, until they ask for
130 % of all GPUs. Each is placed at once or never; none departs. What counts is the part of all GPUs that is allocated
when 100 % and 130 % have been asked for. Nodes are numbered in an order that the seed decides as well, and that order
is what decides between equals. Set-up: https://github.com/hkust-adsl/kubernetes-scheduler-simulator, experiments.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.simulate.market import Market, Workload
from scheduler.simulate.trace import TracePod

#: per cent of all GPUs asked for at which the allocated part is told
LOADS = (100, 130)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one seed."""

    seed: int
    allocated_percent: Mapping[int, float]  #: by load
    curve: tuple[float, ...]  #: allocated per cent when 0, 1, 2 … per cent had been asked for; empty with departures
    seconds: float  #: of the clock, the replay alone
    arrivals: int
    placements: int


@dataclass(slots=True)
class _Tally:
    whole_milli: int
    asked_milli: int = 0
    held_milli: int = 0
    placed: int = 0
    curve: list[float] = field(default_factory=list)

    def note(self, pod: TracePod, *, placed: bool) -> None:
        self.asked_milli += pod.gpu_milli
        if placed:
            self.held_milli += pod.gpu_milli
            self.placed += 1
        while len(self.curve) * self.whole_milli <= self.asked_milli * 100:
            self.curve.append(self.percent)

    @property
    def percent(self) -> float:
        return 100 * self.held_milli / self.whole_milli


def replay(workload: Workload, seed: int, clock_s: Callable[[], float]) -> Replayed:
    """One seed."""
    draw = random.Random(seed)  # noqa: S311 - a seed is to give the same order again
    market = Market(workload, draw)
    coming = list(arrivals(workload.pods, workload.whole_milli, draw))
    tally = _Tally(workload.whole_milli)
    begun_s = clock_s()
    for pod in coming:
        tally.note(pod, placed=market.place(pod) is not None)
    seconds = clock_s() - begun_s
    at_loads = {load: tally.curve[load] for load in LOADS if load < len(tally.curve)}
    percents = {load: at_loads.get(load, tally.percent) for load in LOADS}
    return Replayed(seed, percents, tuple(tally.curve), seconds, len(coming), tally.placed)


def arrivals(pods: Sequence[TracePod], whole_milli: int, draw: random.Random) -> Iterator[TracePod]:
    """Every pod once in random order, then any of them again and again, until 130 % are asked for."""
    yield from draw.sample(list(pods), len(pods))
    asked_milli = sum(pod.gpu_milli for pod in pods)
    while True:
        pod = pods[draw.randrange(len(pods))]
        if (asked_milli + pod.each_milli) * 100 > LOADS[-1] * whole_milli:
            return
        asked_milli += pod.gpu_milli
        yield pod
