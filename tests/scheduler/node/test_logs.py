"""Output is carried by offset: nothing twice, nothing missing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from scheduler.node import identity, logs
from scheduler.node.logs import LogPusher
from scheduler.node.remote import Remote
from tests.scheduler.node.agents import run
from tests.scheduler.node.fake_server import FakeServer, problem

OUT: Literal["out"] = "out"


def printed(path: Path, data: bytes) -> None:
    """The job's output up to now."""
    path.write_bytes(data)


def pushing(folder: Path, server: FakeServer, story: Callable[[LogPusher, Path], Awaitable[None]]) -> None:
    """A pusher for one file, at work."""

    async def told() -> None:
        key = identity.own_key(folder)
        server.public_key = key.public
        remote = Remote("http://market", node=3, key=key, first_seq=1, transport=server)
        await remote.register("b")
        path = folder / "out.log"
        pusher = LogPusher(remote, 7, OUT, path, pauses=lambda: lambda: 0.001)
        work = asyncio.create_task(pusher.run())
        try:
            await story(pusher, path)
        finally:
            work.cancel()
            await remote.close()

    run(told)


def test_a_long_log_goes_in_chunks(tmp_path: Path) -> None:
    """Half a mebibyte and one byte: three calls."""
    server = FakeServer()

    async def story(pusher: LogPusher, path: Path) -> None:
        printed(path, b"x" * (2 * logs.CHUNK_BYTES + 1))
        await pusher.drained()

    pushing(tmp_path, server, story)

    assert bytes(server.logs[7, "out"]) == b"x" * (2 * logs.CHUNK_BYTES + 1)
    assert server.calls.count("POST /v1/agent/attempts/7/logs/out") == 3


def test_a_new_agent_goes_on_where_the_server_is(tmp_path: Path) -> None:
    """It asks once, with what it has."""
    server = FakeServer(logs={(7, "out"): bytearray(b"one\n")})

    async def story(pusher: LogPusher, path: Path) -> None:
        printed(path, b"one\ntwo\n")
        await pusher.drained()

    pushing(tmp_path, server, story)

    assert bytes(server.logs[7, "out"]) == b"one\ntwo\n"


def test_a_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    """What was printed meanwhile follows."""
    server = FakeServer()

    async def story(pusher: LogPusher, path: Path) -> None:
        printed(path, b"one\n")
        server.away = True
        pusher.wake()
        await asyncio.sleep(0)
        printed(path, b"one\ntwo\n")
        draining = asyncio.create_task(pusher.drained())
        await asyncio.sleep(0)
        assert not draining.done()
        server.away = False
        await draining

    pushing(tmp_path, server, story)

    assert bytes(server.logs[7, "out"]) == b"one\ntwo\n"


def test_a_server_that_wants_no_more_gets_no_more(tmp_path: Path) -> None:
    """The end of the attempt does not wait for ever."""
    server = FakeServer(refuse=lambda request: problem(413, "too-large") if "logs" in request.url.path else None)

    async def story(pusher: LogPusher, path: Path) -> None:
        printed(path, b"one\n")
        await pusher.drained()
        assert pusher.given_up == "the server refused (413): too-large"
        printed(path, b"one\ntwo\n")
        await pusher.drained()

    pushing(tmp_path, server, story)

    assert server.calls.count("POST /v1/agent/attempts/7/logs/out") == 1


def test_a_server_that_contradicts_itself_is_given_up(tmp_path: Path) -> None:
    """It wants what it has just refused."""
    server = FakeServer(
        refuse=lambda request: problem(409, "wrong-offset", offset=0) if "logs" in request.url.path else None
    )

    async def story(pusher: LogPusher, path: Path) -> None:
        printed(path, b"one\n")
        await pusher.drained()
        assert pusher.given_up == "the server refused (409): wrong-offset"

    pushing(tmp_path, server, story)


def test_silence_costs_nothing(tmp_path: Path) -> None:
    """No file, no call."""
    server = FakeServer()

    async def story(pusher: LogPusher, path: Path) -> None:
        pusher.wake()
        await pusher.drained()

    pushing(tmp_path, server, story)

    assert not any("logs" in call for call in server.calls)
