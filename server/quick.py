"""The list of offers, answered before FastAPI, which takes as long to find the route and to read five parameters as it
takes to find the best fifty of ten thousand nodes.

Parameters, steps and refusals are those of the route in routes/offers.py; what is not plainly asked takes that way.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qsl

from fastapi import params
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server import deps, problems
from server.problems import ProblemError
from server.routes.offers import found
from server.runtime import Runtime

PATH = "/v1/offers"
#: requests that are kept as read: pages, people and scripts ask the same ones again and again
REMEMBERED = 1024

_ROUTE = SimpleNamespace(path=PATH)  #: what stands in the log and in the figures
_ASKED = {
    name: TypeAdapter[Any](hint)
    for name, hint in get_type_hints(found, include_extras=True).items()
    if any(isinstance(one, params.Query) for one in get_args(hint))
}
_DEFAULTS = {name: inspect.signature(found).parameters[name].default for name in _ASKED}


class Quick:
    """A layer of the application."""

    def __init__(self, app: ASGIApp, *, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        asked = None
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET":
            asked = _read(scope["query_string"])
        if asked is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        await (await self._answer(scope, asked))(scope, receive, send)

    async def _answer(self, scope: Scope, asked: Mapping[str, Any]) -> Response:
        token = Headers(scope=scope).get("authorization")
        try:
            if token is not None:
                deps.account_of(scope, self._runtime, token)
            return await found(self._runtime, None, **asked)
        except ProblemError as problem:
            scope["state"]["problem"] = problem.slug
            return problems.respond(problem, scope["state"]["request_id"])


@lru_cache(maxsize=REMEMBERED)
def _read(query: bytes) -> Mapping[str, Any] | None:
    """The parameters with their defaults; None = not every one is there once and right, so FastAPI says what is not."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    sent = dict(pairs)
    if len(sent) < len(pairs) or not sent.keys() <= _ASKED.keys():
        return None
    try:
        return _DEFAULTS | {name: _ASKED[name].validate_python(text) for name, text in sent.items()}
    except ValidationError:
        return None
