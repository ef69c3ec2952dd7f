"""The reports a node keeps of itself: one JSON file each, newest first, bounded in number."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from qualify import codec
from qualify.places import data_folder
from qualify.records import Report

KEPT = 200


def folder(environment: Mapping[str, str]) -> Path:
    """Where reports are kept."""
    return data_folder(environment) / "reports"


def keep(report: Report, where: Path) -> Path:
    """Write `report` so that a reader sees all of it or nothing, and drop the oldest beyond the number kept.

    Raises:
        OSError: the folder cannot be written.
    """
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{int(report.started_unix_s):012d}-{report.id}.json"
    unfinished = path.with_suffix(".part")
    try:
        with unfinished.open("w") as file:
            file.write(codec.dumps(report))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    for old in _newest_first(where)[KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def recent(where: Path, node_id: str, *, limit: int) -> tuple[Report, ...]:
    """This node's reports, newest first; files that are no reports of ours are passed over."""
    found: list[Report] = []
    for report in _readable(where):
        if report.node.id == node_id:
            found.append(report)
            if len(found) == limit:
                break
    return tuple(found)


def _readable(where: Path) -> Iterator[Report]:
    for path in _newest_first(where):
        try:
            yield codec.loads(path.read_text())
        except (OSError, UnicodeDecodeError, codec.RecordError):
            continue


def _newest_first(where: Path) -> list[Path]:
    try:
        return sorted(where.glob("*.json"), reverse=True)
    except OSError:
        return []
