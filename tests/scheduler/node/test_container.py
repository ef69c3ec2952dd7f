"""Real containers under a real agent: Podman behind the interface of Docker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.node.engine import Engine
from scheduler.node.supervised import Supervised
from tests.scheduler.node.agents import agent, run, until
from tests.scheduler.node.fake_server import FakeServer
from tests.scheduler.node.jobs import lapse
from tests.scheduler.node.podman import IMAGE, podman

pytestmark = [pytest.mark.real, pytest.mark.alone]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One engine for all of them."""
    with podman(tmp_path_factory.mktemp("podman")) as address:
        yield address


@pytest.fixture(autouse=True)
def no_container_is_left(engine: str) -> Iterator[None]:
    """By a test that failed: the next one counts them."""
    yield
    _, found = Engine(engine).ask("GET", "/containers/json?all=true")
    for one in found:
        Engine(engine).remove(one["Id"])


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


def test_a_lapsed_lease_pauses_a_container_and_a_new_one_unpauses_it(tmp_path: Path, engine: str) -> None:
    """As any job; then it is stopped as asked, and removed."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server, executors=("container",), docker_host=engine) as served:
            script = "trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
            server.want(7, "sh", "-c", script, image=IMAGE)
            await server.until(lambda: bytes(server.logs.get((7, "out"), b"")) == b"ready\n")
            await server.until(lambda: server.syncs[-1].wait and server.syncs[-1].held[0].state == "running")
            server.away = True  # the call that is held back is not answered, and no other: nobody moves the lease on
            lapse(served.attempt(7))
            await until(lambda: said(served.attempt(7)) == "frozen")

            assert state(engine) == ["paused"]

            server.away = False
            await until(lambda: said(served.attempt(7)) == "running")
            assert state(engine) == ["running"]
            server.stopped.add(7)
            server.news.set()
            ended = await server.until_ended(7)

        assert (ended.state, ended.exit_code, ended.reason) == ("exited", 5, "stopped as asked")
        assert ended.frozen_ms > 0
        assert bytes(server.logs[7, "out"]) == b"ready\nsaved\n"
        assert state(engine) == []

    run(story)


def test_the_container_of_a_supervisor_that_was_killed_is_removed(tmp_path: Path, engine: str) -> None:
    """It has no lease any more; an agent that comes later finds it by its label."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server, executors=("container",), docker_host=engine) as served:
            server.want(7, "sh", "-c", "echo ready; sleep 60", image=IMAGE)
            await server.until(lambda: bytes(server.logs.get((7, "out"), b"")) == b"ready\n")
        os.kill(int(json.loads((served.attempt(7) / "status.json").read_bytes())["supervisor"]), signal.SIGKILL)
        (served.attempt(7) / "order.json").unlink()  # nothing but its label tells whose it is
        assert state(engine) == ["running"]
        async with agent(tmp_path, server, executors=("container",), docker_host=engine):
            await server.until(lambda: len(server.registrations) == 2 and server.syncs[-1].held == ())

            assert state(engine) == []
            server.wanted.clear()

    run(story)


@pytest.mark.parametrize(
    ("spec", "state_of_it", "code", "words"),
    [
        ({"image": IMAGE}, "exited", 127, "gridmark: the container cannot be started"),
        ({"image": "localhost/none:1"}, "prepare_failed", None, "the image localhost/none:1 cannot be had"),
    ],
)
def test_what_cannot_be_started_says_why(
    tmp_path: Path, engine: str, spec: dict[str, Any], state_of_it: str, code: int | None, words: str
) -> None:
    """A program that the image lacks, an image that nobody has."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server, executors=("container",), docker_host=engine):
            server.want(7, "no-such-program", **spec)
            held = await server.until_ended(7)

        assert (held.state, held.exit_code) == (state_of_it, code)
        assert words in held.reason + bytes(server.logs.get((7, "err"), b"")).decode()
        assert state(engine) == []

    run(story)


def said(attempt: Path) -> str:
    """By its supervisor."""
    status = Supervised(attempt).status()
    return status.state if status else ""


def state(engine: str) -> list[str]:
    """Of every container that is there."""
    _, found = Engine(engine).ask("GET", "/containers/json?all=true")
    return [one["State"] for one in found]
