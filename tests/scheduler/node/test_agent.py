"""An agent against a server that says what the test wants: leases, ends, restarts on either side."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scheduler import lease
from scheduler.node import kernel
from scheduler.node.agent import Agent, AgentError, Config
from scheduler.node.attempt import Attempt
from scheduler.records import Input, Resources
from tests.scheduler.node.agents import agent, run, until
from tests.scheduler.node.fake_server import FakeServer, problem
from tests.scheduler.node.jobs import state_of, wait_gone

FOREVER = ("sh", "-c", "echo $$; while :; do sleep 0.05; done")
SMALL = Resources(disk_bytes=1 << 20)


def status(served_attempt: Path) -> dict[str, object]:
    """What a supervisor last said."""
    said: dict[str, object] = json.loads((served_attempt / "status.json").read_bytes())
    return said


def test_a_job_runs_and_its_end_is_told_after_its_output(tmp_path: Path) -> None:
    """Log and exit code; then it is forgotten, and nothing of it is left."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "echo hello; exit 3")
            held = await server.until_ended(7)

            assert (held.state, held.exit_code, held.reason) == ("exited", 3, "")
            assert bytes(server.logs[7, "out"]) == b"hello\n"

            await server.until(lambda: not server.syncs[-1].held)
        assert list((served.folder / "attempts").iterdir()) == []
        assert served.said == []
        assert server.registrations == ["boot-1"]

    run(story)


def test_output_is_carried_while_the_job_runs(tmp_path: Path) -> None:
    """A renter reads along; the offsets continue across chunks."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "echo one; while [ ! -e end ]; do sleep 0.01; done; echo two")
            await server.until(lambda: bytes(server.logs.get((7, "out"), b"")) == b"one\n")

            assert 7 not in server.ended

            (served.attempt(7) / "work" / "end").touch()
            await server.until_ended(7)

        assert bytes(server.logs[7, "out"]) == b"one\ntwo\n"

    run(story)


def test_a_job_that_is_superseded_is_killed_and_wiped(tmp_path: Path) -> None:
    """Told and not named: nothing of it runs, and nothing of it is told any more."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, *FOREVER)
            await server.until_state(7, "running")
            pid = int(str(status(served.attempt(7))["pid"]))
            server.unnamed.add(7)
            server.news.set()
            await server.until(lambda: not server.syncs[-1].held)
        assert wait_gone(pid)
        assert not served.attempt(7).exists()
        assert 7 not in server.ended
        assert served.said == ["attempt 7 is not this node's any more; it is killed"]

    run(story)


