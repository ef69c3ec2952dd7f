"""What a placer says: a node and why that one, or why none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from qualify.records import Json


class Decision(NamedTuple):
    """A node for a job, or why there is none."""

    node: int | None
    gpus: tuple[int, ...] = ()  #: which of the node's
    price_uh: int = 0  #: micro-dollars per hour of the share the job takes
    why: Mapping[str, Json] = MappingProxyType({})  #: the policy's terms, the runner-up, rejections per filter
    reason: str = ""  #: of an unplaced job, one sentence: what stops it and the nearest miss


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was said to a job that fits nowhere, and as of when."""

    version: int  #: of the index
    at_mono_ms: int
    decision: Decision
