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

from scheduler.desk import Refused
from scheduler.store.errors import StoreError
from scheduler.wire import SyncAnswer
from server import agents, bodies, problems, signing, views
from server.deps import verified
from server.heads import HEADERS_BYTES, head_of, keeps
from server.observe import SYNC, Seen, with_ours
from server.problems import REQUEST_ID, ProblemError
from server.runtime import Runtime, unwritten
from server.schemas.agent import SyncDocument
from server.syncs import Sync

_TARGET = SYNC.encode()
_ID = REQUEST_ID.lower()
_STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in http.HTTPStatus}


class Protocol(HttpToolsProtocol):
    """A connection; uvicorn's, but for what it does with a sync.

    A sync whose headers come in one piece, written as agents write them, never reaches the parser.
    """

    def __init__(self, *args: Any, runtime: Runtime, **more: Any) -> None:
        super().__init__(*args, **more)
        self.runtime = runtime
        self._no_body_bytes = 0
        self._parses = False  #: the parser has a part of a request
        self._coming: _Cycle | None = None  #: a sync whose body is on its way
        self._rests_since_s: float | None = None  #: of the loop's clock; None = a request is under way

    def data_received(self, data: bytes) -> None:
        """Take what is a sync, and parse the rest; headers without end are not taken, which the parser would keep."""
        taken = self._take(data)
        if taken == len(data):
            return
        rest = data[taken:]
        self._no_body_bytes += len(rest)
        super().data_received(rest)
        if self._no_body_bytes > HEADERS_BYTES and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        """As uvicorn."""
        self._no_body_bytes = 0
        self._parses = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """As uvicorn."""
        self._no_body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """As uvicorn."""
        self._no_body_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As uvicorn."""
        self._parses = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn; no timer keeps a connection that broke."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def on_response_complete(self) -> None:
        """As uvicorn, whose timer ends with every request: this one goes on, and looks at the time when it rings."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._rests_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._ring_after(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if nothing was asked on it for so long."""
        self.timeout_keep_alive_task = None
        if self._rests_since_s is None:
            return  # it is set again when this request is answered
        left_s = self._rests_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._ring_after(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _ring_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._rests_since_s = None

    def _take(self, data: bytes) -> int:
        """How many of the bytes were those of a plain sync."""
        coming, begin = self._coming, 0
        if coming is None:
            head = head_of(data) if self._is_free() else None
            if head is None:
                return 0
            self._unset_keepalive_if_required()
            headers, begin = head
            self.cycle = coming = _Cycle(self, headers)  # type: ignore[assignment]  # as far as uvicorn needs one
        end = begin + coming.lacking_bytes
        coming.take(data[begin:end])
        self._coming = coming if coming.lacking_bytes else None
        return min(end, len(data))

    def _is_free(self) -> bool:
        """Whether everything before was read and answered."""
        before = self.cycle
        return not self._parses and not self.flow.write_paused and (before is None or before.response_complete)


class _Cycle:
    """A sync on its way, where uvicorn has the request and response of a connection: it tells this one likewise."""

    __slots__ = ("_body", "_headers", "_protocol", "_scope", "_seen", "_sync", "disconnected", "keep_alive",
                 "lacking_bytes", "response_complete")  # fmt: skip

    def __init__(self, protocol: Protocol, headers: dict[str, str]) -> None:
        self._protocol = protocol
        self._headers = headers
        given = headers.get(_ID)
        self._scope: Scope = {
            "method": "POST",
            "raw_path": _TARGET,
            "query_string": b"",
            "client": protocol.client,
            "headers": () if given is None else ((_ID.encode(), given.encode()),),
            "state": protocol.app_state.copy(),
        }
        self._seen = Seen(protocol.runtime.watch.clock_s())
        self._sync: Sync | None = None
        self._body = b""
        self.lacking_bytes = int(headers["content-length"])
        self.disconnected = False
        self.keep_alive = keeps(headers) is True
        self.response_complete = False

    def take(self, piece: bytes) -> None:
        """A part of the body, or all of it."""
        self._body += piece
        self.lacking_bytes -= len(piece)
        if not self.lacking_bytes:
            self._protocol.runtime.syncs.in_turn(self._look)

    @property
    def message_event(self) -> _Cycle:
        """What uvicorn sets when nobody is there any more: ourselves."""
        return self

    def set(self) -> None:
        """It has."""
        if self.disconnected and self._sync is not None:
            self._protocol.runtime.syncs.leave(self._sync)

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
        runtime, scope, headers, body = self._protocol.runtime, self._scope, self._headers, self._body
        runtime.watch.name(scope)
        runtime.watch.admit(scope)
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
        self._scope = {"method": "POST", "state": self._scope["state"]}
        self._headers, self._body = {}, b""

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


def _told(error: BaseException) -> BaseException:
    """An error as a problem, if it is one that callers are told of."""
    if isinstance(error, Refused):
        return problems.of_refusal(error)
    return unwritten(error) if isinstance(error, StoreError) else error
