"""Syncs that are answered below the application: byte for byte what the application answers, over real sockets."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from scheduler import lease
from server import direct
from server.app import create_app
from server.direct import Protocol
from server.heads import DIRECT_BYTES, HEADERS_BYTES
from tests.server.served import WAIT_S, Agent, Json, Served, ready_agent

SYNC = "/v1/agent/sync"


@dataclass
class Answered:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Connection:
    """Bytes out, answers in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self._file = self.socket.makefile("rb")

    def send(self, content: bytes, headers: dict[str, str], *, target: str = SYNC, first: str = "") -> None:
        self.socket.sendall(request(content, headers, first or f"POST {target} HTTP/1.1"))

    def answer(self) -> Answered:
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(": ")
            headers[name] = value
        return Answered(status, headers, self._file.read(int(headers["content-length"])))

    def is_closed(self) -> bool:
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def request(content: bytes, headers: dict[str, str], first: str = f"POST {SYNC} HTTP/1.1") -> bytes:
    lines = [first, "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class Listening:
    """A market whose application listens on a socket, in the loop that its other tests use."""

    served: Served
    agent: Agent
    port: int
    server: uvicorn.Server
    opened: list[Connection]
    direct: list[str]  #: targets that were answered below the application

    def connect(self) -> Connection:
        self.opened.append(Connection(self.port))
        return self.opened[-1]

    def signed(self, document: Json | bytes, **changed: Any) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a sync."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = self.agent.headers("POST", SYNC, body, **changed)
        return body, headers | {"Content-Type": "application/json", "Content-Length": str(len(body))}

    def ask(self, document: Json | bytes, *more: str, **changed: Any) -> Answered:
        """One sync on a connection of its own; `more` are headers to leave out."""
        body, headers = self.signed(document, **changed)
        connection = self.connect()
        connection.send(body, {name: value for name, value in headers.items() if name not in more})
        return connection.answer()


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    taken: list[str] = []
    begin = direct._Cycle.__init__

    def noted(cycle: Any, protocol: Protocol, headers: dict[str, str]) -> None:
        taken.append(SYNC)
        begin(cycle, protocol, headers)

    monkeypatch.setattr(direct._Cycle, "__init__", noted)
    with Served(tmp_path) as served:
        app = create_app(served.settings, served.runtime)
        http: Any = functools.partial(Protocol, runtime=served.runtime)
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, http=http, log_config=None, lifespan="off", ws="none", server_header=False)
        )
        begun = threading.Event()
        startup = server.startup

        async def started(sockets: Any = None) -> None:
            await startup(sockets)
            begun.set()

        monkeypatch.setattr(server, "startup", started)
        monkeypatch.setattr(server, "capture_signals", contextlib.nullcontext)
        ended = served.start(server.serve())
        assert begun.wait(WAIT_S)
        port = server.servers[0].sockets[0].getsockname()[1]
        found = Listening(served, ready_agent(served), port, server, [], taken)
        try:
            yield found
        finally:
            for one in found.opened:
                one.close()
            server.should_exit = True
            ended.result(WAIT_S)


def test_a_sync_is_answered_as_by_the_application(listening: Listening) -> None:
    """Status, headers and content, but for the request's id and the date that the server adds."""
    agent = listening.agent
    listening.served.submit()
    there = agent.post(SYNC, agent.told(wait=False))
    here = listening.ask(agent.told(wait=False))

    assert listening.direct == [SYNC]
    assert (here.status, here.content) == (there.status_code, there.content)
    assert here.json["wishes"][0]["desired"] == "start"
    assert without_own(here.headers) == without_own(dict(there.headers))


def without_own(headers: dict[str, str]) -> dict[str, str]:
    """Those that do not differ from request to request."""
    assert len(headers["x-request-id"]) == 16
    return {name: value for name, value in headers.items() if name not in ("date", "x-request-id")}


NOTHING: Json = {"boot_id": "boot-1", "held": [], "wait": False}
#: what is wrong with it -> body, what of the envelope is another, headers that are left out
WRONG: dict[str, tuple[Json | bytes, Json, tuple[str, ...]]] = {
    "no sync": ({}, {}, ()),
    "no token": (NOTHING | {"held": [{"token": 0, "state": "running"}]}, {}, ()),
    "unknown field": (NOTHING | {"more": 1}, {}, ()),
    "key twice": (b'{"boot_id": "boot-1", "held": [], "held": []}', {}, ()),
    "NaN": (b'{"boot_id": "boot-1", "held": [NaN]}', {}, ()),
    "no text": (b"\xff{}", {}, ()),
    "another boot": (NOTHING | {"boot_id": "boot-2"}, {}, ()),
    "no type": (NOTHING, {}, ("Content-Type",)),
    "no signature": (NOTHING, {}, ("Gridmark-Signature",)),
    "no number": (NOTHING, {}, ("Gridmark-Seq",)),
    "no such node": (NOTHING, {"node": 999}, ()),
    "another body": (NOTHING, {"body_sha256": "0" * 64}, ()),
    "earlier server": (NOTHING, {"server_boot": 0}, ()),
    "earlier epoch": (NOTHING, {"epoch": 0}, ()),
}


