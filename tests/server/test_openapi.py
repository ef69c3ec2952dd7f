"""The OpenAPI document is true: generated requests, right and wrong, get only answers that it announces."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server.settings import Limits
from tests.server.served import Agent, Served, ready_agent
from tests.server.test_every_endpoint import OPERATIONS

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 4  #: of each operation and kind
RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
#: nothing can be wrong with what takes nothing
PLAIN = frozenset({"GET /healthz", "GET /readyz", "GET /metrics", "POST /v1/challenges"})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # nobody is slowed down here
    limits = Limits(account_requests_burst=1e9, address_requests_burst=1e9)
    with Served(tmp_path_factory.mktemp("generated"), limits) as found:
        yield found


@pytest.fixture(scope="module")
def agent(served: Served) -> Agent:
    return ready_agent(served)


@pytest.fixture(scope="module")
def schema(served: Served) -> BaseSchema:
    return schemathesis.openapi.from_dict(served.app.openapi())


def operation(schema: BaseSchema, key: str) -> Any:
    method, _, path = key.partition(" ")
    return schema[path][method]


@pytest.mark.parametrize(
    ("key", "mode"),
    [(key, RIGHT) for key in OPERATIONS] + [(key, WRONG) for key in OPERATIONS if key not in PLAIN],
    ids=lambda one: one if isinstance(one, str) else one.name,
)
def test_generated_requests_get_announced_answers(
    served: Served, agent: Agent, schema: BaseSchema, key: str, mode: GenerationMode
) -> None:
    """Never a 500, never a status, a type or a body of another form than the document's."""
    known = OPERATIONS[key]

    @settings(
        derandomize=True,
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        case: Case[Any] = data.draw(operation(schema, key).as_strategy(generation_mode=mode))
        if isinstance(case.query, dict):
            case.query.pop("follow", None)  # a stream that ends with its job; see test_follow.py
        request = as_sent(case)
        if known.signed:
            signed = agent.headers(request.method, request.url.raw_path.decode(), request.content)
            request.headers.update(signed)
        if known.roles:
            request.headers["Authorization"] = f"Bearer {served.tokens[known.roles[0]]}"
        response = served.run(served.send(request))
        case.validate_response(response, checks=CHECKS)

    check()


def as_sent(case: Case[Any]) -> httpx.Request:
    """The request as it goes over the wire."""
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
    content: Any = prepared.body or b""
    body = content if isinstance(content, bytes) else content.encode()
    if case.path.endswith("/reports") and case.method == "POST":
        body = gzip.compress(body)
        prepared.headers["Content-Encoding"] = "gzip"
    headers = {name: str(value) for name, value in prepared.headers.items() if name.lower() != "content-length"}
    return httpx.Request(case.method, prepared.url or "", headers=headers, content=body)