def test_a_job_is_stopped_politely(tmp_path: Path) -> None:
    """Cancelled by its owner: SIGTERM first; its last words arrive."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            server.want(7, "sh", "-c", "trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
            await server.until(lambda: bytes(server.logs.get((7, "out"), b"")) == b"ready\n")
            server.stopped.add(7)
            server.news.set()
            held = await server.until_ended(7)

        assert (held.state, held.exit_code, held.reason) == ("exited", 5, "stopped as asked")
        assert bytes(server.logs[7, "out"]) == b"ready\nsaved\n"

    run(story)


def test_an_attempt_that_is_to_stop_before_it_was_known_never_starts(tmp_path: Path) -> None:
    """The server need not wait for what cannot come."""

    async def story() -> None:
        server = FakeServer()
        server.stopped.add(7)
        async with agent(tmp_path, server) as served:
            server.want(7, "touch", "/tmp/never")
            held = await server.until_ended(7)

            assert (held.state, held.exit_code) == ("exited", 143)
            assert not served.attempt(7).exists()

    run(story)


def test_the_deadline_counts_from_when_the_answered_call_was_sent(tmp_path: Path) -> None:
    """A lease never reaches further than the server can have meant it."""

    async def story() -> None:
        server = FakeServer(lease_ms=10_000)
        async with agent(tmp_path, server) as served:
            server.want(7, *FOREVER)
            await server.until_state(7, "running")
            told = len(server.syncs)
            server.news.set()  # the held-back answer, sent long before now, is given
            before_ns = kernel.now_ns()
            server.want(8, "true")
            await server.until(lambda: len(server.syncs) > told)
            deadline_ns, command = lease.unpack((served.attempt(7) / "lease").read_bytes())

            assert command is lease.Command.RUN
            assert deadline_ns < before_ns + 10_000_000_000 + 2_000_000_000

    run(story)


def test_an_attempt_that_was_prepared_for_too_long_waits_for_its_next_lease(tmp_path: Path) -> None:
    """Its lease ended while it was fetched: it starts when the server names it again, and not before."""

    async def story() -> None:
        server = FakeServer(lease_ms=0)
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "echo ran")
            await server.until(lambda: any(one.held for one in server.syncs))
            await until((served.attempt(7) / "work").exists)

            assert not (served.attempt(7) / "lease").exists()

            server.lease_ms = 60_000
            server.news.set()
            held = await server.until_ended(7)

        assert (held.exit_code, bytes(server.logs[7, "out"])) == (0, b"ran\n")

    run(story)


def test_a_fault_of_the_agent_s_own_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is killed and may run elsewhere; the agent goes on."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            monkeypatch.setattr(Attempt, "_follow", fail)
            server.want(7, *FOREVER)
            held = await server.until_ended(7)
            monkeypatch.undo()
            server.want(8, "true")
            await server.until_ended(8)

        assert (held.state, held.reason) == ("vanished", "the node's agent failed: RuntimeError: broken")

    run(story)


def test_a_server_that_is_away_costs_a_running_job_nothing_within_its_lease(tmp_path: Path) -> None:
    """It ends meanwhile; its end and its output are told when the server is back."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "echo $$; while [ ! -e end ]; do sleep 0.01; done; echo bye; exit 4")
            await server.until_state(7, "running")
            server.away = True
            (served.attempt(7) / "work" / "end").touch()
            server.news.set()
            await until(lambda: status(served.attempt(7))["state"] == "exited")
            server.away = False
            held = await server.until_ended(7)

        assert held.exit_code == 4
        assert bytes(server.logs[7, "out"]).endswith(b"bye\n")
        assert server.registrations == ["boot-1"]

    run(story)


def test_a_server_that_started_anew_is_signed_for_again_without_registering(tmp_path: Path) -> None:
    """The same call, with its new boot number."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "exit 0")
            await server.until_ended(7)
            server.boot = 2
            server.want(8, "sh", "-c", "exit 0")
            await server.until_ended(8)

        assert server.registrations == ["boot-1"]
        assert served.said == []

    run(story)


def test_an_agent_whose_epoch_is_stale_registers_anew_and_kills_what_is_not_named(tmp_path: Path) -> None:
    """Somebody else was this node in between."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, *FOREVER)
            server.want(8, *FOREVER)
            await server.until_state(7, "running")
            await server.until_state(8, "running")
            pid = int(str(status(served.attempt(7))["pid"]))
            server.epoch += 1
            server.unnamed.add(7)
            server.news.set()
            await server.until(lambda: [held.token for held in server.syncs[-1].held] == [8])

            assert server.registrations == ["boot-1", "boot-1"]
            assert state_of(int(str(status(served.attempt(8))["pid"]))) not in ("", "Z")
        assert wait_gone(pid)

    run(story)


def test_the_next_agent_takes_over_what_runs(tmp_path: Path) -> None:
    """An agent that left, or was killed, costs the job nothing."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            server.want(7, "sh", "-c", "echo one; while [ ! -e end ]; do sleep 0.01; done; echo two; exit 4")
            await server.until_state(7, "running")
            before = status(served.attempt(7))
        assert state_of(int(str(before["pid"]))) not in ("", "Z")

        async with agent(tmp_path, server):
            await server.until(lambda: len(server.registrations) == 2 and len(server.syncs[-1].held) == 1)
            assert status(served.attempt(7))["pid"] == before["pid"]
            (served.attempt(7) / "work" / "end").touch()
            held = await server.until_ended(7)

        assert (held.state, held.exit_code) == ("exited", 4)
        assert bytes(server.logs[7, "out"]) == b"one\ntwo\n"

    run(story)


def test_a_supervisor_that_is_killed_is_reported_and_its_job_is_dead(tmp_path: Path) -> None:
    """The grandchildren too; the server may place the job anew at once."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server) as served:
            endless = "while :; do sleep 0.05; done"
            server.want(7, "sh", "-c", f"(setsid sh -c 'echo ready; {endless}' &) ; {endless}")
            await server.until(lambda: bytes(server.logs.get((7, "out"), b"")) == b"ready\n")
            marked = _marked(served.node)
            os.kill(int(str(status(served.attempt(7))["supervisor"])), signal.SIGKILL)
            held = await server.until_ended(7)

            assert len(marked) >= 2
            assert all(wait_gone(pid) for pid in marked)
            assert (held.state, held.exit_code, held.reason) == (
                "vanished",
                None,
                "its supervisor is gone without a word",
            )

    run(story)


