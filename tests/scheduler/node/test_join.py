"""Joining: the node's key is proved, the supplier's token is used once, and what cannot be is one sentence."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from scheduler import cli, verbs
from scheduler.node import identity, join
from scheduler.node.agent import agent_folder
from scheduler.node.identity import IdentityError
from scheduler.node.join import JoinError, Offer, enrol, offered
from scheduler.node.remote import RefusedError
from tests.scheduler.node.fake_server import FakeServer, problem

OFFER = Offer(name="rack-7", price_uh=100_000, region="eu", shares_gpus=True, process=True)


def joined(data: Path, server: httpx.AsyncBaseTransport) -> identity.Enrolment:
    """Enrol with a supplier's token."""
    return asyncio.run(
        enrol("http://market", "gm_token", OFFER, data=data, names=("process",), unix_ms=1, transport=server)
    )


def test_a_node_is_enrolled_under_its_key(tmp_path: Path) -> None:
    """On its owner's terms; the token is not kept."""
    server = FakeServer()

    kept = joined(tmp_path, server)

    assert kept == identity.Enrolment(server="http://market", node=3, name="rack-7", executors=("process",))
    assert identity.enrolment(agent_folder(tmp_path)) == kept
    assert server.enrolled == [
        {
            "name": "rack-7",
            "public_key": identity.own_key(agent_folder(tmp_path)).public,
            "region": "eu",
            "price": "0.100000 $/h",
            "executors": ["process"],
            "shares_gpus": True,
            "authorization": "Bearer gm_token",
        }
    ]
    assert not any(b"gm_token" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_joining_again_keeps_the_key(tmp_path: Path) -> None:
    """The server knows the node by it."""
    server = FakeServer()

    joined(tmp_path, server)
    joined(tmp_path, server)

    assert len({document["public_key"] for document in server.enrolled}) == 1
    assert len(set(server.seqs)) == 2


def test_a_refused_token_leaves_no_enrolment(tmp_path: Path) -> None:
    """An agent would only be refused again."""
    server = FakeServer(refuse=lambda request: problem(401, "unauthenticated") if request.method == "POST" else None)

    with pytest.raises(RefusedError, match=r"the server refused \(401\): unauthenticated"):
        joined(tmp_path, server)
    with pytest.raises(IdentityError, match="enrolled nowhere"):
        identity.enrolment(agent_folder(tmp_path))


def test_a_running_agent_is_not_joined_over(tmp_path: Path) -> None:
    """Its terms would change under it."""
    with identity.only_agent(agent_folder(tmp_path)), pytest.raises(IdentityError, match="another agent runs"):
        joined(tmp_path, FakeServer())


def test_a_node_with_nothing_to_offer_says_why(tmp_path: Path) -> None:
    """For each executor, with its cure."""
    environment = {"PATH": "/nonexistent", "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}

    with pytest.raises(JoinError) as caught:
        offered(environment, tmp_path, process=False)
    assert "container: no answer at" in str(caught.value)
    assert "process: not allowed; --allow-process allows it" in str(caught.value)
    said: list[str] = []
    assert offered(environment, tmp_path, process=True, say=said.append) == ("process",)
    assert [one.partition(" at ")[0] for one in said] == ["not on offer: container: no answer"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ftp://x", "--token", "t", "--allow-process"], 3, "expected a URL such as https://market.example:8700"),
        (["http://127.0.0.1:1", "--token", "t", "--allow-process"], 3, "http://127.0.0.1:1 cannot be reached"),
        (["http://x", "--token", "t", "--allow-process", "--ca", "none.pem"], 3, "use https"),
        (["http://x", "--token", "t"], 3, "--allow-process allows it"),
        (["http://x", "--token", "t", "--price", "cheap"], 2, "expected dollars per hour such as 0.10"),
        (["http://x", "--token", "t", "--price", "-1"], 2, "expected 0 to 100000 dollars per hour"),
        (["http://x"], 2, "--token"),
    ],
)
def test_what_goes_wrong_is_one_sentence(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    """With the exit code of its kind."""
    environment = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "GRIDMARK_TOKEN": ""}

    done = CliRunner().invoke(cli.join, [*arguments, "--data", str(tmp_path)], env=environment)

    assert done.exit_code == code, done.output
    assert words in done.output
    assert "Traceback" not in done.output


def test_a_token_that_is_nobody_s_is_told_where_one_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's word alone would not say what to do."""

    async def enrol(*_: object, **__: object) -> None:
        raise RefusedError(401, "unauthorised", "the token is no account's", {})

    monkeypatch.setattr(join, "enrol", enrol)

    done = CliRunner().invoke(cli.join, ["http://x", "--token", "t", "--allow-process", "--data", str(tmp_path)])

    assert done.exit_code == 3
    assert "the token is no account's; --token takes a supplier's" in done.output


def test_an_agent_that_cannot_serve_says_so(tmp_path: Path) -> None:
    """Not enrolled; or no folder that can be one."""
    (tmp_path / "file").write_text("")
    for data, words in ((tmp_path, "enrolled nowhere"), (tmp_path / "file", "Not a directory")):
        done = CliRunner().invoke(cli.agent, ["--data", str(data)])

        assert (done.exit_code, "Traceback" in done.output) == (3, False), done.output
        assert words in done.output


@pytest.mark.parametrize(("text", "micro"), [("0.10", 100_000), ("2.5 $/h", 2_500_000), ("0", 0), ("0.000001", 1)])
def test_prices_are_exact(text: str, micro: int) -> None:
    """To a micro-dollar."""
    assert cli.Price().convert(text, None, None) == micro


@pytest.mark.parametrize(
    ("host", "name"),
    [("gpu-7.rack_2", "gpu-7.rack_2"), ("größe 1", "gr--e-1"), ("_x", "x"), ("…", "node"), ("", "node")],
)
def test_a_host_s_name_becomes_a_node_s(host: str, name: str) -> None:
    """Whatever the host is called, the server takes the name that is told unless another is given."""
    assert verbs.node_name(host) == name


def test_a_server_s_answer_is_not_believed_blindly(tmp_path: Path) -> None:
    """Another program may listen there."""

    def answer(request: httpx.Request) -> httpx.Response:
        document = {"server_boot": 1, "epoch": 0} if request.method == "GET" else {"ok": True}
        return httpx.Response(200, content=json.dumps(document))

    with pytest.raises(RefusedError, match="is it a gridmark server"):
        joined(tmp_path, httpx.MockTransport(answer))
    assert join.offered({"PATH": "/nonexistent"}, tmp_path, process=True)
