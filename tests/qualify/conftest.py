"""A machine to qualify without hardware: fake benchmarks whose child does what a script says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels import device as devices
from kernels.device import Device
from kernels.spec import Bench, Setting, Step
from qualify import registry, run, session
from tests import builders

DEVICE = Device(kind="cpu", index=0, name="a CPU", cpus=(0, 1), threads=2)


def nothing(setting: Setting) -> Iterator[Step]:
    """What a fake bench opens: its child is another program."""
    return iter(())


def fake_bench(name: str, *cases: str, seconds: float = 3.0) -> Bench:
    return Bench(
        name=name,
        version=1,
        title=name,
        keys={"cpu": tuple(f"{name}.{case}" for case in cases)},
        open={"cpu": nothing},
        seconds={"quick": seconds},
        startup_s=0.1,
    )


BENCHES = {bench.name: bench for bench in (fake_bench("alpha", "one", "two", "three"), fake_bench("beta", "four"))}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with {key: behaviour} (see tests/fake_child.py) and `gridmark qualify` runs against that."""
    script = tmp_path / "behaviour.json"

    def prepare(behaviour: dict[str, Any]) -> None:
        for counter in tmp_path.glob("*.count"):
            counter.unlink()
        script.write_text(json.dumps(behaviour))

    prepare({})
    node = builders.healthy().node
    monkeypatch.setattr(run, "CHILD", (sys.executable, "-m", "tests.fake_child", str(script)))
    monkeypatch.setattr(registry, "load", lambda package, attribute: BENCHES)
    monkeypatch.setattr(devices, "pick", lambda wanted: (DEVICE,))
    monkeypatch.setattr(session, "probe", lambda **arguments: node)
    monkeypatch.setenv("GRIDMARK_DATA", str(tmp_path / "data"))
    return prepare