def _marked(node: str) -> list[int]:
    """Processes of a node's jobs, by their environment."""
    found = []
    entry = f"GRIDMARK_NODE={node}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if entry in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_artifacts_and_inputs_travel(tmp_path: Path) -> None:
    """A file and an archive in, the matching files out, uploaded before the end is told."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as packed:
        member = tarfile.TarInfo("deep/data.txt")
        member.size = 5
        packed.addfile(member, io.BytesIO(b"data\n"))
    tool, data = b"#!/bin/sh\ncat set/deep/data.txt > out/result.txt\n", archive.getvalue()
    digests = [hashlib.sha256(one).hexdigest() for one in (tool, data)]

    async def story() -> None:
        server = FakeServer(blobs=dict(zip(digests, (tool, data), strict=True)))
        async with agent(tmp_path, server):
            server.want(
                7,
                "sh",
                "-c",
                "mkdir out; ln -s /etc/passwd out/leak.txt; ./bin/tool",
                inputs=(
                    Input(to="bin/tool", sha256=digests[0], executable=True),
                    Input(to="set", sha256=digests[1], unpack=True),
                ),
                artifacts=("out/*.txt",),
            )
            held = await server.until_ended(7)

        result = hashlib.sha256(b"data\n").hexdigest()
        assert (held.state, held.exit_code, held.reason) == ("exited", 0, "")
        assert [(one.path, one.sha256, one.size_bytes) for one in held.artifacts] == [("out/result.txt", result, 5)]
        assert server.files == {result: b"data\n"}

    run(story)


def test_a_checkpoint_travels(tmp_path: Path) -> None:
    """What one attempt saved is where the next one looks."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            server.want(7, "sh", "-c", "echo 41 > state/step; exit 9", checkpoint="state")
            await server.until_ended(7)
            sha256 = hashlib.sha256(server.checkpoints[0]).hexdigest()
            server.blobs[sha256] = server.checkpoints[0]
            server.want(8, "sh", "-c", "cat state/step", checkpoint="state", checkpoint_sha256=sha256)
            held = await server.until_ended(8)

        assert (held.exit_code, bytes(server.logs[8, "out"])) == (0, b"41\n")
        assert len(server.checkpoints) == 1  # the second changed nothing, and succeeded

    run(story)


def test_what_a_job_saves_when_it_is_asked_to_stop_travels(tmp_path: Path) -> None:
    """It is placed again, though its program ended well after the signal."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            program = "trap 'echo 42 > state/step; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
            server.want(7, "sh", "-c", program, checkpoint="state")
            await server.until(lambda: bytes(server.logs.get((7, "out"), b"")) == b"ready\n")
            server.stopped.add(7)
            server.news.set()
            held = await server.until_ended(7)

        assert (held.state, held.exit_code) == ("exited", 0)
        assert len(server.checkpoints) == 1

    run(story)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"resources": Resources(disk_bytes=1 << 60)}, "the node's disk has "),
        ({"image": "some/image"}, "this node does not offer the executor container"),
        ({"env": {"A-B": "x"}}, "the environment variable 'A-B' cannot be set"),
        ({"inputs": (Input(to="../x", sha256="0" * 64),)}, "'../x' does not lie in the job's folder"),
        ({"inputs": (Input(to="x", sha256="0" * 64),)}, "the input x: the server refused (404): not-found"),
        ({"inputs": (Input(to="x", sha256="0" * 64, url="file:///etc/passwd"),)}, "only http and https are fetched"),
    ],
)
def test_what_cannot_be_prepared_is_refused_with_a_reason(tmp_path: Path, spec: dict[str, Any], reason: str) -> None:
    """In one sentence, and the job may go elsewhere."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            server.want(7, "true", **spec)
            held = await server.until_ended(7)

        assert (held.state, held.exit_code) == ("prepare_failed", None)
        assert reason in held.reason

    run(story)


