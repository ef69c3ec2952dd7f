"""Every operation of the OpenAPI document meets whatever may come; one without an entry here fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from scheduler import wire
from scheduler.proofs.rows import Challenge, ChallengeState
from scheduler.records import Role
from server.settings import Limits
from tests.server.served import Agent, Served, ready_agent

SHA = wire.digest(b"hello")
JOB = {"command": ["true"]}
ENROL = {"name": "n", "public_key": "ab" * 32, "price": 1, "executors": ["process"]}
SYNC: dict[str, Any] = {"boot_id": "boot-1", "held": []}
RENTERS: tuple[Role, ...] = ("renter", "operator")
SUPPLIERS: tuple[Role, ...] = ("supplier", "operator")
ALL: tuple[Role, ...] = ("renter", "supplier", "operator")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is known of one, besides what the OpenAPI document says."""

    target: str  #: one that is right; {job}, {node}, {token} and {account} stand for those of the market below
    roles: tuple[Role, ...] = ()  #: who may; nobody in particular where it is public or signed
    signed: bool = False
    body: Any = None  #: a JSON document that is right, or bytes
    tenants: bool = False  #: what is another's is not there
    queries: tuple[str, ...] = ()  #: that are wrong


OPERATIONS: dict[str, Operation] = {
    "POST /v1/jobs": Operation(target="/v1/jobs", roles=RENTERS, body=JOB),
    "GET /v1/jobs": Operation(
        target="/v1/jobs",
        roles=ALL,
        queries=("limit=0", "limit=201", "limit=x", "cursor=x", "cursor=-1", "state=dead", "state=QUEUED", "state=,"),
    ),
    "GET /v1/jobs/{job}": Operation(target="/v1/jobs/{job}", roles=ALL, tenants=True),
    "POST /v1/jobs/{job}/cancel": Operation(target="/v1/jobs/{job}/cancel", roles=ALL, tenants=True),
    "GET /v1/jobs/{job}/events": Operation(
        target="/v1/jobs/{job}/events", roles=ALL, tenants=True, queries=("limit=0", "cursor=%00")
    ),
    "GET /v1/jobs/{job}/logs": Operation(
        target="/v1/jobs/{job}/logs",
        roles=("renter",),
        tenants=True,
        queries=(
            "follow=maybe",
            "stream=in",
            "offset=-1",
            "limit=0",
            "out=x",
            "err=1e3",
            "offset=99999999999999999999",
        ),
    ),
    "GET /v1/jobs/{job}/artifacts": Operation(target="/v1/jobs/{job}/artifacts", roles=("renter",), tenants=True),
    "GET /v1/jobs/{job}/artifacts/{path}": Operation(
        target="/v1/jobs/{job}/artifacts/a.txt", roles=("renter",), tenants=True
    ),
    "PUT /v1/blobs/{sha256}": Operation(target=f"/v1/blobs/{SHA}", roles=RENTERS, body=b"hello"),
    "GET /v1/blobs/{sha256}": Operation(target=f"/v1/blobs/{SHA}", roles=("renter",), tenants=True),
    "HEAD /v1/blobs/{sha256}": Operation(target=f"/v1/blobs/{SHA}", roles=("renter",), tenants=True),
    "GET /v1/offers": Operation(
        target="/v1/offers",
        queries=("q=nosuch%20%3E%201", "q=%28", "q=a%00b", "sort=%28", "limit=0", "cursor=AAAA", "cursor=%20"),
    ),
    "GET /v1/offers/fields": Operation(target="/v1/offers/fields"),
    "POST /v1/nodes": Operation(target="/v1/nodes", roles=SUPPLIERS, signed=True, body=ENROL),
    "GET /v1/nodes": Operation(target="/v1/nodes", roles=SUPPLIERS, queries=("limit=0", "cursor=x")),
    "GET /v1/nodes/{node}": Operation(target="/v1/nodes/{node}"),
    "GET /v1/nodes/{node}/history": Operation(
        target="/v1/nodes/{node}/history?metric=memory.triad", queries=("metric=", "metric=x", "since_ms=-1", "limit=0")
    ),
    "POST /v1/nodes/{node}/reports": Operation(target="/v1/nodes/{node}/reports", signed=True, body=b"gzip"),
    "GET /v1/nodes/{node}/reports": Operation(
        target="/v1/nodes/{node}/reports", roles=SUPPLIERS, tenants=True, queries=("limit=0", "cursor=x")
    ),
    "GET /v1/nodes/{node}/reports/{report}": Operation(
        target="/v1/nodes/{node}/reports/{report}", roles=SUPPLIERS, tenants=True
    ),
    "POST /v1/nodes/{node}/drain": Operation(target="/v1/nodes/{node}/drain", roles=SUPPLIERS, tenants=True),
    "POST /v1/nodes/{node}/undrain": Operation(target="/v1/nodes/{node}/undrain", roles=SUPPLIERS, tenants=True),
    "POST /v1/nodes/{node}/qualify": Operation(target="/v1/nodes/{node}/qualify", roles=SUPPLIERS, tenants=True),
    "POST /v1/nodes/{node}/retire": Operation(
        target="/v1/nodes/{node}/retire?force=1", roles=SUPPLIERS, tenants=True, queries=("force=perhaps",)
    ),
    "GET /v1/agent/hello": Operation(target="/v1/agent/hello?node={node}", queries=("node=-1", "node=x", "node=999")),
    "POST /v1/agent/register": Operation(target="/v1/agent/register", signed=True, body={"boot_id": "boot-1"}),
    "POST /v1/agent/sync": Operation(target="/v1/agent/sync", signed=True, body=SYNC),
    "POST /v1/agent/attempts/{token}/logs/{stream}": Operation(
        target="/v1/agent/attempts/{token}/logs/out?offset=0", signed=True, body=b"", queries=("offset=-1", "")
    ),
    "PUT /v1/agent/attempts/{token}/artifacts/{sha256}": Operation(
        target=f"/v1/agent/attempts/{{token}}/artifacts/{SHA}", signed=True, body=b"hello"
    ),
    "PUT /v1/agent/attempts/{token}/checkpoint/{sha256}": Operation(
        target=f"/v1/agent/attempts/{{token}}/checkpoint/{SHA}", signed=True, body=b"hello"
    ),
    "GET /v1/agent/blobs/{sha256}": Operation(
        target=f"/v1/agent/blobs/{SHA}?token={{token}}", signed=True, queries=("token=0", "token=x", "")
    ),
    "POST /v1/challenges": Operation(target="/v1/challenges", signed=True, body=b""),
    "POST /v1/challenges/{challenge}/ready": Operation(
        target="/v1/challenges/{challenge}/ready", signed=True, body=b""
    ),
    "POST /v1/challenges/{challenge}/epochs": Operation(
        target="/v1/challenges/{challenge}/epochs", signed=True, body=b"{}"
    ),
    "POST /v1/challenges/{challenge}/openings": Operation(
        target="/v1/challenges/{challenge}/openings", signed=True, body=b"{}"
    ),
    "GET /v1/challenges/{challenge}": Operation(target="/v1/challenges/{challenge}", roles=SUPPLIERS, tenants=True),
    "GET /v1/evidence": Operation(target="/v1/evidence", queries=("after=-1", "after=x", "limit=0")),
    "GET /v1/evidence/{challenge}": Operation(target="/v1/evidence/{challenge}"),
    "GET /v1/accounts": Operation(target="/v1/accounts", roles=("operator",), queries=("limit=0", "cursor=x")),
    "GET /v1/accounts/me": Operation(target="/v1/accounts/me", roles=ALL),
    "POST /v1/accounts": Operation(target="/v1/accounts", roles=("operator",), body={"name": "new", "role": "renter"}),
    "POST /v1/accounts/{who}/terms": Operation(
        target="/v1/accounts/{account}/terms", roles=("operator",), body={"weight": 2}
    ),
    "GET /v1/alarms": Operation(target="/v1/alarms", roles=("operator",)),
    "POST /v1/accounts/{who}/revoke": Operation(target="/v1/accounts/{account}/revoke", roles=("operator",)),
    "GET /v1/events": Operation(
        target="/v1/events", roles=("operator",), queries=("limit=0", "cursor=x", "after=-1", "node=0", "job=x")
    ),
    "GET /v1/due": Operation(target="/v1/due", roles=SUPPLIERS, queries=("within_ms=-1", "within_ms=x")),
    "POST /v1/backup": Operation(target="/v1/backup", roles=("operator",)),
    "GET /healthz": Operation(target="/healthz"),
    "GET /readyz": Operation(target="/readyz"),
    "GET /metrics": Operation(target="/metrics"),
}
#: an id of nothing, and what is no id
NO_IDS = ("999999", "0", "-1", "x", "1.0", "9" * 30, "%00", "%2e%2e", "١")


