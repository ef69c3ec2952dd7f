"""The list of offers, answered before FastAPI: as FastAPI answers it, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server import quick
from server.quick import PATH, Quick
from server.routes import offers as route
from server.settings import Limits
from tests.server.served import Served, ready_agent

#: what is asked plainly
PLAIN = (
    "",
    "?q=count >= 0",
    "?q=count >= 0&limit=1&sort=-memory.triad&explain=true",
    "?q=memory.triad %3E 1000 TB/s",
    "?q=%C3%A4 ~ %22%FF%22",
    "?q=prise < 1 $/h",
    "?sort=prise",
    "?sort=gpu&explain=no",
    "?cursor=YWJj",
    "?q=",
)
#: what FastAPI is left to refuse, or to understand
OTHER = (
    "?limit=0",
    "?limit=01",
    "?limit=",
    "?limit=5&limit=6",
    "?q=a%00b",
    "?explain=perhaps",
    "?cursor=!",
    "?cursor=",
    "?wish=1",
    "?q=" + "x" * 4001,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A market with a node."""
    with Served(tmp_path_factory.mktemp("quick")) as found:
        ready_agent(found)
        yield found


@pytest.mark.parametrize("query", PLAIN + OTHER)
@pytest.mark.parametrize("who", ["renter", "stranger", "nobody", "nonsense"])
def test_it_is_answered_as_by_fastapi(served: Served, monkeypatch: pytest.MonkeyPatch, query: str, who: str) -> None:
    """Status, headers and content, but for the request's id; whoever asks, whatever is wrong."""
    token = {"renter": {}, "stranger": {}, "nobody": {"token": "gm_" + "x" * 43}, "nonsense": {"token": "x"}}[who]
    role: Any = "renter" if who == "renter" else None
    here = served.ask("GET", PATH + query, role, **token)
    monkeypatch.setattr(quick, "_read", lambda _: None)
    there = served.ask("GET", PATH + query, role, **token)

    assert (here.status_code, without_id(here)) == (there.status_code, without_id(there))
    assert (here.status_code == 401) == (who in ("nobody", "nonsense"))


def without_id(answer: Any) -> tuple[dict[str, str], str]:
    """Headers and content."""
    name = answer.headers["x-request-id"]
    return {key: value.replace(name, "") for key, value in answer.headers.items()}, answer.text.replace(name, "")


@pytest.mark.parametrize("query", PLAIN + OTHER)
def test_what_is_asked_plainly_never_reaches_fastapi(served: Served, query: str) -> None:
    """And everything else does, as does every other method and place."""
    passed: list[str] = []

    async def below(scope: Any, receive: Any, send: Any) -> None:
        del receive, send
        passed.append(scope["method"] + scope["path"])

    async def send(message: Any) -> None:
        sent.append(message["type"])

    layer, sent = Quick(below, runtime=served.runtime), list[str]()
    asked = (("GET", PATH), ("HEAD", PATH), ("POST", PATH), ("GET", PATH + "/fields"))
    for method, path in asked:
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": encoded(query),
            "headers": [],
        }
        scope["state"] = {"request_id": "1"}
        served.run(layer(scope, None, send))  # type: ignore[arg-type]  # nothing is received

    plain = query in PLAIN
    assert passed == [method + path for method, path in asked][plain:]
    assert sent == ["http.response.start", "http.response.body"] * plain


def encoded(query: str) -> bytes:
    """As it comes over the wire."""
    return query.removeprefix("?").replace(" ", "+").encode("ascii")


def test_every_parameter_of_the_route_is_known() -> None:
    """One that is added there is read here, by the same rule."""
    asked = set(route.found.__annotations__) - {"runtime", "account", "return"}

    assert asked == {"q", "sort", "limit", "cursor", "explain"} == set(quick._ASKED) == set(quick._DEFAULTS)


def test_who_asks_too_often_is_refused_and_noted(tmp_path: Path) -> None:
    """By account, with a figure, as everywhere."""
    limits = Limits(account_requests_per_s=1e-6, account_requests_burst=2)
    with Served(tmp_path, limits=limits) as served:
        found = [served.ask("GET", PATH, "renter") for _ in range(3)]
        figures = served.ask("GET", "/metrics", "operator").text

    assert [one.status_code for one in found] == [200, 200, 429]
    assert found[2].json()["type"] == "/problems/too-many"
    assert f'gridmark_request_seconds_count{{method="GET",route="{PATH}",status="200"}} 2.0' in figures
    assert 'gridmark_refused_total{problem="too-many"} 1.0' in figures
