"""An empty market of a trace's nodes: the book's rows, and the index and the placer that follow them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scheduler.book import Book
from scheduler.clock import Now
from scheduler.lifecycle import AttemptState, Standing
from scheduler.placement.index import Index
from scheduler.placement.place import IndexPlacer
from scheduler.records import MIB, Attempt, Capacity, JobSpec, MarketNode, Resources
from scheduler.simulate.trace import TraceNode, TracePod

NOW = Now(mono_ms=0, unix_ms=0)
WHOLE_MILLI = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is replayed."""

    nodes: Sequence[TraceNode]  #: by name
    pods: Sequence[TracePod]  #: by name
    policy: str
    known: bool = True  #: the mix of jobs is known beforehand; else it is learnt from them as they come

    @property
    def whole_milli(self) -> int:
        """Thousandths of GPUs there are."""
        return WHOLE_MILLI * sum(node.gpus for node in self.nodes)


class Market:
    """Rows of a book that placement's index follows, as on a server; what comes and goes is not stored."""

    def __init__(self, workload: Workload, draw: random.Random) -> None:
        """The nodes are numbered in random order."""
        self._specs = {pod.name: _spec(pod, workload.policy) for pod in workload.pods}
        self._known = workload.known
        self._index = Index()
        self._book = Book([self._index])
        self._placer = IndexPlacer(self._index)
        for number, node in enumerate(draw.sample(list(workload.nodes), len(workload.nodes)), 1):
            self._book.add(_row(number, node))
        self._book.committed()
        if workload.known:
            self._know(workload.pods)

    def place(self, pod: TracePod) -> Attempt | None:
        """Choose a node and reserve it; None when there is none."""
        spec = self._specs[pod.name]
        if not self._known:
            self._know([pod])
        decision = self._placer.place(spec, frozenset(), NOW)
        if decision.node is None:
            return None
        token = self._book.number("token")
        attempt = Attempt(
            token=token,
            job=token,
            n=1,
            node=decision.node,
            node_epoch=0,
            resources=spec.resources,
            gpus=decision.gpus,
            placed_ms=NOW.unix_ms,
        )
        self._book.add(attempt)
        self._book.committed()
        return attempt

    def leave(self, attempt: Attempt) -> None:
        """It has ended."""
        self._book.change(attempt, state=AttemptState.SUCCEEDED)
        self._book.committed()

    def _know(self, pods: Iterable[TracePod]) -> None:
        for pod in pods:
            self._index.demand.note(self._specs[pod.name], NOW.unix_ms)


def _row(number: int, node: TraceNode) -> MarketNode:
    return MarketNode(
        id=number,
        name=node.name,
        supplier=1,
        public_key="",
        machine=node.name,
        standing=Standing.READY,
        online=True,
        device_kind="cuda" if node.gpus else "cpu",
        model=node.model,
        capacity=Capacity(
            gpu_milli=(WHOLE_MILLI,) * node.gpus, cpu_milli=node.cpu_milli, memory_bytes=node.memory_mib * MIB
        ),
        executors=("container",),
        shares_gpus=True,
        reported_ms=NOW.unix_ms,
    )


def _spec(pod: TracePod, policy: str) -> JobSpec:
    share = 0 < pod.each_milli < WHOLE_MILLI
    models = ", ".join(f'"{model}"' for model in pod.models)
    return JobSpec(
        name=pod.name,
        command=(),
        image="trace",
        where=f"gpu in ({models})" if models else "",
        resources=Resources(
            gpus=0 if share else pod.gpus,
            gpu_milli=pod.each_milli if share else 0,
            cpu_milli=pod.cpu_milli,
            memory_bytes=pod.memory_mib * MIB,
            disk_bytes=0,
        ),
        policy=policy,
    )
