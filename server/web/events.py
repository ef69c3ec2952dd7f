"""Events as lines: who did what, when, why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.records import Event
from server.web import words


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where an event leads."""

    href: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One event, worded."""

    iso: str
    moment: str  #: to the second, UTC
    kind: str
    actor: str
    data: str
    links: Sequence[Link]


def line(event: Event, *, linked: bool = True) -> Line:
    """An event; `linked` adds where its job and its node are shown."""
    at = time.gmtime(event.at_ms // 1000)
    links = []
    if linked and event.job is not None:
        links.append(Link(href=f"/jobs/{event.job}", text=f"job {event.job}"))
    if linked and event.node is not None:
        links.append(Link(href=f"/nodes/{event.node}", text=f"node {event.node}"))
    return Line(
        iso=time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
        moment=time.strftime("%Y-%m-%d %H:%M:%S", at),
        kind=event.kind,
        actor=event.actor,
        data=words.inline(dict(event.data)),
        links=links,
    )
