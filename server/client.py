"""The renter's side of /v1: one connection, retried where a retry cannot do anything twice.

The standard library's HTTP is used here because of its weight: a client of httpx is loaded and built in 160 ms, this
one in 60 ms, and `gridmark run -- true` is to take less than 300 ms from its start to its exit code. Answers are plain
JSON objects, as the server's schemas (server/schemas/) describe them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from server.client_words import reason_of, without_tls

Json = dict[str, Any]
T = TypeVar("T")

TIMEOUT_S = 30.0
#: how long a request is tried again after the server was lost in its middle
PATIENCE_S = 30.0
BACKOFF_FIRST_S = 0.1
BACKOFF_LONGEST_S = 5.0
#: of an answer that is held in memory whole
MAX_ANSWER_BYTES = 64 << 20
COPY_BYTES = 1 << 20
RETRY_AFTER_LONGEST_S = 60.0
#: answers that say "not now"
BUSY = frozenset({429, 502, 503, 504})


class ClientError(Exception):
    """What was asked could not be had; the message is one sentence for people."""

    nowhere = False  #: nothing at all was found at the server's address


class UnreachableError(ClientError):
    """No answer, or none that this client understands."""


class ProblemError(ClientError):
    """The server refused; the problem document says why (RFC 9457)."""

    def __init__(self, status: int, problem: Json, *, retry_after_s: float = 0.0) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        self.problem = problem
        self.kind = str(problem.get("type", "")).rpartition("/")[2]  #: "not-found", "invalid-query"
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP status {status}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server is and who calls."""

    server: str
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance, so that tests need not wait for either."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


