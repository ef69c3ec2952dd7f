"""Where a job goes: the decision and its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from qualify.records import Json
from scheduler.records import JobSpec

if TYPE_CHECKING:
    from scheduler.clock import Now


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A node for a job, or why there is none."""

    node: int | None
    gpus: tuple[int, ...] = ()  #: which of the node's
    price_uh: int = 0  #: micro-dollars per hour of the share the job takes
    why: Mapping[str, Json] = field(default_factory=dict)  #: the policy's terms, the runner-up, rejections per filter
    reason: str = ""  #: of an unplaced job, one sentence: what stops it and the nearest miss


class Placer(Protocol):
    """Chooses a node; changes nothing."""

    def place(self, spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        """The best node for `spec` as the market stands, reservations of the same batch included.

        Args:
            avoid: nodes that are taken only when no other will do: they lost this job, or it crashed there.
        """
        ...
