"""What agents call: held back and woken, signed once, fenced by token, and secrets only where they belong."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scheduler import lease, wire
from server import logs, signing
from server.settings import Limits
from tests.server.served import WAIT_S, Agent, Json, Served, ready_agent

SECRET = "correct-horse-battery-staple"  # noqa: S105 - one that must be found nowhere


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as found:
        yield found


@pytest.fixture
def agent(served: Served) -> Agent:
    return ready_agent(served)


def waiting(served: Served, agent: Agent, *held: Json) -> Any:
    """A sync under way that may be held back, once it is."""
    body = json.dumps(agent.told(*held, wait=True)).encode()
    asked = served.start(agent.calling("POST", "/v1/agent/sync", body, type_="application/json"))

    async def held_back() -> None:
        while not served.runtime.syncs.held and not asked.done():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)

    served.run(held_back())
    return asked


def test_a_sync_without_news_is_answered_as_soon_as_there_is_some(served: Served, agent: Agent) -> None:
    """The clock stands still: only the new job ends the wait."""
    asked = waiting(served, agent)
    assert not asked.done()
    job = served.submit()["id"]
    (wish,) = asked.result(WAIT_S).json()["wishes"]

    assert (wish["desired"], wish["assignment"]["job"]) == ("start", job)
    assert served.runtime.syncs.nodes == 0


def test_a_sync_that_may_not_wait_is_answered_at_once(agent: Agent) -> None:
    """With nothing, when there is nothing."""
    assert agent.sync(wait=False)["wishes"] == []


def test_a_held_back_sync_ends_by_itself(served: Served, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the poll's length, and without renewing the lease meanwhile."""
    monkeypatch.setattr(lease, "RENEW_MS", 20)
    answer = waiting(served, agent).result(WAIT_S)

    assert answer.json()["wishes"] == []


def test_a_stopping_server_answers_who_waits(served: Served, agent: Agent) -> None:
    """At once."""
    asked = waiting(served, agent)
    served.loop.call_soon_threadsafe(served.runtime.stop_waiting)

    assert asked.result(WAIT_S).status_code == 200


def test_an_agent_that_began_anew_ends_the_old_one_s_wait(served: Served, agent: Agent) -> None:
    """What carries the older epoch is refused, held back or not."""
    old = Agent(served, key=agent.key, node=agent.node, epoch=agent.epoch, seq=500)
    agent.register()
    refused = old.post("/v1/agent/sync", old.told())

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/stale-epoch")
    assert refused.json()["epoch"] == agent.epoch


def test_a_request_counts_once(served: Served, agent: Agent) -> None:
    """The same bytes again are refused; older numbers of the window may still come, each once."""
    body = json.dumps(agent.told()).encode()
    headers = agent.headers("POST", "/v1/agent/sync", body) | {"Content-Type": "application/json"}
    first, again = (served.ask("POST", "/v1/agent/sync", content=body, headers=headers) for _ in range(2))
    late = agent.post("/v1/agent/sync", agent.told(), seq=agent.seq + 100)
    early = agent.post("/v1/agent/sync", agent.told(), seq=agent.seq + 50)
    old = agent.post("/v1/agent/sync", agent.told(), seq=0)

    assert (first.status_code, again.status_code) == (200, 409)
    assert again.json()["type"] == "/problems/replayed"
    assert (late.status_code, early.status_code, old.status_code) == (200, 200, 200)


def test_a_request_for_an_earlier_run_of_the_server_is_refused(served: Served, agent: Agent) -> None:
    """With the number to sign with now."""
    boot = served.runtime.server_boot
    refused = agent.post("/v1/agent/sync", agent.told(), server_boot=boot - 1)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/server-restarted")
    assert refused.json()["server_boot"] == boot


