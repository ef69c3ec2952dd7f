"""What happens to every request whatever it asks: an id, a limit per address, a line in the log, a figure."""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import logs, problems
from server.limits import Buckets
from server.metrics import Metrics
from server.problems import REQUEST_ID, ProblemError

#: what agents ask most of the time
SYNC = "/v1/agent/sync"
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Watch:
    """What is done about every request: it is given an id, counted against its address, and noted."""

    def __init__(
        self, *, metrics: Metrics, addresses: Buckets, clock_s: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        self._metrics = metrics
        self._addresses = addresses
        self.clock_s = clock_s
        self._new_id = new_id
        self._series: dict[tuple[str, str, int], Histogram] = {}  #: by method, route and status: looking one up is slow

    def name(self, scope: Scope) -> str:
        """The id that the request came with, or a new one; in the scope's state from now on."""
        found: str = _given_id(scope) or self._new_id()
        scope.setdefault("state", {})["request_id"] = found
        return found

    def admit(self, scope: Scope) -> None:
        """Count the request.

        Raises:
            ProblemError: its address asks too often.
        """
        self._addresses.take(_network(scope))

    def note(self, scope: Scope, seen: Seen, *, route: str) -> None:
        """A figure, and a line in the log: the agents' usual call is too many lines for people, and says nothing."""
        now_s = self.clock_s()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        answered_s = (seen.started_s if seen.started_s is not None else now_s) - seen.began_s
        self._seconds_of(method, route, seen.status).observe(answered_s)
        state: dict[str, Any] = scope.get("state", {})
        if "problem" in state:
            self._metrics.refused.labels(state["problem"]).inc()
        level = _level(route, seen.status)
        if not logs.LOGGER.isEnabledFor(level):
            return
        who = {name: state[name] for name in ("account", "node", "problem") if name in state}
        logs.say(
            "request",
            level=level,
            raised=seen.raised,
            id=state["request_id"],
            method=method,
            route=route,
            status=seen.status,
            answered_ms=round(answered_s * 1000, 2),
            lasted_ms=round((now_s - seen.began_s) * 1000, 2),
            **who,
        )

    def _seconds_of(self, method: str, route: str, status: int) -> Histogram:
        found = self._series.get((method, route, status))
        if found is None:
            found = self._metrics.requests_s.labels(method, route, str(status))
            self._series[method, route, status] = found
        return found


class Observed:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, *, watch: Watch) -> None:
        self._app = app
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watch = self._watch
        seen = Seen(watch.clock_s())
        request_id = watch.name(scope)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.started_s, seen.status = watch.clock_s(), message["status"]
                message["headers"] = with_ours(message.get("headers", ()), request_id)
            await send(message)

        try:
            try:
                watch.admit(scope)
            except ProblemError as problem:
                scope["state"]["problem"] = problem.slug
                await problems.respond(problem, request_id)(scope, receive, watched)
            else:
                await self._app(scope, receive, watched)
        finally:
            raised = sys.exception()
            if isinstance(raised, Exception):  # a request that is cancelled is nobody's fault
                seen.raised, scope["state"]["problem"] = raised, "internal"
            watch.note(scope, seen, route=getattr(scope.get("route"), "path", "none"))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Seen:
    """What is known of an answer."""

    __slots__ = ("began_s", "raised", "started_s", "status")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.started_s: float | None = None
        self.raised: BaseException | None = None
        self.status = 500  #: until an answer begins: what the outermost handler will say


def _level(route: str, status: int) -> int:
    if status >= 500:
        return logging.WARNING
    return logging.DEBUG if route == SYNC and status == 200 else logging.INFO


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode("ascii") if _ID.fullmatch(value) else None
    return None


def with_ours(headers: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    name = REQUEST_ID.lower().encode()
    kept = [pair for pair in headers if pair[0].lower() != name]
    present = {pair[0].lower() for pair in kept}
    more = [pair for pair in _ALWAYS if pair[0] not in present]
    return [*kept, (name, request_id.encode()), *more]


def _network(scope: Scope) -> str:
    """Whom a limit per address counts."""
    client = scope.get("client")
    return _network_of(client[0] if client else "")


@lru_cache(maxsize=4096)
def _network_of(text: str) -> str:
    """Of IPv6 the /64, because that is what one customer gets."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.version == 4:
        return text
    return str(ipaddress.ip_network((address, 64), strict=False))
