"""The catalogue of events is what the rules write, no more and no less."""

from __future__ import annotations

from pathlib import Path

import scheduler
from scheduler.events import Kind


def test_every_kind_is_written_by_some_rule() -> None:
    """A kind that nobody writes would be waited for in vain."""
    (folder,) = scheduler.__path__
    sources = "".join(path.read_text() for path in Path(folder).rglob("*.py") if path.name != "events.py")

    assert [kind.name for kind in Kind if f"Kind.{kind.name}" not in sources] == []


def test_kinds_are_named_by_what_they_are_about() -> None:
    """`gridmark events` filters by the word before the dot."""
    assert {kind.value.partition(".")[0] for kind in Kind} == {"account", "node", "outage", "job", "attempt"}
    assert all(kind.name.lower() == kind.value.replace(".", "_") for kind in Kind)