def test_what_is_wrong_is_told_as_by_the_application(listening: Listening) -> None:
    """The same problem document, with the same headers."""
    for why, (document, changed, without) in WRONG.items():
        body, headers = listening.signed(document, **changed)
        kept = {name: value for name, value in headers.items() if name not in (*without, "Content-Length")}
        there = listening.served.ask("POST", SYNC, content=body, headers=kept)
        here = listening.ask(document, *without, **changed)

        assert (here.status, here.status >= 400) == (there.status_code, True), why
        assert here.json | {"request_id": ""} == there.json() | {"request_id": ""}, why
        assert without_own(here.headers) == without_own(dict(there.headers)), why
    assert listening.direct == [SYNC] * len(WRONG)


def test_a_sync_counts_once(listening: Listening) -> None:
    """Sent again on another connection it is refused, whichever way it takes."""
    body, headers = listening.signed(listening.agent.told())
    found = []
    for target in (SYNC, SYNC):
        connection = listening.connect()
        connection.send(body, headers, target=target)
        found.append(connection.answer())
    there = listening.served.ask("POST", SYNC, content=body, headers=headers)

    assert [one.status for one in found] == [200, 409]
    assert found[1].json["type"] == there.json()["type"] == "/problems/replayed"


def test_a_sync_is_held_back_until_there_is_news(listening: Listening) -> None:
    """The clock stands still: only the new job ends the wait. Then the connection takes the next one."""
    agent = listening.agent
    connection = listening.connect()
    connection.send(*listening.signed(agent.told(wait=True)))
    until_held(listening, 1)
    job = listening.served.submit()["id"]
    (wish,) = connection.answer().json["wishes"]
    connection.send(*listening.signed(agent.told({"token": wish["token"], "state": "running"}, wait=False)))

    assert (wish["desired"], wish["assignment"]["job"]) == ("start", job)
    assert connection.answer().json["wishes"][0]["desired"] == "run"
    assert listening.direct == [SYNC, SYNC]
    assert listening.served.runtime.syncs.nodes == 0


def until_held(listening: Listening, count: int) -> None:
    """Return once so many syncs are held back."""
    turn = threading.Event()
    for _ in range(2000):
        if listening.served.runtime.syncs.held == count:
            return
        turn.wait(0.005)
    raise AssertionError(f"{listening.served.runtime.syncs.held} syncs are held back, not {count}")


