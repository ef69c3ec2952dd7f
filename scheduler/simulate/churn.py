"""Replays a workload whose jobs depart, under a load that stays the same.

The market begins with jobs that are under way: drawn with a probability that grows with how long they last, each
somewhere within its time, until they ask for the load. From then on jobs come at random (Poisson) at the rate that
keeps the load, leave when their time is over, and are turned away when nothing fits. What counts is the allocated part
of all GPUs, averaged over time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from scheduler.records import Attempt
from scheduler.simulate.market import Market, Workload
from scheduler.simulate.replay import LOADS, Replayed
from scheduler.simulate.trace import TraceError, TracePod


def churn(workload: Workload, seed: int, clock_s: Callable[[], float]) -> Replayed:
    """One seed: each load for itself, for as many arrivals as there are pods.

    Raises:
        TraceError: a pod does not say how long it lasts.
    """
    lacking = sum(pod.lasts_s is None for pod in workload.pods)
    if lacking:
        raise TraceError(
            f"{lacking} of {len(workload.pods)} pods lack creation_time or deletion_time, so none can depart"
        )
    draw = random.Random(seed)  # noqa: S311 - a seed is to give the same order again
    begun_s = clock_s()
    stretches = {load: _Stretch(workload, load * workload.whole_milli / 100, draw) for load in LOADS}
    percents = {load: 100 * stretch.run() / workload.whole_milli for load, stretch in stretches.items()}
    return Replayed(
        seed,
        percents,
        (),
        clock_s() - begun_s,
        sum(stretch.arrived for stretch in stretches.values()),
        sum(stretch.placed for stretch in stretches.values()),
    )


class _Stretch:
    """A market under one load."""

    def __init__(self, workload: Workload, load_milli: float, draw: random.Random) -> None:
        self._market, self._pods, self._draw = Market(workload, draw), workload.pods, draw
        self._load_milli = load_milli
        self._leaving: list[tuple[float, int, Attempt, int]] = []  #: heap: when, token, attempt, GPUs in thousandths
        self._held_milli = 0
        self._at_s = self._area = 0.0
        self.arrived = self.placed = 0

    def run(self) -> float:
        """Thousandths of GPUs held, averaged over time."""
        draw, pods = self._draw, self._pods
        lasting = [pod.lasts_s or 0 for pod in pods]
        cumulated = list(itertools.accumulate(lasting))
        asked_milli = 0
        while asked_milli < self._load_milli:
            (pod,) = draw.choices(pods, cum_weights=cumulated)
            asked_milli += pod.gpu_milli
            self._arrive(pod, draw.random() * (pod.lasts_s or 0))
        milli_s_each = sum(pod.gpu_milli * last for pod, last in zip(pods, lasting, strict=True)) / len(pods)
        for _ in pods:
            self._pass(self._at_s + draw.expovariate(self._load_milli / milli_s_each))
            pod = pods[draw.randrange(len(pods))]
            self._arrive(pod, self._at_s + (pod.lasts_s or 0))
        return self._area / self._at_s

    def _pass(self, until_s: float) -> None:
        """Let time go by; who is done leaves."""
        while self._leaving and self._leaving[0][0] <= until_s:
            at_s, _, attempt, milli = heapq.heappop(self._leaving)
            self._hold(at_s)
            self._held_milli -= milli
            self._market.leave(attempt)
        self._hold(until_s)

    def _hold(self, until_s: float) -> None:
        self._area += self._held_milli * (until_s - self._at_s)
        self._at_s = until_s

    def _arrive(self, pod: TracePod, until_s: float) -> None:
        attempt = self._market.place(pod)
        self.arrived += 1
        if attempt is not None:
            self.placed += 1
            self._held_milli += pod.gpu_milli
            heapq.heappush(self._leaving, (until_s, attempt.token, attempt, pod.gpu_milli))
