"""Agents' syncs answered where their bytes arrive, without a task and an ASGI application for each.

Ten thousand idle agents are a thousand syncs a second, each of which waits for ten seconds: what a request costs in
general, in time and in memory, is many times what a sync does. The steps and every refusal are those of the route in
routes/agent.py, by the same functions; whatever is not a plain sync of ordinary size takes that way.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scheduler import wire
from scheduler.desk import Refused
from scheduler.store.errors import StoreError
from scheduler.wire import SyncAnswer
from server import agents, bodies, problems, signing, views
from server.deps import verified
from server.observe import SYNC, Seen, with_ours
from server.problems import ProblemError
from server.runtime import Runtime, unwritten
from server.schemas.agent import SyncDocument
from server.syncs import Sync

#: a larger one is not read here: uvicorn would pause the connection half-way
DIRECT_BYTES = 32 << 10
#: of all headers together, or of anything else that is no body
HEADERS_BYTES = 64 << 10

_TARGET = SYNC.encode()
_STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in http.HTTPStatus}
#: headers whose first value is read
_READ = {name.lower().encode(): name for name in wire.HEADERS}
_TYPE = b"content-type"


class Protocol(HttpToolsProtocol):
    """A connection; uvicorn's, but for what it does with a sync."""

    def __init__(self, *args: Any, runtime: Runtime, **more: Any) -> None:
        super().__init__(*args, **more)
        self.runtime = runtime
        self._no_body_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse it; headers without end are not taken, which the parser would keep."""
        self._no_body_bytes += len(data)
        super().data_received(data)
        if self._no_body_bytes > HEADERS_BYTES and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """As uvicorn."""
        self._no_body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to answer: a plain sync here, everything else as uvicorn."""
        self._no_body_bytes = 0
        if self.url == _TARGET and self._is_plain():
            self.scope["method"], self.scope["raw_path"], self.scope["query_string"] = "POST", self.url, b""
            self.cycle = _Cycle(self)  # type: ignore[assignment]  # as far as uvicorn needs one
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """As uvicorn."""
        self._no_body_bytes = 0
        super().on_body(body)

    def _is_plain(self) -> bool:
        """Whether nothing about the request needs uvicorn's or the application's care."""
        parser, before = self.parser, self.cycle
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return False
        if self.expect_100_continue or self.flow.write_paused or not (before is None or before.response_complete):
            return False
        lengths = [value for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        return len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= DIRECT_BYTES


class _Cycle:
    """A sync on its way, where uvicorn has the request and response of a connection: it tells this one likewise."""

    __slots__ = ("_begun", "_protocol", "_scope", "_seen", "_sync", "body", "disconnected", "keep_alive", "more_body",
                 "response_complete")  # fmt: skip

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._scope: Scope = protocol.scope  # type: ignore[assignment]  # a typed dictionary
        self._seen = Seen(protocol.runtime.watch.clock_s())
        self._sync: Sync | None = None
        self._begun = False
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.keep_alive = protocol.parser.should_keep_alive()
        self.response_complete = False

    @property
    def message_event(self) -> _Cycle:
        """What uvicorn sets when a part of the request has come, or nobody is there any more: ourselves."""
        return self

    def set(self) -> None:
        """Something of the above has happened."""
        if self.disconnected:
            if self._sync is not None:
                self._protocol.runtime.syncs.leave(self._sync)
        elif not self.more_body and not self._begun:
            self._begun = True
            self._protocol.runtime.syncs.in_turn(self._look)

    def _look(self) -> None:
        if not self.disconnected:
            self._guarded(self._begin)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step; every way to fail is answered, as the application does."""
        try:
            step()
        except ProblemError as problem:
            self._refuse(problem)
        except BaseException as error:  # noqa: BLE001 - the border to HTTP: told as the server's fault, and logged
            self._seen.raised = error
            self._refuse(problems.unforeseen())

    def _begin(self) -> None:
        runtime, scope, body = self._protocol.runtime, self._scope, bytes(self.body)
        runtime.watch.name(scope)
        runtime.watch.admit(scope)
        headers = _read(scope["headers"])
        claim = signing.claimed(headers)
        what = verified(scope, claim, runtime, body_sha256=bodies.digest(body), body=body)
        bodies.expect_kind(headers.get("content-type", ""), bodies.JSON)
        request = bodies.validated(SyncDocument, bodies.parse(body)).record()
        self._slim()
        if agents.leaves_something(request):
            self._later(agents.sync(runtime, what, request))
        else:
            self._sync = runtime.syncs.begin(what.node.id, what.epoch, request, self._done)

    def _slim(self) -> None:
        """Forget what is not needed to answer: this may wait for long, beside ten thousand others."""
        kept = {name: self._scope[name] for name in ("method", "state")}
        self._scope, self.body = kept, bytearray()
        protocol = self._protocol
        protocol.scope = protocol.headers = None  # type: ignore[assignment]  # made anew for the next request

    def _done(self, answer: SyncAnswer | None, error: BaseException | None) -> None:
        """What came of the sync."""
        self._sync = None

        def step() -> None:
            if error is not None:
                raise _told(error)
            assert answer is not None  # noqa: S101 - without an error there is one
            runtime = self._protocol.runtime
            runtime.metrics.syncs.inc()
            if agents.needs_secrets(answer):
                self._later(agents.with_secrets(runtime, answer))
            else:
                self._answer(views.of_sync(answer))

        self._guarded(step)

    def _later(self, answer: Coroutine[Any, Any, SyncAnswer]) -> None:
        """Answer what a coroutine returns; uvicorn waits for it when the server ends."""
        tasks: set[asyncio.Task[Any]] = self._protocol.tasks

        def ended(task: asyncio.Task[SyncAnswer]) -> None:
            tasks.discard(task)
            if not task.cancelled():
                self._guarded(lambda: self._settle(task))

        task = asyncio.get_running_loop().create_task(answer)
        tasks.add(task)
        task.add_done_callback(ended)

    def _settle(self, task: asyncio.Task[SyncAnswer]) -> None:
        error = task.exception()
        if error is not None:
            raise _told(error)
        self._answer(views.of_sync(task.result()))

    def _refuse(self, problem: ProblemError) -> None:
        state = self._scope["state"]
        state["problem"] = problem.slug
        response = problems.respond(problem, state["request_id"])
        self._send(response.status_code, _lines(response, state["request_id"]), bytes(response.body))

    def _answer(self, content: bytes) -> None:
        before, after = _lines_of(len(content))
        self._send(200, before, self._scope["state"]["request_id"].encode(), after, content)

    def _send(self, status: int, *parts: bytes) -> None:
        """Answer with these lines and this content, and let the connection go on to what follows."""
        if self.response_complete:
            return
        self.response_complete = True
        protocol, seen = self._protocol, self._seen
        watch = protocol.runtime.watch
        seen.started_s, seen.status = watch.clock_s(), status
        if not self.disconnected and not protocol.transport.is_closing():
            given = b"".join([b"%b: %b\r\n" % pair for pair in protocol.server_state.default_headers])
            *lines, content = parts
            end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
            protocol.transport.write(b"".join((_STATUS_LINES[status], given, *lines, end, content)))
            if not self.keep_alive:
                protocol.transport.close()
            protocol.on_response_complete()
        watch.note(self._scope, seen, route=SYNC)


def _lines(response: Response, request_id: str) -> bytes:
    """The headers of a response as lines, with those that every answer has."""
    return b"".join([b"%b: %b\r\n" % pair for pair in with_ours(response.raw_headers, request_id)])


@lru_cache(maxsize=1024)
def _lines_of(length: int) -> tuple[bytes, bytes]:
    """The same of an answer of this length: what stands before the request's id, and what behind it."""
    mark = "*"
    before, _, after = _lines(views.packed(bytes(length)), mark).partition(mark.encode())
    return before, after


def _read(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those of a signed request, and the type of its body; of one that is there twice the first."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in _READ:
            found.setdefault(_READ[name], value.decode("latin-1"))
        elif name == _TYPE:
            found.setdefault("content-type", value.decode("latin-1"))
    return found


def _told(error: BaseException) -> BaseException:
    """An error as a problem, if it is one that callers are told of."""
    if isinstance(error, Refused):
        return problems.of_refusal(error)
    return unwritten(error) if isinstance(error, StoreError) else error
