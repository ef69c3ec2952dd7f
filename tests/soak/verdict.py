"""What came of a long search: for people, and as a file that is kept."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from tests.soak.progress import Part, Progress

SCHEMA = 1


def told(part: Part) -> str:
    """What was done so far."""
    counted = ", ".join(f"{count:,} {name}" for name, count in part.counts.items())
    return f"{counted} in {part.slices} slices, {part.seconds:,.0f} s"


def table(progress: Progress, wanted: tuple[str, ...]) -> str:
    """For people."""
    lines = [f"{name:<9} {told(progress.part(name))}: {_judged(progress.part(name))}" for name in wanted]
    lines += progress.failures
    lines.append("verdict: " + (f"{len(progress.failures)} FAILURES" if progress.failures else "nothing was found"))
    return "\n".join(lines)


def document(progress: Progress, today: dt.date) -> dict[str, Any]:
    """All that was done, with the seeds that show it again."""
    return {
        "schema": SCHEMA,
        "gridmark": importlib.metadata.version("gridmark"),
        "date": today.isoformat(),
        "parts": {name: _kept(part) for name, part in sorted(progress.parts.items()) if part.slices},
        "failures": progress.failures,
    }


def write(progress: Progress, path: Path, today: dt.date) -> None:
    """Keep it."""
    path.write_text(json.dumps(document(progress, today), indent=1) + "\n")


def _kept(part: Part) -> dict[str, Any]:
    return {
        "slices": part.slices,
        "first_seed": part.seed - part.slices,
        "last_seed": part.seed - 1,
        "seconds": round(part.seconds),
        "counts": dict(sorted(part.counts.items())),
        "verdict": _judged(part),
    }


def _judged(part: Part) -> str:
    """In a word or two."""
    return f"{len(part.failures)} FAILURES" if part.failures else "clean" if part.slices else "not run"