def test_an_earlier_run_is_told_before_a_signature_is_verified(
    served: Served, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that comes back after a restart costs no verification each: the number is what anybody may ask for."""
    verified: list[int] = []

    def holds(_key: str, claim: signing.Claimed, **_: str) -> bool:
        verified.append(claim.server_boot)
        return True

    monkeypatch.setattr(signing, "holds", holds)
    boot = served.runtime.server_boot
    found = [agent.post("/v1/agent/sync", agent.told(wait=False), server_boot=number) for number in (boot - 1, boot)]

    assert [one.status_code for one in found] == [409, 200]
    assert verified == [boot]


def test_a_forged_signature_changes_nothing(served: Served, agent: Agent) -> None:
    """Another key for this node; its number is still free afterwards."""
    forger = Agent(served, node=agent.node, epoch=agent.epoch, seq=agent.seq)
    assert forger.post("/v1/agent/sync", forger.told()).status_code == 401

    assert agent.sync()["wishes"] == []


def test_an_input_reaches_the_node_that_runs_the_job_and_no_other(served: Served, agent: Agent) -> None:
    """By the attempt's token; only what the job names."""
    hello, other = wire.digest(b"hello"), wire.digest(b"other")
    for content in (b"hello", b"other"):
        served.ask("PUT", f"/v1/blobs/{wire.digest(content)}", "renter", content=content)
    served.submit(inputs=[{"to": "a", "sha256": hello}])
    token = agent.assigned()["token"]
    stranger = Agent(served)
    stranger.enrol(name="stranger")
    stranger.register()

    assert agent.call("GET", f"/v1/agent/blobs/{hello}?token={token}").content == b"hello"
    assert agent.call("GET", f"/v1/agent/blobs/{other}?token={token}").status_code == 404
    assert stranger.call("GET", f"/v1/agent/blobs/{hello}?token={token}").status_code == 409


def test_a_checkpoint_travels_to_the_next_attempt(served: Served, agent: Agent) -> None:
    """Committed under the current token; an ended one's is refused."""
    served.submit(retries=1, checkpoint="ck")
    first = agent.assigned()["token"]
    agent.sync({"token": first, "state": "running"})
    assert agent.leave(first, b"tar", "checkpoint").status_code == 201
    agent.sync({"token": first, "state": "exited", "exit_code": 1})
    served.clock.forward(60_000)
    agent.sync()
    wish = agent.assigned()
    digest = wire.digest(b"tar")

    assert wish["assignment"]["checkpoint_sha256"] == digest
    assert agent.call("GET", f"/v1/agent/blobs/{digest}?token={wish['token']}").content == b"tar"
    assert agent.leave(first, b"new", "checkpoint").status_code == 409


def test_an_artifact_must_have_come_in_for_its_owner(served: Served, agent: Agent) -> None:
    """A digest alone does not open what another tenant uploaded."""
    token = served.account("victim", "renter")
    digest = wire.digest(b"private")
    served.ask("PUT", f"/v1/blobs/{digest}", token=token, content=b"private")
    served.submit(artifacts=["*"])
    attempt = agent.assigned()["token"]
    stolen = {"path": "a", "sha256": digest, "size_bytes": 7}
    told = agent.told({"token": attempt, "state": "exited", "exit_code": 0, "artifacts": [stolen]})

    assert agent.post("/v1/agent/sync", told).status_code == 409
    assert served.ask("GET", "/v1/jobs/1", "renter").json()["state"] == "active"


@pytest.mark.parametrize("state", ["exited", "prepare_failed", "vanished", "timeout", "running"])
def test_no_kind_of_end_names_what_did_not_come_in(served: Served, agent: Agent, state: str) -> None:
    """Also when the attempt is told of before it is known to be this node's."""
    stolen = {"path": "a", "sha256": wire.digest(b"private"), "size_bytes": 7}
    guessed = {"token": 1, "state": state, "exit_code": 0, "artifacts": [stolen]}
    early = agent.post("/v1/agent/sync", agent.told(guessed))
    served.submit(artifacts=["*"])
    token = agent.assigned()["token"]
    late = agent.post("/v1/agent/sync", agent.told({**guessed, "token": token}))

    assert (early.status_code, late.status_code) == (200, 409)
    assert served.runtime.reader.result(1) is None


def test_two_artifacts_of_one_path_are_refused(served: Served, agent: Agent) -> None:
    """One of them could not be fetched."""
    served.submit(artifacts=["*"])
    token = agent.assigned()["token"]
    left = [{"path": "a", **agent.leave(token, content).json()} for content in (b"1", b"2")]

    told = agent.told({"token": token, "state": "exited", "exit_code": 0, "artifacts": left})
    assert agent.post("/v1/agent/sync", told).status_code == 422


def test_a_secret_goes_to_its_node_and_nowhere_else(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a whole run, every answer, every line of the log, every event and every file is searched for it."""
    answers: list[httpx.Response] = []
    send = served.asking

    async def kept(*args: Any, **more: Any) -> httpx.Response:
        answer = await send(*args, **more)
        answers.append(answer)
        return answer

    monkeypatch.setattr(served, "asking", kept)
    with logged() as lines:
        agent = ready_agent(served)
        job = served.submit(secrets={"KEY": SECRET}, command=["true"])["id"]
        served.ask("POST", "/v1/jobs", "renter", json={"command": ["true"], "secrets": {"KEY": SECRET, "K Y": SECRET}})
        served.ask("POST", "/v1/jobs", "renter", content=f'{{"secrets": {{"K": "{SECRET}"'.encode())
        wish = agent.assigned()
        handed = answers.pop()
        token = wish["token"]
        agent.sync({"token": token, "state": "running"})
        stranger = Agent(served)
        stranger.enrol(name="stranger")
        stranger.register()
        stranger.sync()
        for target in (f"/v1/jobs/{job}", "/v1/jobs", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/logs"):
            served.ask("GET", target, "renter")
        for target in (f"/v1/jobs/{job}", "/v1/events", "/metrics", f"/v1/nodes/{agent.node}", "/v1/due"):
            served.ask("GET", target, "operator")
        agent.sync({"token": token, "state": "exited", "exit_code": 1})

    tokens = served.tokens.values()
    assert wish["assignment"]["secrets"] == {"KEY": SECRET}
    assert SECRET in handed.text
    assert "KEY" in served.ask("GET", f"/v1/jobs/{job}", "renter").text
    assert len(lines) >= len(answers)
    for where, texts in {"answers": [a.text for a in answers], "log": lines}.items():
        for text in texts:
            assert SECRET not in text, where
            assert not any(one in text for one in tokens), where
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


class logged:  # noqa: N801 - used as a statement
    """The lines that the server says meanwhile."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        self.handler = logging.Handler()
        self.handler.setFormatter(logs.JsonFormatter())
        self.handler.emit = lambda record: self.lines.append(self.handler.format(record))  # type: ignore[method-assign]
        self.level = logs.LOGGER.level
        logs.LOGGER.addHandler(self.handler)
        logs.LOGGER.setLevel(logging.DEBUG)
        return self.lines

    def __exit__(self, *_: object) -> None:
        logs.LOGGER.removeHandler(self.handler)
        logs.LOGGER.setLevel(self.level)


def test_a_node_that_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    """Each node, each account and each address has a bucket of its own."""
    limits = Limits(account_requests_per_s=1, account_requests_burst=20, address_requests_burst=1000)
    with Served(tmp_path, limits) as served:
        agent = ready_agent(served)
        answers = [agent.post("/v1/agent/sync", agent.told()) for _ in range(20)]

        refused = answers[-1]
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert served.ask("GET", "/v1/jobs", "renter").status_code == 200
        served.seconds[0] += 1
        assert agent.post("/v1/agent/sync", agent.told()).status_code == 200


def test_an_address_that_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    """Before anything of the request is looked at."""
    with Served(tmp_path, Limits(address_requests_per_s=1, address_requests_burst=5)) as served:
        answers = [served.ask("GET", "/healthz") for _ in range(6)]

        assert [answer.status_code for answer in answers][-2:] in ([200, 429], [429, 429])
        assert answers[-1].json()["type"] == "/problems/too-many"
