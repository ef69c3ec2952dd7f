"""A node proves itself to the server: a real agent, a real prover, a real verifier, from challenge to offer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from kernels.chain.engine import open_engine
from qualify.proof import challenge as protocol
from qualify.proof import messages
from qualify.proof.bundle import verify_bundle
from qualify.proof.prover import Prover
from qualify.proof.sizing import SMALL
from qualify.proof.verify import verify_bytes
from qualify.proof.worker import could_not_run
from scheduler.desk import ProvingSettings
from scheduler.node import agent as node_agent
from scheduler.node import identity
from scheduler.proofs.evidence import rebuild
from scheduler.proofs.rows import ChallengeState
from scheduler.store.keep import Keep
from server.proving import Proofs
from tests.server.served import WAIT_S, Agent, Served, ready_agent

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

        proved = offer["proved"]["int8_ops_per_s"]
        assert proved["low"] <= proved["value"] <= proved["high"]
        assert 0 <= proved["age_s"] < 3600
        assert offer["locality"] == "unproven"
        assert offer["figures"]["proved.int8_ops_per_s"]["unit"] == "OP/s"
        assert offer["figures"]["proved.memory_bandwidth"]["value"] > 0
        chain = served.ask("GET", "/v1/evidence").json()
        shown = served.ask("GET", f"/v1/challenges/{chain['items'][0]['challenge']}", "supplier").json()
        bundles = [served.ask("GET", f"/v1/evidence/{one['challenge']}").content for one in chain["items"]]
        found = [verify_bundle(one, verify_bytes, public_key=bytes.fromhex(chain["public_key"])) for one in bundles]
        rows = served.runtime.reader.evidence()

        assert (shown["state"], shown["outcome"], shown["entry"]) == ("done", "pass", 1)
        assert [check for one in found for check in one.checks if not check.holds] == []
        assert {one["verdict"]["outcome"] for one in chain["items"]} == {"pass"}
        assert chain["head"]["seq"] == len(chain["items"]) == 2
        assert rebuild(rows) == {agent.node: dict(served.runtime.book.nodes[agent.node].proof.figures)}

        challenge = rows[0].challenge
        left = "so it cannot be judged again; its digest and the verdict are entry 1 of the chain"
        assert told_when_gone(served, challenge) == [
            f"the transcript of challenge {challenge} is missing on the server's disk, {left}",
            f"the transcript of challenge {challenge} is kept no more, 0 days after it was judged, {left}",
        ]


def told_when_gone(served: Served, challenge: str) -> list[str]:
    """What is answered to whoever asks for a transcript: lost before its time, and after it. Those that count stay."""
    runtime = served.runtime
    retention = runtime.settings.retention
    runtime.settings = replace(runtime.settings, retention=replace(retention, transcripts_days=0))
    assert runtime.tidy() == 0
    assert served.ask("GET", f"/v1/evidence/{challenge}").status_code == 200

    nothing = Keep(blobs=frozenset(), tokens=frozenset(), reports=frozenset())
    assert runtime.files.prune(nothing, before_unix_s=0, judged_before_unix_s=float("inf")) == 2
    said = []
    for days in (30, 0):
        runtime.settings = replace(runtime.settings, retention=replace(retention, transcripts_days=days))
        answer = served.ask("GET", f"/v1/evidence/{challenge}")
        assert answer.status_code == 404
        said.append(answer.json()["detail"])
    return said


def answer(agent: Agent, challenge: str, what: str, document: object, **more: str) -> httpx.Response:
    """A node's answer, signed."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    target = f"/v1/challenges/{challenge}/{what}"
    headers = agent.headers("POST", target, body) | {"Content-Type": "application/json"} | more
    return agent.served.ask("POST", target, content=body, headers=headers)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server whose time is a test's."""
    with Served(tmp_path, proving=PROVING) as found:
        yield found


def issued(agent: Agent) -> str:
    """A challenge for a node that is due."""
    found: str = agent.post("/v1/challenges", {}).json()["challenge"]["id"]
    return found


def test_a_node_that_is_not_due_gets_no_challenge(served: Served) -> None:
    """204, before its first report and while one is in flight."""
    agent = Agent(served)
    agent.enrol()
    agent.register()
    agent.sync()
    before = agent.post("/v1/challenges", {})
    agent.hand_in()
    first, second = agent.post("/v1/challenges", {}), agent.post("/v1/challenges", {})

    assert (before.status_code, before.content) == (204, b"")
    assert (first.status_code, second.status_code) == (201, 204)
    assert first.json()["device_kind"] == "cpu"


