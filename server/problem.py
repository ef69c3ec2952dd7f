"""What goes wrong, before it is put into HTTP: loaded by processes that know nothing of the framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what was sent."""

    at: str  #: "body.resources.gpus", "query.limit"
    text: str


@dataclass(slots=True)
class ProblemError(Exception):
    """A request that is answered with a problem document; `slug` is one of server.problems.KINDS."""

    slug: str
    text: str
    faults: Sequence[Fault] = ()
    more: Mapping[str, int | str | None] = field(default_factory=dict)  #: members of its own: server_boot, offset …
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.slug}: {self.text}"
