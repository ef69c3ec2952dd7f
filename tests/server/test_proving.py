"""A node proves itself to the server: a real agent, a real prover, a real verifier, from challenge to offer."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx

from qualify.proof.sizing import SMALL
from scheduler.desk import ProvingSettings
from scheduler.node import agent as node_agent
from scheduler.node import identity
from tests.server.served import WAIT_S, Agent, Served

PROVING = ProvingSettings(on=True, scale=SMALL, cpu_scale=SMALL)


@contextlib.contextmanager
def real_agent(served: Served, data: Path, said: list[str]) -> Iterator[Agent]:
    """A measured node whose agent is the real one, in the server's own loop."""
    folder = node_agent.agent_folder(data)
    speaking = Agent(served, key=identity.own_key(folder))
    assert speaking.enrol().status_code == 201
    speaking.register()
    assert speaking.hand_in().status_code == 201
    identity.keep_enrolment(
        folder, identity.Enrolment(server="http://test", node=speaking.node, name="node", executors=("process",))
    )
    config = node_agent.Config(
        data=data,
        environment={"PATH": os.defpath, "HOME": str(data)},
        random=lambda: 0.0,
        unix_ms=lambda: 1_700_000_000_000,
        say=said.append,
        transport=httpx.ASGITransport(served.app),
        boot_id=speaking.boot_id,
    )

    async def live(stop: asyncio.Event) -> None:
        await node_agent.Agent(config).run(stop)

    stop = asyncio.Event()
    running = served.start(live(stop))
    try:
        yield speaking
    finally:
        served.loop.call_soon_threadsafe(stop.set)
        running.result(WAIT_S)


def until_proved(served: Served, node: int, said: list[str]) -> None:
    """Wait for the check to be over."""

    async def wait() -> None:
        async with asyncio.timeout(WAIT_S):
            while (proof := served.runtime.book.nodes[node].proof).proved_ms is None:
                assert not said, said
                assert proof.outcome in (None, "pass", "below_floor"), proof
                await asyncio.sleep(0.01)

    served.run(wait())


def test_a_node_joins_proves_itself_and_its_offer_says_so(tmp_path: Path) -> None:
    """From a report to proved figures in the offer, with their evidence in the chain."""
    said: list[str] = []
    with Served(tmp_path / "server", proving=PROVING) as served, real_agent(served, tmp_path / "node", said) as agent:
        until_proved(served, agent.node, said)
        offer = served.ask("GET", "/v1/offers?q=proved and age(proved) < 1h").json()["items"][0]

        assert offer["proved"]
        assert offer["locality"] == "unproven"
        assert offer["figures"]["proved.int8_ops_per_s"]["unit"] == "OP/s"
        assert offer["figures"]["proved.memory_bandwidth"]["value"] > 0