def test_a_challenge_is_burned_before_its_salt_goes_out(served: Served) -> None:
    """It is written down as used; a second beginning ends it."""
    agent = ready_agent(served)
    challenge = issued(agent)
    first = answer(agent, challenge, "ready", {})
    used = served.runtime.reader.challenge(challenge)
    second = answer(agent, challenge, "ready", {})
    third = answer(agent, challenge, "ready", {})

    assert first.json()["epoch"] == 0
    assert used is not None
    assert used.state is ChallengeState.USED
    assert (second.status_code, second.json()["type"]) == (422, "/problems/protocol-error")
    assert third.status_code == 404
    assert served.ask("GET", f"/v1/challenges/{challenge}", "supplier").json()["outcome"] == "protocol_error"


@pytest.mark.parametrize(
    ("what", "body", "headers"),
    [
        ("epochs", b"{", {}),
        ("epochs", b'{"epoch": NaN, "roots": {}}', {}),
        ("epochs", b'{"epoch": 7, "roots": {"0": []}}', {}),
        ("epochs", b"[" * 5000, {}),
        ("openings", b'{"openings": {"0": []}}', {}),
        ("openings", b"no gzip", {"Content-Encoding": "gzip"}),
        ("openings", gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}),
    ],
    ids=["no JSON", "NaN", "another epoch", "deep", "out of turn", "no gzip", "a bomb"],
)
def test_an_answer_that_is_none_ends_the_challenge(
    served: Served, what: str, body: bytes, headers: dict[str, str]
) -> None:
    """422 or 413, nothing unpacked beyond what a right answer has, and never again."""
    agent = ready_agent(served)
    challenge = issued(agent)
    assert answer(agent, challenge, "ready", {}).status_code == 200
    refused = answer(agent, challenge, what, body, **headers)

    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/protocol-error")
    assert answer(agent, challenge, what, body, **headers).status_code == 404
    assert served.runtime.book.nodes[agent.node].proof.outcome == "protocol_error"


def test_another_node_s_challenge_is_not_there(served: Served) -> None:
    """Nor can a stranger's answer burn it."""
    agent, other = ready_agent(served), ready_agent(served, name="other")
    challenge = issued(agent)

    assert answer(other, challenge, "ready", {}).status_code == 404
    assert answer(other, challenge, "epochs", {}).status_code == 404
    assert answer(agent, challenge, "ready", {}).status_code == 200


def test_an_answer_after_the_time_is_up_counts_as_none(served: Served) -> None:
    """409, and the outcome is that the node was silent."""
    agent = ready_agent(served)
    challenge = issued(agent)
    answer(agent, challenge, "ready", {})
    row = served.runtime.reader.challenge(challenge)
    assert row is not None
    served.clock.forward(row.expires_ms - row.issued_ms)
    late = answer(agent, challenge, "epochs", {"epoch": 0, "roots": {"0": ["00" * 32]}})

    assert late.status_code in (404, 409)
    assert served.runtime.book.nodes[agent.node].proof.outcome in ("unreachable", "could_not_run")


def test_a_verdict_that_cannot_be_reached_costs_nobody_anything(served: Served) -> None:
    """The worker's failure is the server's; the node stands as it did."""
    served.runtime.proofs.close()
    served.runtime.proofs = Proofs(judges=1, judge=lambda text: could_not_run("no memory"))
    agent = ready_agent(served)
    play_through(agent, issued(agent))
    served.runtime.proofs.close()
    proof = served.runtime.book.nodes[agent.node].proof

    assert (proof.outcome, proof.why, proof.failed_ms) == ("could_not_run", "no memory", ())
    assert served.ask("GET", "/v1/evidence").json()["items"] == []


def play_through(agent: Agent, challenge: str) -> None:
    """Answer a challenge with what a right prover says."""
    row = agent.served.runtime.reader.challenge(challenge)
    assert row is not None
    document = protocol.loads(row.document.encode())
    prover = Prover(document, [open_engine("cpu", threads=1)], time.monotonic)
    prover.ready()
    said = answer(agent, challenge, "ready", {}).json()
    while "salt" in said:
        ran = messages.epoch_to_json(prover.epoch(bytes.fromhex(said["salt"])))
        said = answer(agent, challenge, "epochs", ran).json()
    asked = messages.answer_from_json({"open": said["open"]}, document)
    assert isinstance(asked, messages.Ask)
    opened = messages.openings_to_json(prover.openings(asked.asked))
    assert answer(agent, challenge, "openings", opened).status_code == 202
