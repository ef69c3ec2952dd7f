"""Nodes over HTTP: enrolment, reports that count and reports that do not, what suppliers and operators do."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qualify import codec as reports
from server.bodies import unpacked
from server.problems import ProblemError
from server.settings import Limits
from tests.server.served import Agent, Served, ready_agent

HOUR_S = 3600


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, Limits(report_bytes=1 << 20)) as found:
        yield found


@pytest.fixture
def agent(served: Served) -> Agent:
    found = Agent(served)
    found.enrol()
    found.register()
    found.sync()
    return found


def test_enrolment_needs_the_key_it_names(served: Served) -> None:
    """Somebody else's public key is not enrolled by whoever saw it."""
    victim, thief = Agent(served), Agent(served)
    body = json.dumps({"name": "n", "public_key": victim.key.public, "price": 1, "executors": ["process"]}).encode()
    headers = thief.headers("POST", "/v1/nodes", body, node=0) | {"Content-Type": "application/json"}
    refused = served.ask("POST", "/v1/nodes", "supplier", content=body, headers=headers)

    assert (refused.status_code, refused.json()["type"]) == (401, "/problems/bad-signature")
    assert served.runtime.book.nodes == {}


def test_enrolling_again_changes_the_terms_and_keeps_the_number(served: Served) -> None:
    """The price in dollars an hour becomes micro-dollars."""
    agent = Agent(served)
    first = agent.enrol(price="0.50 $/h").json()["id"]
    again = agent.enrol(price=0.75, region="eu").json()["id"]
    shown = served.ask("GET", f"/v1/nodes/{first}").json()

    assert first == again
    assert (shown["price_uh"], shown["region"], shown["owners"]) == (750_000, "eu", None)


def test_another_supplier_cannot_take_a_key_over(served: Served) -> None:
    """Even with the key: the node belongs to whoever enrolled it."""
    agent = Agent(served)
    agent.enrol()
    token = served.account("other", "supplier")

    assert agent.enrol(token=token).status_code == 403


def test_an_enrolment_for_an_earlier_run_of_the_server_is_refused(served: Served) -> None:
    """It could have been recorded."""
    agent = Agent(served)
    body = json.dumps({"name": "n", "public_key": agent.key.public, "price": 1, "executors": ["process"]}).encode()
    headers = agent.headers("POST", "/v1/nodes", body, server_boot=0) | {"Content-Type": "application/json"}
    refused = served.ask("POST", "/v1/nodes", "supplier", content=body, headers=headers)

    assert refused.json()["type"] == "/problems/server-restarted"


def test_a_good_report_lists_the_node(served: Served, agent: Agent) -> None:
    """Its figures, its history, the entry, and the document itself."""
    report = agent.report()
    triad = next(one for one in report.measurements if one.key == "memory.triad")
    shown = agent.hand_in(report).json()
    history = served.ask("GET", f"/v1/nodes/{agent.node}/history?metric=memory.triad").json()["items"]
    entries = served.ask("GET", f"/v1/nodes/{agent.node}/reports", "supplier").json()["items"]
    whole = served.ask("GET", f"/v1/nodes/{agent.node}/reports/{report.id}", "supplier")
    offers = served.ask("GET", "/v1/offers?q=memory.triad%20%3E%201%20GB/s").json()

    assert (shown["standing"], shown["figures"]["memory.triad"]["value"]) == ("ready", triad.value)
    assert [one["value"] for one in history] == [triad.value]
    assert [(one["id"], one["verdict"]) for one in entries] == [(report.id, "qualified")]
    assert reports.loads(whole.content) == reports.loads(reports.dumps(report))
    assert [one["node"] for one in offers["items"]] == [agent.node]
    assert offers["named"] == ["memory.triad"]


def test_a_report_handed_in_twice_counts_once(served: Served, agent: Agent) -> None:
    """An agent that did not hear the answer asks again."""
    report = agent.report()
    first, second = agent.hand_in(report), agent.hand_in(report)

    assert (first.status_code, second.status_code) == (201, 201)
    assert len(served.ask("GET", f"/v1/nodes/{agent.node}/reports", "supplier").json()["items"]) == 1


@pytest.mark.parametrize(
    ("ended_s", "taken"), [(0, True), (4, True), (6, False), (-HOUR_S + 1, True), (-HOUR_S - 1, False)]
)
def test_a_report_is_recent(served: Served, agent: Agent, ended_s: float, taken: bool) -> None:
    """Its run ended within the hour, and not in the future beyond what clocks differ by."""
    report = agent.report()
    moved = dataclasses.replace(report, started_unix_s=report.started_unix_s + ended_s)

    assert agent.hand_in(moved).status_code == (201 if taken else 422)


def test_a_report_of_another_machine_is_refused(served: Served, agent: Agent) -> None:
    """The first report says which machine a key stands for."""
    agent.hand_in()
    agent.machine = "machine-2"

    assert agent.hand_in().status_code == 409


