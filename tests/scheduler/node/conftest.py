"""What a test leaves running is ended: a supervisor is made to outlive whoever started it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.node import cgroups, identity


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Kill the supervisors below the test's folder, and so their jobs."""
    yield
    for said in tmp_path.rglob("status.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = int(json.loads(said.read_bytes())["supervisor"])
            if str(said.parent) == os.readlink(f"/proc/{pid}/cwd"):  # noqa: PTH115
                os.kill(pid, signal.SIGKILL)
    for key in tmp_path.rglob("agent/key"):
        tag = identity.own_key(key.parent).public[:12]
        groups = cgroups.find()
        for name in groups.names():
            if name.startswith(f"{tag}-"):
                groups.remove(name)