def test_a_node_is_measured_when_it_is_asked_and_idle(tmp_path: Path) -> None:
    """The report arrives, signed; meanwhile the server is told."""

    async def story() -> None:
        server = FakeServer(qualify=True)
        argv = (sys.executable, "-c", "print('{\"schema\": 1}')")
        async with agent(tmp_path, server, qualify=argv):
            await server.until(lambda: bool(server.reports))
            await server.until(lambda: any(one.qualifying for one in server.syncs) and not server.syncs[-1].qualifying)

        assert [json.loads(report) for report in server.reports] == [{"schema": 1}]

    run(story)


def test_an_agent_that_stops_does_not_speak_of_work(tmp_path: Path) -> None:
    """Its measurement ends with it, for no other reason."""

    async def story() -> None:
        server = FakeServer(qualify=True)
        argv = (sys.executable, "-c", "import time; time.sleep(60)")
        async with agent(tmp_path, server, qualify=argv) as served:
            await server.until(lambda: bool(server.syncs) and server.syncs[-1].qualifying)

        assert served.said == []

    run(story)


def test_a_measurement_gives_way_to_work(tmp_path: Path) -> None:
    """Its processes are gone, whatever they make of SIGTERM."""
    pids = tmp_path / "pids"
    script = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"open({str(pids)!r} + '.part', 'w').write(f'{{os.getpid()}} {{child.pid}} {{os.nice(0)}}')\n"
        f"os.rename({str(pids)!r} + '.part', {str(pids)!r})\n"
        "time.sleep(60)\n"
    )

    async def story() -> None:
        server = FakeServer(qualify=True)
        async with agent(tmp_path / "data", server, qualify=(sys.executable, "-c", script)) as served:
            await server.until(lambda: bool(server.syncs) and server.syncs[-1].qualifying)
            await until(pids.exists)
            server.want(7, "true")
            held = await server.until_ended(7)
            began, child, nice = map(int, pids.read_text().split())
            await until(lambda: {state_of(began), state_of(child)} <= {"", "Z"}, seconds=2.0)

        assert held.exit_code == 0
        assert nice == 19
        assert server.reports == []
        assert served.said == ["the measurement was put off: work has come"]

    run(story)


def test_two_agents_cannot_live_in_one_folder(tmp_path: Path) -> None:
    """The second says so and goes."""

    async def story() -> None:
        server = FakeServer()
        async with agent(tmp_path, server):
            await server.until(lambda: bool(server.syncs))
            with pytest.raises(AgentError, match=rf"another agent runs in .* \(process {os.getpid()}\)"):
                await Agent(_config(tmp_path)).run(asyncio.Event())

    run(story)


def test_a_node_that_is_enrolled_nowhere_says_how_to_join(tmp_path: Path) -> None:
    """One sentence."""

    async def story() -> None:
        with pytest.raises(AgentError, match=r"enrolled nowhere .*; gridmark join URL --token T"):
            await Agent(_config(tmp_path)).run(asyncio.Event())

    run(story)


def test_a_node_that_the_server_does_not_know_ends(tmp_path: Path) -> None:
    """It would be refused for ever."""

    async def story() -> None:
        server = FakeServer(refuse=lambda request: problem(404, "not-found"))
        with pytest.raises(AgentError, match=r"the server refused \(404\): not-found"):
            await _serve_nobody(tmp_path, server)

    run(story)


async def _serve_nobody(data: Path, server: FakeServer) -> None:
    async with agent(data, server):
        await server.until(lambda: bool(server.calls))


def _config(data: Path) -> Config:
    return Config(
        data=data,
        environment={"PATH": os.defpath},
        random=lambda: 0.0,
        unix_ms=lambda: 0,
        say=lambda sentence: None,
        boot_id="boot-1",
    )
