"""Real containers under a real agent: Podman behind the interface of Docker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.node.engine import Engine
from tests.scheduler.node.agents import agent, run
from tests.scheduler.node.fake_server import FakeServer
from tests.scheduler.node.podman import IMAGE, podman

pytestmark = pytest.mark.real
MIB = 1 << 20


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One engine for all of them."""
    with podman(tmp_path_factory.mktemp("podman")) as address:
        yield address


def test_a_container_runs_shut_in(tmp_path: Path, engine: str) -> None:
    """Its output, its code, its folder; another user than root, no rights, its secrets in no configuration."""
    script = (
        "id -u; pwd; echo $FROM_IMAGE $OWN ${#SECRET}; grep -E 'CapEff|NoNewPrivs' /proc/self/status;"
        "touch /x 2>&1; echo kept > left.txt; ls /sys/class/net; echo err >&2; exit 3"
    )

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server, executors=("container",), docker_host=engine) as served:
            server.want(
                7,
                "sh",
                "-c",
                script,
                image=IMAGE,
                env={"OWN": "own"},
                secrets=("SECRET",),
                given={"SECRET": "hush-4711"},
                network=False,
                artifacts=("*.txt",),
            )
            held = await server.until_ended(7)
            kept = [path.read_bytes() for path in served.folder.parent.rglob("*") if path.is_file()]
        out = bytes(server.logs[7, "out"]).decode().splitlines()

        assert (held.state, held.exit_code, held.reason) == ("exited", 3, "")
        assert int(out[0]) > 65535
        assert out[1:3] == ["/work", "yes own 9"]
        assert [line.split() for line in out[3:5]] == [["CapEff:", "0" * 16], ["NoNewPrivs:", "1"]]
        assert out[5:] == ["touch: /x: Permission denied", "lo"]
        assert bytes(server.logs[7, "err"]) == b"err\n"
        assert [one.path for one in held.artifacts] == ["left.txt"]
        assert server.files[held.artifacts[0].sha256] == b"kept\n"
        assert Engine(engine).ask("GET", "/containers/json?all=true") == (200, [])
        assert not any(b"hush-4711" in text for text in kept)

    run(story)
