"""The far end: what it answers, what it refuses, and that it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time

import pytest

from kernels import companion, iperf, peer, tcp, tester
from tests.kernels.far import HOST, serving
from tests.kernels.processes import descendants, gone, listening, wait_for

pytestmark = pytest.mark.alone


def say(port: int, data: bytes) -> bytes:
    """What comes back for `data` until the far end closes."""
    with socket.create_connection((HOST, port), timeout=5) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        answer = b""
        while part := link.recv(1 << 16):
            answer += part
        return answer


def test_an_unknown_verb_is_refused() -> None:
    """Politely, in JSON: it may come from a newer version."""
    with serving() as port:
        assert json.loads(say(port, tcp.greeting("dance"))) == {"error": "unknown verb"}


@pytest.mark.parametrize("rubbish", [b"", b"GET / HTTP/1.1\r\n\r\n".ljust(60), b"\xff" * 37, b"short"])
def test_strangers_get_no_answer_and_do_no_harm(rubbish: bytes) -> None:
    """The connection is closed, and the next one is served."""
    with serving() as port:
        with socket.create_connection((HOST, port), timeout=5) as link:
            answer = b""
            try:
                link.sendall(rubbish)
                link.shutdown(socket.SHUT_WR)
                answer = link.recv(1)
            except TimeoutError:
                pytest.fail("the connection stays open")
            except OSError:  # it may close with our bytes unread, before or after our last word
                pass

        assert answer == b""
        assert tcp.identify(HOST, port).kind == "gridmark"


@pytest.mark.parametrize("verb", ["source", "source x", "source -5", "sink", "sink 1.5"])
def test_a_transfer_without_a_duration_is_refused(verb: str) -> None:
    """Nothing is sent for a time nobody named."""
    with serving() as port:
        assert json.loads(say(port, tcp.greeting(verb))) == {"error": "unknown verb"}


def test_a_transfer_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a stranger asks for: 99 999 999 ms become the most there is."""
    monkeypatch.setattr(peer, "MAX_TRANSFER_S", 0.2)
    start = time.monotonic()
    with serving() as port, tcp.open_verb(HOST, port, "source 99999999") as link:
        received = sum(tester.receive(link, 60))

    assert received > 0
    assert time.monotonic() - start < 3


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never says its verb, and an echo that falls silent."""
    monkeypatch.setattr(peer, "IDLE_S", 0.1)
    with serving() as port, socket.create_connection((HOST, port), timeout=5) as mute:
        assert mute.recv(1) == b""
        with tcp.open_verb(HOST, port, "echo") as silent:
            assert silent.recv(1) == b""


def test_more_connections_than_allowed_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third of two is closed at once; when one leaves there is room again."""
    monkeypatch.setattr(peer, "MAX_CONNECTIONS", 2)
    with serving() as port:
        first, second = (tcp.open_verb(HOST, port, "echo") for _ in range(2))
        with socket.create_connection((HOST, port), timeout=5) as third:
            assert third.recv(1) == b""
        first.close()
        wait_for(lambda: _greets(port))
        second.close()


def _greets(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=5) as link:
        try:
            link.sendall(tcp.greeting("info"))
            return link.recv(1) == b"{"
        except OSError:
            return False


def test_sessions_are_forgotten_before_they_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one session, a second makes the first start again at 1."""
    from kernels import udp

    monkeypatch.setattr(peer, "MAX_SESSIONS", 1)
    with serving() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(2)
        link.connect((HOST, port))
        counts = []
        for session in (1, 1, 2, 1):
            link.send(udp._PACKET.pack(udp.MAGIC, udp.PROBE, session, 0, 0, 0).ljust(udp.PACKET_BYTES, b"\0"))
            counts.append(udp._PACKET.unpack_from(link.recv(2048))[5])

    assert counts == [1, 2, 1, 1]


def test_a_port_in_use_is_an_os_error() -> None:
    """The caller says which and exits; nothing is left listening on the UDP side."""
    with serving() as port, pytest.raises(OSError, match="in use"):
        peer.serve(HOST, port, stop=threading.Event())


def test_stop_ends_it_soon() -> None:
    """Within a look or two, with a connection still open."""
    with serving() as port:
        link = tcp.open_verb(HOST, port, "echo")
        start = time.monotonic()

    assert time.monotonic() - start < 5 * peer.LOOK_S
    link.close()


@pytest.mark.real
def test_an_iperf3_server_listens_beside_and_goes_with_it() -> None:
    """Its port is told, it is on loopback as asked, it is restarted when it dies, and none is left at the end."""
    if reason := iperf.missing():
        pytest.skip(reason)
    beside = iperf.free_port(HOST)
    with companion.run("kernels.peer", str(beside)) as running:
        told = json.loads(wait_for(running.output))
        first = wait_for(lambda: descendants(running.process.pid))[0]
        wait_for(lambda: listening(first))
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: [pid for pid in descendants(running.process.pid) if pid != first])[0]
        assert wait_for(lambda: listening(second)) == {HOST}

    assert told["iperf3_port"] == beside
    assert gone([first, second]) == []


@pytest.mark.real
def test_an_iperf3_server_that_cannot_listen_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port may be taken: the rest is served all the same."""
    if reason := iperf.missing():
        pytest.skip(reason)
    monkeypatch.setattr(iperf, "START_S", 0.3)
    monkeypatch.setattr(iperf, "listens", lambda port: False)
    told: list[int | None] = []
    stop = threading.Event()

    def ready(_: int, iperf3_port: int | None) -> None:
        told.append(iperf3_port)
        stop.set()

    peer.serve(HOST, 0, stop=stop, iperf3_port=iperf.free_port(HOST), ready=ready)

    assert told == [None]


def test_without_libiperf_no_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer says what it has, not what was hoped for."""
    monkeypatch.setattr(iperf, "missing", lambda: "not installed")
    told: list[int | None] = []
    stop = threading.Event()

    def ready(_: int, iperf3_port: int | None) -> None:
        told.append(iperf3_port)
        stop.set()

    peer.serve(HOST, 0, stop=stop, iperf3_port=5299, ready=ready)

    assert told == [None]
