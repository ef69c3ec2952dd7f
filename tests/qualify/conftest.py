"""The fake machine as a fixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import fake_machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Call it with {key: behaviour} (see tests/fake_child.py) and `gridmark qualify` runs against that."""
    script = tmp_path / "behaviour.json"

    def prepare(behaviour: dict[str, Any]) -> None:
        for counter in tmp_path.glob("*.count"):
            counter.unlink()
        script.write_text(json.dumps(behaviour))

    prepare({})
    fake_machine.install(script, monkeypatch.setattr)
    monkeypatch.setenv("GRIDMARK_DATA", str(tmp_path / "data"))
    return prepare
