"""A /v1 that does as it is told: a real HTTP server on loopback, so that its connections can really break."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from server.client import Clock, Settings

WORD = "gm_test"
Act = Callable[["Handler"], None]


class Asked:
    """A request as it arrived."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path  #: with its query
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = Asked(self.command, self.path, dict(self.headers), self.rfile.read(length))
        self.server.fake.act(asked)(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name is the library's
        """Say nothing."""


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeMarket

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


class FakeMarket:
    """What to answer, by "METHOD /path": each act once, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.acts: dict[str, list[Act]] = {}
        self.url = ""

    def on(self, line: str, *acts: Act) -> None:
        self.acts[line] = list(acts)

    def act(self, asked: Asked) -> Act:
        self.asked.append(asked)
        acts = self.acts.get(f"{asked.method} {asked.path.partition('?')[0]}")
        if not acts:
            return problem(404, "not-found", f"nothing is at {asked.line}")
        return acts.pop(0) if len(acts) > 1 else acts[0]

    def lines(self, method: str = "") -> list[str]:
        return [one.line for one in self.asked if one.method.startswith(method)]

    @property
    def settings(self) -> Settings:
        return Settings(server=self.url, token=WORD)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[FakeMarket]:
    """A fake on a port of the kernel's choice."""
    fake = FakeMarket()
    with FakeServer(("127.0.0.1", 0), Handler) as server:
        server.fake = fake
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        fake.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def answer(body: object, status: int = 200, **headers: str) -> Act:
    """JSON."""

    def act(handler: Handler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    return act


def problem(status: int, slug: str, detail: str, **more: object) -> Act:
    """A problem document."""
    return answer({"type": f"/problems/{slug}", "status": status, "detail": detail, **more}, status)


def lines(*documents: object, cut: bytes | None = None, then: Callable[[], object] | None = None) -> Act:
    """NDJSON in chunks; with `cut` the connection is reset behind these bytes; `then` runs before it ends."""

    def act(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for document in documents:
            _chunk(handler, json.dumps(document).encode() + b"\n")
        if then is not None:
            then()
        if cut is None:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            if cut:
                _chunk(handler, cut)
            hang_up(handler)

    return act


def hang_up(handler: Handler) -> None:
    """Reset the connection, as a server that was killed would."""
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def _chunk(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
    handler.wfile.flush()


class FakeClock:
    """Sleeping is what moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now_s, sleep=self.sleep, random=lambda: 1.0)