#: values that fit no field
WRONG: tuple[Any, ...] = ({}, None, -1.5, "\0", [[]], {"": ""})


@dataclass(frozen=True, kw_only=True)
class Market:
    """A server with one of everything, and somebody else of each role."""

    served: Served
    agent: Agent
    names: dict[str, Any]
    others: dict[Role, str]

    def target(self, operation: Operation, **names: Any) -> str:
        return operation.target.format(**{**self.names, **names})

    def send(self, method: str, target: str, **more: Any) -> httpx.Response:
        """A request; whatever is answered is one of ours."""
        answer = self.served.ask(method, target, **more)
        assert answer.status_code < 500, (method, target, answer.text)
        assert answer.headers["x-request-id"]
        if answer.status_code >= 400 and method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json", (method, target, answer.text)
            problem = answer.json()
            assert (problem["status"], problem["type"].split("/")[1]) == (answer.status_code, "problems")
        return answer


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    with Served(
        tmp_path_factory.mktemp("market"), Limits(document_bytes=4096, sync_bytes=4096, log_append_bytes=64)
    ) as served:
        agent = ready_agent(served)
        done = served.submit(artifacts=["*"])["id"]
        token = agent.assigned()["token"]
        left = {"path": "a.txt", **agent.leave(token, b"hello").json()}
        agent.print(token, b"printed\n")
        agent.sync({"token": token, "state": "exited", "exit_code": 0, "artifacts": [left]})
        served.submit()
        live = agent.assigned()["token"]
        served.ask("PUT", f"/v1/blobs/{SHA}", "renter", content=b"hello")
        report = served.runtime.book.nodes[agent.node].report_id
        challenge = challenged(served, agent)
        others: dict[Role, str] = {role: served.account(f"other {role}", role) for role in ("renter", "supplier")}
        account = served.ask("GET", "/v1/accounts/me", token=others["renter"]).json()["id"]
        names = {
            "job": done,
            "node": agent.node,
            "token": live,
            "account": account,
            "report": report,
            "challenge": challenge,
        }
        yield Market(served=served, agent=agent, names=names, others=others)


