"""A job's output: followed, resumed, over several attempts, in whatever bytes it comes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.follow import _whole_letters
from server.settings import Limits
from tests.server.served import Agent, Json, Served, ready_agent


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, Limits(follows=2)) as found:
        yield found


@pytest.fixture
def agent(served: Served) -> Agent:
    return ready_agent(served)


def begun(served: Served, agent: Agent, **document: Any) -> tuple[int, int]:
    """A job and the token of its attempt, which runs."""
    job = served.submit(**document)["id"]
    token = agent.assigned()["token"]
    agent.sync({"token": token, "state": "running"})
    return job, token


def exited(agent: Agent, token: int, code: int = 0) -> None:
    agent.sync({"token": token, "state": "exited", "exit_code": code})


def piece(offset: int, data: str, stream: str = "out", attempt: int = 1) -> Json:
    return {"stream": stream, "offset": offset, "attempt": attempt, "data": data}


def test_what_is_printed_comes_while_it_is_printed(served: Served, agent: Agent) -> None:
    """Each append is a line at once, both streams with offsets of their own."""
    job, token = begun(served, agent)
    follower = served.follow(job)

    agent.print(token, b"one\n")
    assert follower.line() == piece(0, "one\n")
    agent.print(token, b"two\n", offset=4)
    assert follower.line() == piece(4, "two\n")
    agent.print(token, b"oh\n", stream="err")
    assert follower.line() == piece(0, "oh\n", "err")
    exited(agent, token)
    assert follower.line()["end"]["state"] == "done"


def test_a_job_that_waits_is_followed_from_before_its_first_attempt(served: Served, agent: Agent) -> None:
    """Nothing comes until something is printed."""
    agent.sync(qualifying=True)
    job = served.submit(resources={"gpus": 64})["id"]
    follower = served.follow(job)
    served.ask("POST", f"/v1/jobs/{job}/cancel", "renter")

    assert follower.line() == {"end": {"state": "cancelled", "exit_code": None, "reason": "cancelled by account 3"}}


def test_a_follower_goes_on_where_it_was(served: Served, agent: Agent) -> None:
    """By the offsets it names; what lies before is not sent again."""
    job, token = begun(served, agent)
    agent.print(token, b"0123456789")
    agent.print(token, b"abc", stream="err")
    exited(agent, token)

    lines = served.follow(job, query="&out=4&err=3").rest()
    assert lines[:-1] == [piece(4, "456789")]
    assert list(lines[-1]) == ["end"]


def test_the_output_of_all_attempts_is_one_text(served: Served, agent: Agent) -> None:
    """Offsets go on counting over a retry, for those who follow and those who read."""
    job, first = begun(served, agent, retries=1)
    follower = served.follow(job)
    agent.print(first, b"first\n")
    exited(agent, first, code=3)
    assert follower.line() == piece(0, "first\n")
    served.clock.forward(60_000)
    agent.sync()
    second = agent.assigned()["token"]
    agent.print(second, b"second\n")

    assert follower.line() == piece(6, "second\n", attempt=2)
    late = agent.print(first, b"zombie\n", offset=6)
    assert (late.status_code, late.json()["type"]) == (409, "/problems/superseded")
    exited(agent, second)
    assert follower.line()["end"]["exit_code"] == 0
    assert served.ask("GET", f"/v1/jobs/{job}/logs", "renter").text == "first\nsecond\n"
    part = served.ask("GET", f"/v1/jobs/{job}/logs?offset=4&limit=5", "renter")
    assert (part.text, part.headers["gridmark-log-size"]) == ("t\nsec", "13")


def test_a_letter_is_not_cut_in_two(served: Served, agent: Agent) -> None:
    """Its first bytes wait for its last; what can be no letter any more goes as base64."""
    job, token = begun(served, agent)
    follower = served.follow(job)
    euro = "€".encode()
    agent.print(token, b"a" + euro[:2])
    assert follower.line() == piece(0, "a")
    agent.print(token, euro[2:], offset=3)
    assert follower.line() == piece(1, "€")
    agent.print(token, b"\xff\xfe", offset=4)
    lone = follower.line()
    agent.print(token, euro[:1], offset=6)
    exited(agent, token)
    last = follower.line()

    assert base64.b64decode(lone["data64"]) == b"\xff\xfe"
    assert (base64.b64decode(last["data64"]), last["offset"]) == (euro[:1], 6)
    assert "end" in follower.line()


@pytest.mark.parametrize(
    ("data", "whole"),
    [(b"", b""), (b"ab", b"ab"), (b"a\xc3", b"a"), (b"a\xe2\x82", b"a"), (b"\xf0\x9f\x98", b""),
     ("é€😀".encode(), "é€😀".encode()),
     (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80"), (b"\xff", b"\xff"), (b"\xc0", b"\xc0")],
)  # fmt: skip
def test_only_a_begun_letter_is_held_back(data: bytes, whole: bytes) -> None:
    """At most three bytes."""
    assert _whole_letters(data) == whole


def test_who_leaves_frees_his_place(served: Served, agent: Agent) -> None:
    """Two may follow; a third is refused until one has hung up."""
    job, _ = begun(served, agent)
    one, two = served.follow(job), served.follow(job)
    assert (one.status.get(timeout=20), two.status.get(timeout=20)) == (200, 200)

    assert served.follow(job).status.get(timeout=20) == 429
    one.leave()
    three = served.follow(job)
    assert three.status.get(timeout=20) == 200
    two.leave()
    three.leave()
    assert served.runtime.follows.held == 0
    assert served.runtime.jobs.keys == 0


def test_a_stopping_server_lets_followers_go(served: Served, agent: Agent) -> None:
    """Without an end: they come back to the next."""
    job, token = begun(served, agent)
    agent.print(token, b"x")
    follower = served.follow(job)
    assert follower.line() == piece(0, "x")
    served.loop.call_soon_threadsafe(served.runtime.stop_waiting)

    assert follower.rest() == []


def test_appends_are_exact(served: Served, agent: Agent) -> None:
    """Twice, with a gap, or beyond the quota: the server says where to go on, and loses nothing it has."""
    job, token = begun(served, agent, log_quota=10)
    agent.print(token, b"12345")
    again, gap = agent.print(token, b"12345"), agent.print(token, b"x", offset=7)
    full = agent.print(token, b"67890abc", offset=5)
    after = agent.print(token, b"more", offset=full.json()["size_bytes"])

    assert (again.status_code, again.json()["offset"]) == (409, 5)
    assert (gap.json()["type"], gap.json()["offset"]) == ("/problems/wrong-offset", 5)
    assert full.json()["full"] is True
    assert after.json() == full.json()
    text = served.ask("GET", f"/v1/jobs/{job}/logs", "renter").text
    assert text.startswith("1234567890\n[gridmark: the log is full at 10 bytes")


def test_another_node_cannot_print(served: Served, agent: Agent) -> None:
    """Nor anybody for a token that was never given."""
    other = Agent(served)
    other.enrol(name="other")
    other.register()
    _, token = begun(served, agent)

    assert other.print(token, b"x").status_code == 409
    assert agent.print(token + 1, b"x").status_code == 409
    assert agent.print(token, b"x", stream="in").status_code == 422
    assert agent.print(token, b"x", offset=-1).status_code == 422


def test_the_last_words_may_come_late_but_not_for_ever(served: Served, agent: Agent) -> None:
    """Ten minutes after its attempt ended."""
    _, token = begun(served, agent)
    exited(agent, token)

    assert agent.print(token, b"late").status_code == 200
    served.clock.forward(600_001)
    assert agent.print(token, b"later", offset=4).status_code == 409
