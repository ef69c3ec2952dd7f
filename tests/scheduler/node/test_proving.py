"""The agent carries a challenge between the server and its child, and lets go of it the moment work comes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from scheduler.node import proving
from tests.scheduler.node.agents import agent, run, until
from tests.scheduler.node.fake_server import FakeServer, problem
from tests.scheduler.node.jobs import state_of

CHALLENGE = {"challenge": {"id": "5f" * 16}, "device_kind": "cpu"}
#: a prover of a few lines
HONEST = """
import json, sys
epoch = 0
for line in sys.stdin:
    asked = json.loads(line)
    if "challenge" in asked:
        said = {"ready": True}
    elif "salt" in asked:
        said, epoch = {"epoch": epoch, "roots": {"0": [asked["salt"]]}}, epoch + 1
    else:
        said = {"openings": {"0": asked["open"]["0"]}}
    print(json.dumps(said), flush=True)
"""
MUTE = "import time; time.sleep(60)"


def child(script: str) -> tuple[str, ...]:
    """It as a command."""
    return (sys.executable, "-c", script)


def test_a_challenge_is_answered_line_by_line(tmp_path: Path) -> None:
    """Ready, the epochs, the openings: what the child says goes to the server, what that answers to the child."""

    async def story() -> None:
        server = FakeServer(prove=True, challenge=CHALLENGE)
        async with agent(tmp_path, server, prove=child(HONEST)) as served:
            await server.until(lambda: any(what == "openings" for what, _ in server.answers))

        assert server.answers == [
            ("ready", {}),
            ("epochs", {"epoch": 0, "roots": {"0": ["5a" * 32]}}),
            ("epochs", {"epoch": 1, "roots": {"0": ["5a" * 32]}}),
            ("openings", {"openings": {"0": [[0, 0, 0]]}}),
        ]
        assert served.said == []

    run(story)


def test_who_is_asked_again_too_early_asks_again_itself(tmp_path: Path) -> None:
    """The next challenge may be due before the agent has heard that its last answer arrived."""

    async def story() -> None:
        server = FakeServer(prove=True, challenge=CHALLENGE)
        last = asyncio.Event()

        def late(request: httpx.Request) -> None:
            if request.url.path.endswith("/openings") and not last.is_set():
                last.set()
                server.prove = True
                server.news.set()

        server.refuse = late
        async with agent(tmp_path, server, prove=child(HONEST)):
            await server.until(lambda: [what for what, _ in server.answers].count("openings") == 2)
        assert last.is_set()

    run(story)


def test_when_nothing_is_to_be_proved_no_child_is_started(tmp_path: Path) -> None:
    """The server may have changed its mind."""

    async def story() -> None:
        server = FakeServer(prove=True)
        async with agent(tmp_path, server, prove=("/nowhere/prover",)) as served:
            await server.until(lambda: "POST /v1/challenges" in server.calls)
            await server.until(lambda: len(server.syncs) > 1)

        assert served.said == []

    run(story)


def test_a_proof_gives_way_to_work(tmp_path: Path) -> None:
    """The child is gone, and the challenge is left to expire."""
    told = tmp_path / "pid"
    script = (  # by the time it is asked it has been made nice
        "import os, time; input(); "
        f"open({str(told)!r}, 'w').write(f'{{os.getpid()}} {{os.nice(0)}}\\n'); time.sleep(60)"
    )

    async def story() -> None:
        server = FakeServer(prove=True, challenge=CHALLENGE)
        async with agent(tmp_path / "data", server, prove=child(script)) as served:
            await until(lambda: told.exists() and told.read_text().endswith("\n"))
            server.want(7, "true")
            held = await server.until_ended(7)
            pid, nice = map(int, told.read_text().split())
            await until(lambda: state_of(pid) in ("", "Z"))

        assert (held.exit_code, nice) == (0, 19)
        assert server.answers == []
        assert served.said == ["the proof was put off: work has come"]

    run(story)


def test_an_agent_that_stops_takes_its_prover_with_it(tmp_path: Path) -> None:
    """And does not speak of it."""

    async def story() -> None:
        server = FakeServer(prove=True, challenge=CHALLENGE)
        async with agent(tmp_path, server, prove=child(MUTE)) as served:
            await server.until(lambda: "POST /v1/challenges" in server.calls)

        assert served.said == []

    run(story)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('input(); print(\'{"error": "GPU 0 holds 20 GB of 73"}\')', "cannot: GPU 0 holds 20 GB of 73"),
        ("raise SystemExit('no torch here')", "the prover ended: no torch here"),
        ("input(); print('[]')", "cannot: no answer"),
        ("pass", "the prover ended: it left no word"),
    ],
    ids=["it says why", "it dies", "nonsense", "silence"],
)
def test_what_a_prover_cannot_do_is_said_in_a_sentence(tmp_path: Path, script: str, words: str) -> None:
    """In the agent's log; the node goes on."""

    async def story() -> None:
        server = FakeServer(prove=True, challenge=CHALLENGE)
        async with agent(tmp_path, server, prove=child(script)) as served:
            await until(lambda: bool(served.said))
            server.want(7, "true")
            assert (await server.until_ended(7)).exit_code == 0

        assert served.said == [f"not proved: the prover {words.removeprefix('the prover ')}"]

    run(story)


def test_what_the_server_does_not_take_is_said(tmp_path: Path) -> None:
    """A challenge that is over is not gone on with."""

    async def story() -> None:
        server = FakeServer(prove=True, challenge=CHALLENGE)
        server.refuse = lambda request: problem(409, "conflict") if request.url.path.endswith("/ready") else None
        async with agent(tmp_path, server, prove=child(HONEST)) as served:
            await until(lambda: bool(served.said))

        assert served.said[0].startswith("not proved: the server refused (409)")
        assert server.answers == []

    run(story)


def test_the_usual_command_is_the_proof_s_own_child() -> None:
    """Without the folder it is started in on its path."""
    assert proving.command() == [sys.executable, "-P", "-m", "qualify.proof.child"]
