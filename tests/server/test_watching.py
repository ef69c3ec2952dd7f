"""Health, figures, the log, and what a fault looks like from outside."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler import wire
from scheduler.store.errors import StoreError
from server import logs, runtime
from tests.server.served import Served, ready_agent
from tests.server.test_agent_api import logged


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as found:
        yield found


def test_a_fault_is_told_without_a_word_of_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with the request's id; the log has type and place under that id, and not what was said."""

    def broken(_: object) -> object:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("server.routes.health.views.answer", broken)
    with logged() as lines:
        answer = served.ask("GET", "/healthz", headers={"X-Request-Id": "find-me"})

    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal"
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "find-me"
    (line,) = map(json.loads, lines)
    assert (line["id"], line["status"], line["problem"], line["level"]) == ("find-me", 500, "internal", "warning")
    assert (line["error"], line["raised_in"][-1].rpartition(" ")[2]) == ("RuntimeError", "broken")
    assert "swordfish" not in answer.text + "".join(lines)


def test_an_exception_is_logged_by_type_and_place_only() -> None:
    """Its text may quote what was sent."""
    try:
        raise ValueError("swordfish")
    except ValueError as error:
        raised = (ValueError, error, error.__traceback__)
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it %s", ("broke\n",), raised)
    line = logs.JsonFormatter().format(record)
    found = json.loads(line)

    assert (found["text"], found["error"]) == ("it broke\N{REPLACEMENT CHARACTER}", "ValueError")
    assert "test_watching.py" in found["raised_in"][-1]
    assert "swordfish" not in line


def test_a_request_s_line_says_who_what_and_how_long(served: Served) -> None:
    """The route and not the address, so that nothing that was typed there is kept."""
    with logged() as lines:
        served.ask("GET", "/v1/jobs/999?x=gm_secret", "renter")
    (line,) = map(json.loads, lines)

    assert line["answered_ms"] >= 0
    assert {name: line[name] for name in ("method", "route", "status", "account", "problem")} == {
        "method": "GET", "route": "/v1/jobs/{job}", "status": 404, "account": 3, "problem": "not-found"
    }  # fmt: skip
    assert "gm_secret" not in lines[0]


def test_ready_means_that_it_can_be_written(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk makes it unready and every change a 503, and it gets ready again by itself."""
    assert served.ask("GET", "/readyz").status_code == 200
    store: Any = served.runtime._store
    write = store.write

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "write", full)
    refused = served.ask("POST", "/v1/jobs", "renter", json={"command": ["true"]})
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
    assert refused.headers["retry-after"]
    assert served.ask("GET", "/readyz").status_code == 503
    assert served.ask("GET", "/healthz").status_code == 200
    monkeypatch.setattr(store, "write", write)
    served.submit()

    assert served.ask("GET", "/readyz").status_code == 200
    assert len(served.ask("GET", "/v1/jobs", "renter").json()["items"]) == 1


def test_the_figures_count_what_there_is(served: Served) -> None:
    """Jobs by state, nodes by standing, the queue, commits, syncs, requests by route."""
    agent = ready_agent(served)
    served.submit()
    agent.sync({"token": agent.assigned()["token"], "state": "running"})
    for _ in range(2):
        served.submit(resources={"gpus": 64})
    served.ask("GET", "/v1/jobs/999", "renter")
    page = served.ask("GET", "/metrics")
    figures = dict(line.rsplit(" ", 1) for line in page.text.splitlines() if not line.startswith("#"))

    assert page.headers["content-type"].startswith("text/plain")
    assert float(figures["gridmark_queue_length"]) == 2
    assert float(figures['gridmark_jobs{state="active"}']) == 1
    assert float(figures['gridmark_attempts{state="running"}']) == 1
    assert float(figures['gridmark_nodes{online="true",standing="ready"}']) == 1
    assert float(figures["gridmark_syncs_total"]) == 3
    assert float(figures["gridmark_commit_seconds_count"]) > 5
    assert float(figures['gridmark_request_seconds_count{method="POST",route="/v1/jobs",status="201"}']) == 3
    assert float(figures['gridmark_refused_total{problem="not-found"}']) == 1


def test_a_backup_is_a_database_of_its_own(served: Served) -> None:
    """Beside the data, of the size that is said."""
    served.submit()
    made = served.ask("POST", "/v1/backup", "operator").json()
    path = served.settings.data / "backups" / made["file"]

    assert path.stat().st_size == made["size_bytes"] > 0
    assert path.stat().st_mode & 0o077 == 0


def test_events_are_read_in_pages(served: Served) -> None:
    """Oldest first, each once, of one job where asked."""
    job = served.submit()["id"]
    served.ask("POST", f"/v1/jobs/{job}/cancel", "renter")
    first = served.ask("GET", "/v1/events?limit=3", "operator").json()
    rest = served.ask("GET", f"/v1/events?cursor={first['next_cursor']}", "operator").json()
    mine = served.ask("GET", f"/v1/jobs/{job}/events", "renter").json()["items"]

    assert [one["seq"] for one in (*first["items"], *rest["items"])] == [1, 2, 3, 4, 5]
    assert rest["next_cursor"] is None
    assert [one["kind"] for one in mine] == ["job.queued", "job.cancelled"]


def test_a_revoked_account_is_out_at_once(served: Served) -> None:
    """Its jobs stay; an operator cannot shut itself out."""
    token = served.account("leaver", "renter")
    account = served.ask("GET", "/v1/accounts/me", token=token).json()["id"]
    served.submit(token)
    served.ask("POST", f"/v1/accounts/{account}/revoke", "operator")

    assert served.ask("GET", "/v1/jobs", token=token).status_code == 401
    assert len(served.ask("GET", "/v1/jobs", "operator").json()["items"]) == 1
    assert served.ask("POST", "/v1/accounts/1/revoke", "operator").status_code == 409


def test_what_nothing_refers_to_goes_after_a_day(served: Served) -> None:
    """A checkpoint that was replaced; an upload stays, whether or not a job names it."""
    served.clock.set_calendar(int(time.time() * 1000))  # the files' own times are the machine's
    agent = ready_agent(served)
    served.ask("PUT", f"/v1/blobs/{wire.digest(b'mine')}", "renter", content=b"mine")
    served.submit(checkpoint="ck")
    token = agent.assigned()["token"]
    for content in (b"first", b"second"):
        agent.leave(token, content, "checkpoint")
    assert served.runtime.tidy() == 0
    served.clock.set_calendar(int(time.time() + runtime.UNNAMED_S + 60) * 1000)

    assert served.runtime.tidy() == 1
    found = [
        content for content in (b"mine", b"first", b"second") if served.runtime.files.blob_path(wire.digest(content))
    ]
    assert found == [b"mine", b"second"]


def test_tokens_open_the_same_accounts_after_a_restart(tmp_path: Path) -> None:
    """They are given out once; only digests are kept."""
    with Served(tmp_path) as first:
        token = first.tokens["renter"]
        boot = first.runtime.server_boot
    with Served(tmp_path) as second:
        assert second.tokens == {}
        assert second.ask("GET", "/v1/accounts/me", token=token).json()["role"] == "renter"
        assert second.runtime.server_boot == boot + 1
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes()
