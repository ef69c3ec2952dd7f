"""Where faults strike: the fleet, who of it is struck just now, and what ends that when."""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.fleet import Fleet, Node, supervisors

Repair = Callable[[], None]
#: how long a fault lasts: less than a lease mostly, and more than any
SHORT_S, LONG_S = (0.5, 8.0), (4.0, 40.0)


@dataclass
class Field:
    """The fleet, who of it is struck just now, and what ends that when."""

    fleet: Fleet
    draw: random.Random
    namespaces: Mapping[str, tuple[str, str, Callable[[bool], None]]]  #: node's name -> its namespace, device, link
    disk: Path | None = None  #: a small file system that the server's data is on
    disks: Mapping[str, Path] = field(default_factory=dict)  #: node's name -> one that its data is on
    struck: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    off_s: int = 0  #: of the server's calendar
    killed_jobs: set[int] = field(default_factory=set)
    _repairs: list[tuple[float, int, str, Repair]] = field(default_factory=list)  #: heap
    _number: int = 0

    def mend(self, *, all_: bool = False) -> None:
        """End what is due to end."""
        while self._repairs and (all_ or self._repairs[0][0] <= time.monotonic()):
            _, _, whom, repair = heapq.heappop(self._repairs)
            self.struck.discard(whom)  # first: what cannot be mended yet is struck again
            repair()

    def lasts(self, whom: str, span_s: tuple[float, float], repair: Repair) -> None:
        """`whom` is struck from now on, and mended after a time within the span."""
        self._number += 1
        self.struck.add(whom)
        heapq.heappush(self._repairs, (time.monotonic() + self.draw.uniform(*span_s), self._number, whom, repair))

    def node(self, *, linked: bool = False, busy: bool = False) -> Node | None:
        """One that is well: its agent, or its link; where it is asked for, one with work."""
        name_of = self.of_link if linked else self.of_agent
        well = [node for node in self.fleet.nodes if name_of(node) not in self.struck]
        well = [node for node in well if supervisors(node)] if busy else well
        return self.draw.choice(well) if well else None

    @staticmethod
    def of_agent(node: Node) -> str:
        """Under which name the node's agent is struck."""
        return node.name

    @staticmethod
    def of_link(node: Node) -> str:
        """Under which name the node's link is struck."""
        return f"link of {node.name}"