class Client:
    """One caller of one server. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        try:
            parts = urlsplit(settings.server)
            port = parts.port
        except ValueError:  # a port that is none
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(
                f"the server's address is http://HOST:PORT or https://HOST:PORT, found {settings.server!r}"
            )
        self.server = settings.server.rstrip("/")
        self.clock = clock or Clock()
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, port
        self._prefix = parts.path.rstrip("/")
        self._token = settings.token
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._kept: http.client.HTTPConnection | None = None
        self._reached = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def get(self, path: str, **query: object) -> Any:
        """The JSON at `path`; parameters that are None are left out."""
        return self._json("GET", with_query(path, query), again=True)

    def get_bytes(self, path: str, **query: object) -> bytes:
        """What is at `path`, as it is."""
        return self._whole("GET", with_query(path, query), again=True)

    def post(self, path: str, body: object = None, *, key: str | None = None, again: bool = False) -> Any:
        """Do something; with a `key`, or when it may be done `again` without harm, a lost connection is tried again."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self._json(
            "POST",
            path,
            body=json.dumps({} if body is None else body).encode(),
            headers=headers,
            again=again or key is not None,
        )

    def submit(self, document: Json, key: str) -> Json:
        """A new job, or the one that was submitted under `key` before."""
        job: Json = self.post("/v1/jobs", document, key=key)
        return job

    def put_blob(self, content: IO[bytes], sha256: str, size_bytes: int) -> bool:
        """Hand over content that jobs may name; False when the server had it already."""
        path = f"/v1/blobs/{sha256}"
        with contextlib.suppress(ProblemError):
            self._whole("HEAD", path, again=True)
            return False
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
        self._whole("PUT", path, body=content, headers=headers, again=True)
        return True

    def fetch(self, path: str, into: IO[bytes]) -> tuple[str, int]:
        """Copy what is at `path` into a file; its SHA-256 and size. Begun anew when the connection breaks."""
        import hashlib  # here and not above: it takes 4 ms, which `run` can do without

        def copy(response: http.client.HTTPResponse) -> tuple[str, int]:
            into.seek(0)
            into.truncate()
            digest, size = hashlib.sha256(), 0
            while piece := response.read(COPY_BYTES):
                into.write(piece)
                digest.update(piece)
                size += len(piece)
            check_whole(response)
            return digest.hexdigest(), size

        return self._exchange("GET", path, None, {}, copy, again=True)

    @contextlib.contextmanager
    def stream(self, path: str, *, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
        """An answer that arrives bit by bit, on a connection of its own; nothing is retried here.

        Raises:
            UnreachableError: no TLS with whoever is there.
            OSError, http.client.HTTPException: the connection broke.
            TimeoutError: silence for `timeout_s`.
        """
        connection = self._connection(timeout_s)
        try:
            self._connect(connection)
            connection.request("GET", self._prefix + path, headers=self._headers({}))
            response = connection.getresponse()
            if response.status != 200:
                raise problem_of(response.status, response.read(MAX_ANSWER_BYTES))
            self._reached = True
            yield response
        finally:
            connection.close()

    def unreachable(self, error: Exception) -> UnreachableError:
        """`error` of a connection as a sentence."""
        sentence = UnreachableError(f"{self.server} does not answer: {reason_of(error)}")
        sentence.nowhere = not self._reached
        return sentence

    def backoff_s(self, step: int) -> float:
        """How long to wait before try `step` + 2; half of it is chance, so that many do not return at once."""
        longest = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0 ** min(step, 20))
        return longest * (0.5 + 0.5 * self.clock.random())

    def _json(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool,
    ) -> Any:
        content = self._whole(method, path, body=body, headers=headers, again=again)
        if not content:
            return {}
        try:
            return json.loads(content)
        except ValueError as error:
            raise UnreachableError(f"{self.server} answers, but not as a gridmark server: no JSON at {path}") from error

    def _whole(
        self,
        method: str,
        path: str,
        *,
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool,
    ) -> bytes:
        def read(response: http.client.HTTPResponse) -> bytes:
            content = response.read(MAX_ANSWER_BYTES + 1)
            if len(content) > MAX_ANSWER_BYTES:
                raise UnreachableError(f"{self.server} answers more than {MAX_ANSWER_BYTES >> 20} MiB at {path}")
            check_whole(response)
            return content

        return self._exchange(method, path, body, headers or {}, read, again=again)

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        read: Callable[[http.client.HTTPResponse], T],
        *,
        again: bool,
    ) -> T:
        """Ask until an answer came, within the patience; only what may be said twice is said twice."""
        step, until = 0, self.clock.monotonic() + self._patience_s
        while True:
            try:
                return self._once(method, path, body, headers, read)
            except ProblemError as error:
                if error.status not in BUSY or self.clock.monotonic() >= until:
                    raise
                wait_s = max(error.retry_after_s, self.backoff_s(step))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                refused = isinstance(error, ConnectionRefusedError | socket.gaierror)
                may_repeat = self._reached if refused else again
                if not may_repeat or self.clock.monotonic() >= until:
                    raise self.unreachable(error) from error
                wait_s = self.backoff_s(step)
            self.clock.sleep(wait_s)
            step += 1

    def _once(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        read: Callable[[http.client.HTTPResponse], T],
    ) -> T:
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        connection = self._kept = self._kept or self._connection(self._timeout_s)
        if connection.sock is None:
            self._connect(connection)
            self._reached = True  # from here on a lost connection is a loss, not a wrong address
        # a server that refuses a large body early hangs up while it is being sent, and has already said why
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, self._prefix + path, body=body, headers=self._headers(headers))
        response = connection.getresponse()
        if response.status >= 300:
            raise problem_of(response.status, response.read(MAX_ANSWER_BYTES), response.getheader("Retry-After"))
        return read(response)

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._scheme == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """Connect; where TLS cannot be agreed on, no later try will do better.

        Raises:
            UnreachableError: whoever is there cannot be believed, or speaks no TLS.
            OSError: nobody is there.
        """
        try:
            connection.connect()
        except OSError as error:
            if sentence := without_tls(self.server, error):
                raise UnreachableError(sentence) from error
            raise

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        headers = {"Accept": "application/json", **more}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


def with_query(path: str, query: Mapping[str, object]) -> str:
    """`path` with the parameters that are not None."""
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def check_whole(response: http.client.HTTPResponse) -> None:
    """Raise where the connection ended before the announced length; http.client takes that for the end."""
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def problem_of(status: int, content: bytes, retry_after: str | None = None) -> ClientError:
    """A refusal as an exception; something between us and the server may have answered in its place."""
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        text = content[:200].decode("utf-8", "replace").strip() or "without a word"
        problem = {"title": f"HTTP status {status} from something that is no gridmark server: {text}"}
    seconds = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0
    return ProblemError(status, problem, retry_after_s=min(seconds, RETRY_AFTER_LONGEST_S))
