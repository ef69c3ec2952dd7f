"""An agent in the test's own loop, against a fake server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.node import identity
from scheduler.node.agent import Agent, Config, agent_folder
from tests.scheduler.node.fake_server import PATIENCE_S, FakeServer


@dataclass
class Served:
    """A running agent."""

    server: FakeServer
    folder: Path
    node: str = ""  #: its tag
    said: list[str] = field(default_factory=list)

    def attempt(self, token: int) -> Path:
        """Where an attempt's files are."""
        return self.folder / "attempts" / str(token)


@asynccontextmanager
async def agent(
    data: Path,
    server: FakeServer,
    *,
    executors: tuple[str, ...] = ("process",),
    boot_id: str = "boot-1",
    docker_host: str = "",
    **config: object,
) -> AsyncIterator[Served]:
    """An enrolled agent that serves until the block ends, and leaves politely."""
    folder = agent_folder(data)
    server.public_key = identity.own_key(folder).public
    identity.keep_enrolment(folder, identity.Enrolment(server="http://market", node=3, name="n", executors=executors))
    served = Served(server, folder, server.public_key[:12])
    made = Agent(
        Config(
            data=data,
            environment={
                "PATH": os.defpath,
                "HOME": str(data),
                "DOCKER_HOST": docker_host or "unix:///nowhere.sock",
                "GRIDMARK_CONTAINER_RUNTIME": "runc",
            },
            random=lambda: 0.0,
            unix_ms=lambda: 1_700_000_000_000,
            say=served.said.append,
            transport=server,
            boot_id=boot_id,
            **config,  # type: ignore[arg-type]
        )
    )
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield served
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


def run(story: Callable[[], Awaitable[None]]) -> None:
    """One story in a loop of its own."""
    asyncio.run(_bounded(story))


async def _bounded(story: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(3 * PATIENCE_S):
        await story()


async def until(holds: Callable[[], bool], *, seconds: float = PATIENCE_S) -> None:
    """Until something is so that nobody tells of."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - a file or a process, which sets no event
            await asyncio.sleep(0.005)
