"""What an agent finds in its folder when it starts: attempts that were started go on, the rest is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scheduler import codec
from scheduler.node.removal import remove
from scheduler.wire import Assignment

ORDER = "order.json"


def adoptable(folder: Path) -> Iterator[tuple[int, Assignment]]:
    """(token, assignment) of every attempt that has had a supervisor; what never got that far is sent again."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for attempt in sorted(folder.iterdir()):
        assignment = _assignment(attempt)
        if assignment is not None and attempt.name.isdecimal() and (attempt / "lease").exists():
            yield int(attempt.name), assignment
        else:
            remove(attempt)


def _assignment(attempt: Path) -> Assignment | None:
    try:
        return codec.loads(Assignment, (attempt / ORDER).read_bytes())
    except (OSError, codec.CodecError):
        return None