def test_a_held_back_sync_ends_by_itself(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the poll's length."""
    monkeypatch.setattr(lease, "RENEW_MS", 20)

    assert listening.ask(listening.agent.told(wait=True)).json["wishes"] == []


def test_who_hangs_up_is_not_waited_for(listening: Listening) -> None:
    """Nothing is kept of its sync."""
    connection = listening.connect()
    connection.send(*listening.signed(listening.agent.told(wait=True)))
    until_held(listening, 1)
    connection.close()
    until_held(listening, 0)

    assert listening.served.runtime.syncs.nodes == 0


def test_a_server_that_ends_answers_who_is_held_back_and_hangs_up(listening: Listening) -> None:
    """It says that it will."""
    connection = listening.connect()
    connection.send(*listening.signed(listening.agent.told(wait=True)))
    until_held(listening, 1)
    listening.server.should_exit = True
    while listening.server.started and listening.server.servers[0].is_serving():
        pass
    listening.served.loop.call_soon_threadsafe(listening.served.runtime.stop_waiting)
    found = connection.answer()

    assert (found.status, found.headers["connection"]) == (200, "close")
    assert connection.is_closed()


def test_what_follows_a_held_back_sync_is_answered_after_it(listening: Listening) -> None:
    """Requests that were sent at once are answered in their order, the second sync by the application."""
    agent = listening.agent
    connection = listening.connect()
    first, last = (request(*listening.signed(agent.told(wait=wait))) for wait in (True, False))
    connection.socket.sendall(first + request(b"", {}, "GET /healthz HTTP/1.1") + last)
    until_held(listening, 1)
    listening.served.submit()
    held, health, sync = (connection.answer() for _ in range(3))

    assert held.json["wishes"][0]["desired"] == sync.json["wishes"][0]["desired"] == "start"
    assert health.json == {"status": "ok"}
    assert listening.direct == [SYNC]


def feed(listening: Listening, *pieces: bytes) -> Connection:
    """A connection on which these pieces came, each by itself."""
    connection = listening.connect()
    connection.send(b"", {}, first="GET /healthz HTTP/1.1")
    assert connection.answer().status == 200
    (protocol,) = listening.server.server_state.connections
    for piece in pieces:
        listening.served.loop.call_soon_threadsafe(protocol.data_received, piece)
    return connection


def test_a_body_in_pieces_is_waited_for(listening: Listening) -> None:
    """As clients send it that write headers and body one after the other; what follows it is answered too."""
    body, headers = listening.signed(listening.agent.told(wait=False))
    after = request(b"", {}, "GET /healthz HTTP/1.1")
    connection = feed(listening, request(b"", headers), body[:10], body[10:-1], body[-1:] + after)

    assert connection.answer().json["wishes"] == []
    assert connection.answer().json == {"status": "ok"}
    assert listening.direct == [SYNC]


def test_headers_in_pieces_go_to_the_application(listening: Listening) -> None:
    """And the next sync on the connection does not."""
    first, last = (request(*listening.signed(listening.agent.told(wait=False))) for _ in range(2))
    connection = feed(listening, first[:100], first[100:])
    assert connection.answer().json["wishes"] == []
    assert listening.direct == []

    connection.socket.sendall(last)
    assert connection.answer().json["wishes"] == []
    assert listening.direct == [SYNC]


def test_who_hangs_up_in_a_body_is_not_looked_at(listening: Listening) -> None:
    """Nothing of its sync is taken in."""
    body, headers = listening.signed(listening.agent.told(wait=False))
    connection = listening.connect()
    connection.socket.sendall(request(body[:-1], headers))
    connection.close()

    assert listening.ask(body, seq=int(headers["Gridmark-Seq"])).status == 200


@pytest.mark.parametrize("way", ["chunked", "large", "expected", "query", "older"])
def test_other_kinds_of_requests_go_to_the_application(listening: Listening, way: str) -> None:
    """It answers them as ever."""
    agent = listening.agent
    document = agent.told(wait=False)
    padding = b" " * (DIRECT_BYTES if way == "large" else 0)
    body = json.dumps(document).encode() + padding
    target = SYNC + ("?x=1" if way == "query" else "")
    headers = agent.headers("POST", target, body) | {"Content-Type": "application/json"}
    first = f"POST {target} HTTP/1.{int(way != 'older')}"
    connection = listening.connect()
    if way == "chunked":
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        connection.send(sent, headers | {"Transfer-Encoding": "chunked"}, first=first)
    else:
        expect = {"Expect": "100-continue"} if way == "expected" else {}
        connection.send(b"", headers | expect | {"Content-Length": str(len(body))}, first=first)
        if way == "expected":
            assert connection._file.readline().startswith(b"HTTP/1.1 100")
            connection._file.readline()
        connection.socket.sendall(body)

    assert connection.answer().json["wishes"] == []
    assert listening.direct == []


def test_headers_without_end_are_not_taken(listening: Listening) -> None:
    """The connection ends before they fill the memory, whether in one header, in many, or behind a body."""
    chunked = b"POST /v1/agent/sync HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    one, many = b"GET / HTTP/1.1\r\nA: ", b"GET / HTTP/1.1\r\n"
    for begin, piece in ((one, b"x" * 1024), (many, b"a: b\r\n" * 170), (chunked, b"a: b\r\n" * 170)):
        connection = listening.connect()

        with pytest.raises(ConnectionError):
            pour(connection.socket, begin, piece)


def pour(into: socket.socket, begin: bytes, piece: bytes) -> None:
    """Send many times what is taken, or until nobody takes it."""
    into.sendall(begin)
    for _ in range(1024 * HEADERS_BYTES // len(piece)):
        into.sendall(piece)


def test_a_fault_of_our_own_is_answered_and_logged(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the application does; the connection goes on."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(listening.served.runtime.replays, "admit", fails)
        connection = listening.connect()
        connection.send(*listening.signed(listening.agent.told(wait=False)))
        found = connection.answer()
    connection.send(*listening.signed(listening.agent.told(wait=False)))

    assert (found.status, found.json["type"]) == (500, "/problems/internal")
    assert connection.answer().status == 200


def test_an_end_is_committed_after_its_output_is_on_the_disk(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a thread, with the connection held meanwhile."""
    synced: list[int] = []
    monkeypatch.setattr(listening.served.runtime.files.logs, "sync", synced.append)
    job = listening.served.submit()["id"]
    token = listening.agent.assigned()["token"]
    found = listening.ask(listening.agent.told({"token": token, "state": "exited", "exit_code": 0}, wait=False))

    assert synced == [token]
    assert found.json["wishes"] == [{"token": token, "desired": "forget", "assignment": None, "reason": ""}]
    assert listening.served.ask("GET", f"/v1/jobs/{job}", "renter").json()["state"] == "done"


def test_secrets_reach_their_node(listening: Listening) -> None:
    """Opened in a thread."""
    listening.served.submit(secrets={"KEY": "correct-horse"})
    found = listening.ask(listening.agent.told(wait=False))

    assert found.json["wishes"][0]["assignment"]["secrets"] == {"KEY": "correct-horse"}