def test_a_report_that_cannot_be_true_quarantines_its_node(served: Served, agent: Agent) -> None:
    """Ten times what the cores can do at any clock."""
    agent.hand_in()
    report = agent.report()
    boasting = tuple(
        dataclasses.replace(one, value=(one.value or 0) * 10, ci95=None) if one.key == "matmul.fp64" else one
        for one in report.measurements
    )
    refused = agent.hand_in(dataclasses.replace(report, measurements=boasting))

    assert refused.status_code == 422
    assert "cannot be true" in refused.json()["detail"]
    assert served.ask("GET", f"/v1/nodes/{agent.node}").json()["standing"] == "quarantined"


@pytest.mark.parametrize(
    "content",
    [b"", b"plain", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"x", gzip.compress(b"{}") * 2],
    ids=["empty", "plain", "cut", "trailing", "two members"],
)
def test_what_is_no_gzip_is_refused(agent: Agent, content: bytes) -> None:
    """400, whatever it is instead."""
    assert sent(agent, content) == 400


@pytest.mark.parametrize("content", [b"{}", b"[]", b'{"schema": 2}', b'{"schema": 1, "x": NaN}', b"{" * 100_000])
def test_what_is_no_report_is_refused(agent: Agent, content: bytes) -> None:
    """422, whatever it is instead."""
    assert sent(agent, gzip.compress(content)) == 422


def test_a_bomb_is_not_unpacked(agent: Agent) -> None:
    """64 MiB of zeros in 64 KiB: stopped at the limit of one MiB."""
    assert sent(agent, gzip.compress(bytes(64 << 20), 1)) == 413


def test_unpacking_stops_at_the_limit() -> None:
    """Exactly the limit is taken, a byte more is not."""
    assert unpacked(gzip.compress(bytes(100)), 100) == bytes(100)
    with pytest.raises(ProblemError, match="too-large"):
        unpacked(gzip.compress(bytes(101)), 100)
    with pytest.raises(ProblemError, match="bad-request"):
        unpacked(zlib.compress(b"x"), 100)


def sent(agent: Agent, content: bytes) -> int:
    target = f"/v1/nodes/{agent.node}/reports"
    headers = agent.headers("POST", target, content)
    headers |= {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return agent.served.ask("POST", target, content=content, headers=headers).status_code


def test_a_node_cannot_report_for_another(served: Served, agent: Agent) -> None:
    """Whoever signs is whoever is meant."""
    other = Agent(served)
    other.enrol(name="other")
    other.register()
    body = gzip.compress(reports.dumps(other.report()).encode())
    target = f"/v1/nodes/{agent.node}/reports"
    headers = other.headers("POST", target, body)
    headers |= {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert served.ask("POST", target, content=body, headers=headers).status_code == 401


def test_a_drained_node_gets_no_work_until_it_is_undrained(served: Served) -> None:
    """Its supplier says so, or an operator; the events say who."""
    agent = ready_agent(served)
    served.ask("POST", f"/v1/nodes/{agent.node}/drain", "supplier")
    served.submit()

    assert agent.sync()["wishes"] == []
    assert served.ask("POST", f"/v1/nodes/{agent.node}/undrain", "operator").json()["draining"] is False
    assert len(agent.sync()["wishes"]) == 1
    events = served.ask("GET", f"/v1/events?node={agent.node}", "operator").json()["items"]
    drained = [one["actor"] for one in events if one["kind"].endswith("drained") or one["kind"].endswith("draining")]
    assert drained == ["account 2", "account 1"]


def test_a_node_is_asked_to_measure_when_somebody_wants_it(served: Served) -> None:
    """It is due at once, and its next answer says so."""
    agent = ready_agent(served)
    assert served.ask("GET", "/v1/due", "supplier").json()["items"] == []
    served.ask("POST", f"/v1/nodes/{agent.node}/qualify", "supplier")

    assert [one["id"] for one in served.ask("GET", "/v1/due", "operator").json()["items"]] == [agent.node]
    assert agent.sync()["qualify"] is True


def test_suppliers_see_their_own_nodes_and_operators_all(served: Served) -> None:
    """With what is theirs to know."""
    agent = ready_agent(served)
    token = served.account("other", "supplier")
    Agent(served).enrol(token=token, name="theirs")

    mine: dict[str, Any] = served.ask("GET", "/v1/nodes", "supplier").json()
    assert [one["id"] for one in mine["items"]] == [agent.node]
    assert mine["items"][0]["owners"]["machine"] == "machine-1"
    assert [one["name"] for one in served.ask("GET", "/v1/nodes", "operator").json()["items"]] == ["node", "theirs"]
    assert [one["name"] for one in served.ask("GET", "/v1/nodes?limit=1", "operator").json()["items"]] == ["node"]
    second = served.ask("GET", "/v1/nodes?limit=1&cursor=1", "operator").json()
    assert [one["name"] for one in second["items"]] == ["theirs"]


def test_a_busy_node_retires_only_by_force(served: Served) -> None:
    """409 says so."""
    agent = ready_agent(served)
    served.submit()
    agent.assigned()

    assert served.ask("POST", f"/v1/nodes/{agent.node}/retire", "supplier").status_code == 409
    assert served.ask("POST", f"/v1/nodes/{agent.node}/retire?force=1", "supplier").json()["standing"] == "retired"
