"""A machine to qualify without hardware: fake benchmarks whose children do what a script says.

As a program (`python -m tests.fake_machine SCRIPT.json ARGUMENTS…`) it is the gridmark command on that machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
    """A bench with these cases that takes `seconds` in the quick profile."""
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
KEYS = tuple(key for bench in BENCHES.values() for key in bench.keys["cpu"])


def install(script: Path, replace: Callable[[object, str, object], None] = setattr) -> None:
    """Put the fake machine in the place of the real one.

    Args:
        script: {key: behaviour}, see tests/fake_child.py.
        replace: how an attribute is replaced; monkeypatch.setattr undoes it after a test.
    """
    node = builders.healthy().node
    replace(run, "CHILD", (sys.executable, "-m", "tests.fake_child", str(script)))
    replace(registry, "load", lambda package, attribute: BENCHES)
    replace(devices, "pick", lambda wanted: (DEVICE,))
    replace(session, "probe", lambda **arguments: node)


if __name__ == "__main__":
    from gridmark import main

    install(Path(sys.argv.pop(1)))
    main()