def challenged(served: Served, agent: Agent) -> str:
    """A challenge of the agent's node that has expired."""
    name = "5f" * 16
    row = Challenge(
        id=name, node=agent.node, node_epoch=agent.epoch, level="light", kind="compute", phase=0, phases=1,
        document="{}", state=ChallengeState.DONE, issued_ms=1, expires_ms=2, outcome="unreachable", why="silent",
    )  # fmt: skip
    served.runtime.writer.do(lambda control, now: control.book.add(row)).result()
    return name


def documented(served: Served) -> dict[str, dict[str, Any]]:
    """The operations of the OpenAPI document."""
    paths = served.app.openapi()["paths"]
    return {f"{verb.upper()} {path}": one for path, item in paths.items() for verb, one in item.items()}


def parts(key: str) -> tuple[str, str]:
    method, _, path = key.partition(" ")
    return method, path


def test_every_operation_is_in_the_table(market: Market) -> None:
    """And the table names no other."""
    assert documented(market.served).keys() == OPERATIONS.keys()


def test_every_route_under_v1_is_documented(market: Market) -> None:
    """Nothing is served in secret."""
    shown = {parts(key)[1] for key in documented(market.served)}
    routes = {getattr(route, "path", "") for route in market.served.app.routes}

    assert {path for path in routes if path.startswith("/v1")} <= {*shown, "/v1/jobs/{job}/artifacts/{path:path}"}


