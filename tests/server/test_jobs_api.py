"""Jobs over HTTP: keys, tenants, limits, secrets' whereabouts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scheduler import wire
from server.settings import Limits
from tests.server.served import Served, ready_agent

HELLO = wire.digest(b"hello")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as found:
        yield found


def submit(served: Served, key: str | None = None, **document: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return served.ask("POST", "/v1/jobs", "renter", json={"command": ["true"], **document}, headers=headers)


def test_the_same_key_and_document_are_the_same_job(served: Served) -> None:
    """201 the first time, then 200; also after a restart of the client, secrets and inputs included."""
    served.ask("PUT", f"/v1/blobs/{HELLO}", "renter", content=b"hello")
    document = {"secrets": {"S": "v"}, "inputs": [{"to": "a", "sha256": HELLO}]}
    first, second = submit(served, "k", **document), submit(served, "k", **document)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["location"] == f"/v1/jobs/{first.json()['id']}"


@pytest.mark.parametrize("other", [{"env": {"A": "1"}}, {"secrets": {"S": "w"}}, {"secrets": {"T": "v"}}])
def test_the_same_key_and_another_document_are_a_mistake(served: Served, other: dict[str, Any]) -> None:
    """409; a secret's value belongs to the document."""
    submit(served, "k", secrets={"S": "v"})

    refused = submit(served, "k", **other)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/key-reused")
    assert len(served.ask("GET", "/v1/jobs", "renter").json()["items"]) == 1


def test_a_key_is_its_owner_s(served: Served) -> None:
    """Another tenant's key of the same text is another key."""
    token = served.account("other", "renter")
    first = submit(served, "k").json()["id"]
    second = served.ask("POST", "/v1/jobs", token=token, json={"command": ["false"]}, headers={"Idempotency-Key": "k"})

    assert second.status_code == 201
    assert second.json()["id"] != first


def test_two_requests_of_one_key_at_the_same_time_make_one_job(served: Served) -> None:
    """One batch of the writer holds both."""

    async def both() -> list[httpx.Response]:
        ask = [
            served.asking("POST", "/v1/jobs", "renter", json={"command": ["true"]}, headers={"Idempotency-Key": "k"})
            for _ in range(8)
        ]
        return list(await asyncio.gather(*ask))

    answers = served.run(both())

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 129])
def test_a_malformed_key_is_refused(served: Served, key: str) -> None:
    """1 to 128 visible ASCII characters."""
    answer = served.ask(
        "POST", "/v1/jobs", "renter", json={"command": ["true"]}, headers={b"Idempotency-Key": key.encode()}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["at"] == "header.idempotency-key"


def test_what_could_never_be_placed_is_refused_at_once(served: Served) -> None:
    """An unknown policy, a query with a mistake, a deadline that has passed, a blob that is nobody's."""
    missing = submit(served, inputs=[{"to": "a", "sha256": HELLO}])
    query = submit(served, where="memory.triadd > 1 GB/s")

    assert submit(served, policy="magic").json()["errors"][0]["at"] == "body.policy"
    assert query.json()["errors"][0]["at"] == "body.where"
    assert "memory.triad" in query.json()["detail"]
    assert submit(served, deadline=1).status_code == 422
    assert missing.json()["errors"][0]["at"] == "body.inputs.0.sha256"


def test_another_tenant_s_blob_is_no_input(served: Served) -> None:
    """Whoever knows a digest does not yet have the content."""
    token = served.account("other", "renter")
    served.ask("PUT", f"/v1/blobs/{HELLO}", token=token, content=b"hello")

    assert submit(served, inputs=[{"to": "a", "sha256": HELLO}]).status_code == 422


def test_an_account_may_have_only_so_many_unended_jobs(tmp_path: Path) -> None:
    """The third is refused until one of the two has ended; a replay of the second is not a third."""
    with Served(tmp_path, Limits(jobs_waiting=2)) as served:
        first = served.submit()["id"]
        submit(served, "k")

        refused = submit(served)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert submit(served, "k").status_code == 200
        served.ask("POST", f"/v1/jobs/{first}/cancel", "renter")
        assert submit(served).status_code == 201


def test_lists_come_in_pages_newest_first(served: Served) -> None:
    """Each job once, and the state filters."""
    ids = [served.submit()["id"] for _ in range(5)]
    served.ask("POST", f"/v1/jobs/{ids[0]}/cancel", "renter")
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = served.ask("GET", f"/v1/jobs?limit=2{cursor and f'&cursor={cursor}'}", "renter").json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]

    assert seen == ids[::-1]
    cancelled = served.ask("GET", "/v1/jobs?state=cancelled,done", "renter").json()["items"]
    assert [one["id"] for one in cancelled] == [ids[0]]


def test_an_operator_sees_that_a_job_is_but_not_what_it_has(served: Served) -> None:
    """State and reason; no environment, inputs, output or artifacts."""
    job = served.submit(env={"KEY": "hidden"})["id"]
    shown = served.ask("GET", f"/v1/jobs/{job}", "operator")

    assert shown.status_code == 200
    assert shown.json()["spec"]["env"] == {}
    assert "hidden" not in shown.text
    assert served.ask("GET", f"/v1/jobs/{job}/logs", "operator").status_code == 404
    assert served.ask("GET", f"/v1/jobs/{job}/artifacts", "operator").status_code == 404
    assert served.ask("POST", f"/v1/jobs/{job}/cancel", "operator").json()["state"] == "cancelled"


def test_cancelling_twice_changes_nothing_and_an_ended_job_is_a_conflict(served: Served) -> None:
    """While its attempt still ends it is asked again without harm."""
    agent = ready_agent(served)
    job = served.submit()["id"]
    agent.sync({"token": agent.assigned()["token"], "state": "running"})

    first, second = (served.ask("POST", f"/v1/jobs/{job}/cancel", "renter") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["cancelled"] is True
    queued = served.submit(resources={"gpus": 64})["id"]
    served.ask("POST", f"/v1/jobs/{queued}/cancel", "renter")
    assert served.ask("POST", f"/v1/jobs/{queued}/cancel", "renter").status_code == 409