def test_every_operation_says_what_it_answers(market: Market) -> None:
    """A summary, its refusals as problem documents, and an example for each schema."""
    document = market.served.app.openapi()
    for key, one in documented(market.served).items():
        assert one["description"], key
        for status, answer in one["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (key, status)
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("examples"), name


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if one.roles])
def test_without_a_token_nothing_is_told(market: Market, key: str) -> None:
    """401 whatever else is wrong, with the challenge; a body is not even read."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    right, wrong = market.target(operation), market.target(operation, job=999, node=999, account=999)
    for token in (None, "gm_" + "x" * 43, "nonsense"):
        for target in (right, wrong):
            answer = market.send(method, target, token=token, content=b"{")

            assert answer.status_code == 401, target
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if set(ALL) - set(one.roles) and one.roles])
def test_another_role_is_refused(market: Market, key: str) -> None:
    """403 by the role alone; or 404 where what is asked for is not the caller's."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    for role in set(ALL) - set(operation.roles):
        answer = market.send(method, market.target(operation), role=role)

        assert answer.status_code == (404 if operation.roles == ("renter",) and operation.tenants else 403) or (
            answer.status_code == 403
        ), (role, answer.text)


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if one.tenants])
def test_what_is_another_s_is_not_there(market: Market, key: str) -> None:
    """404 in the same words as for what does not exist; nothing of it is changed."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    stranger = market.others["renter" if "renter" in operation.roles else "supplier"]
    there = market.send(method, market.target(operation), token=stranger)
    nowhere = market.send(method, market.target(operation, job=999, node=999).replace(SHA, "0" * 64), token=stranger)

    assert there.status_code == nowhere.status_code == 404
    if method != "HEAD":
        name = str(market.names["node" if "/nodes/" in key else "job"])
        assert there.json()["detail"].replace(f" {name}", " 999") == nowhere.json()["detail"]


@pytest.mark.parametrize("key", [key for key in OPERATIONS if "{" in key])
def test_ids_of_nothing_and_no_ids(market: Market, key: str) -> None:
    """404 or 422, or what is said of a signature: never another's, never 500."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    role = operation.roles[0] if operation.roles else None
    for wrong in NO_IDS:
        names = dict.fromkeys(market.names, wrong)
        target = market.target(operation, **names).replace(SHA, wrong)
        answer = market.send(method, target, role=role, content=b"")

        assert answer.status_code in (401, 404, 409, 411, 415, 422), (target, answer.text)


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if one.queries])
def test_queries_that_are_wrong(market: Market, key: str) -> None:
    """422 with the parameter's name; 404 for what is not there."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    path = market.target(operation).partition("?")[0]
    role = operation.roles[0] if operation.roles else None
    for query in operation.queries:
        target = f"{path}?{query}" if query else path
        headers = market.agent.headers(method, target, b"") if operation.signed else {}
        answer = market.send(method, target, role=role, headers=headers)

        assert answer.status_code in ((404, 422) if "node=999" in query else (422,)), (query, answer.text)
        assert answer.status_code == 404 or answer.json()["errors"], query


BAD_BODIES: dict[str, tuple[bytes, set[int]]] = {
    "nothing": (b"", {400}),
    "no JSON": (b"{", {400}),
    "no UTF-8": (b'{"name": "\xff"}', {400}),
    "null": (b"null", {422}),
    "a list": (b"[]", {422}),
    "a text": (b'"x"', {422}),
    "NaN": (b'{"x": NaN}', {400}),
    "a key twice": (b'{"name": "a", "name": "b"}', {400}),
    "an endless number": (b'{"x": ' + b"9" * 2000 + b"}", {400, 422}),
    "endless nesting": (b"[" * 2000 + b"]" * 2000, {400, 422}),
    "a lone surrogate": (b'{"name": "\\ud800"}', {422}),
    "too much": (b'{"x": "' + b"x" * 5000 + b'"}', {413}),
}


@pytest.mark.parametrize("what", BAD_BODIES)
@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if isinstance(one.body, dict)])
def test_bodies_that_are_no_document(market: Market, key: str, what: str) -> None:
    """Refused by their form, before anything happens."""
    content, expected = BAD_BODIES[what]

    assert post(market, key, content).status_code in expected


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if isinstance(one.body, dict)])
def test_each_field_missing_null_mistyped_and_one_too_many(market: Market, key: str) -> None:
    """422 with the field's place; a field with a default may be missing."""
    right = OPERATIONS[key].body
    for name in right:
        for wrong in WRONG:
            document = {**right, name: wrong}
            answer = post(market, key, json.dumps(document).encode())
            assert answer.status_code == 422, (name, wrong, answer.text)
            assert any(f"body.{name}" in fault["at"] or fault["at"] == "body" for fault in answer.json()["errors"])
        rest = {other: value for other, value in right.items() if other != name}
        assert post(market, key, json.dumps(rest).encode()).status_code == 422, name
    extra = post(market, key, json.dumps({**right, "surprise": 1}).encode())
    assert [fault["at"] for fault in extra.json()["errors"]] == ["body.surprise"]


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if isinstance(one.body, dict)])
def test_bodies_of_another_type(market: Market, key: str) -> None:
    """415."""
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        assert post(market, key, json.dumps(OPERATIONS[key].body).encode(), kind=kind).status_code == 415


@pytest.mark.parametrize("key", [key for key, one in OPERATIONS.items() if one.signed])
def test_what_is_signed_must_hold(market: Market, key: str) -> None:
    """Without a signature, with another key's, over other bytes, for another run, of another epoch, twice: refused."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    target = market.target(operation)
    body = operation.body if isinstance(operation.body, bytes) else json.dumps(operation.body or {}).encode()
    body = b"" if method == "GET" else body
    role = operation.roles[0] if operation.roles else None
    stranger = Agent(market.served, node=market.agent.node, epoch=market.agent.epoch, seq=10_000)
    sent = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if "reports" in key else {})

    def ask(headers: dict[str, str], content: bytes = body) -> int:
        return market.send(method, target, role=role, headers=sent | headers, content=content).status_code

    mine = market.agent
    assert ask({}) == 401
    assert ask(stranger.headers(method, target, body)) == 401
    assert ask(mine.headers(method, target, b"other bytes")) == 401
    assert ask(mine.headers(method, target + "&x=1", body)) == 401
    assert ask(mine.headers("DELETE", target, body)) == 401
    assert ask(mine.headers(method, target, body, node=999)) == 401
    if operation.roles:  # enrolment proves a key, which here is not the signer's
        return
    assert ask(mine.headers(method, target, body, server_boot=0)) == 409
    assert ask(mine.headers(method, target, body, epoch=mine.epoch - 1)) == 409
    assert ask(mine.headers(method, target, body, epoch=mine.epoch + 1)) == 409


@pytest.mark.parametrize("key", OPERATIONS)
def test_other_methods_are_not_allowed(market: Market, key: str) -> None:
    """405, with those that are."""
    target = market.target(OPERATIONS[key])
    answer = market.send("PATCH", target)

    assert answer.status_code == 405
    assert parts(key)[0] in answer.headers["allow"] or answer.headers["allow"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/nothing", "/v1/jobs/1/nothing", "/v1/%00", "/v1/jobs/%2e%2e/nodes"]
)
def test_places_that_are_not_there(market: Market, method: str, path: str) -> None:
    """404 as a problem document, for everybody."""
    assert market.send(method, path).status_code == 404


def test_a_request_id_of_the_caller_s_is_kept(market: Market) -> None:
    """When it is harmless; else another is made."""
    kept = market.send("GET", "/healthz", headers={"X-Request-Id": "abc-1.2_3"})
    made = market.send("GET", "/v1/nothing", headers={"X-Request-Id": "x" * 65})

    assert kept.headers["x-request-id"] == "abc-1.2_3"
    assert made.headers["x-request-id"] == made.json()["request_id"] != "x" * 65


def post(market: Market, key: str, content: bytes, kind: str = "application/json") -> httpx.Response:
    """A body where it belongs, signed where it has to be."""
    operation, (method, _) = OPERATIONS[key], parts(key)
    target = market.target(operation)
    headers = market.agent.headers(method, target, content) if operation.signed else {}
    role = operation.roles[0] if operation.roles else None
    return market.send(method, target, role=role, headers=headers | {"Content-Type": kind}, content=content)
