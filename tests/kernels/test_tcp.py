"""Our protocol over TCP: who is there, round trips, the built-in tester."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from kernels import tcp
from kernels.spec import BenchError
from tests.kernels.far import HOST, answering, closed_port, serving

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7:5201", ("192.0.2.7", 5201)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_addresses_are_host_and_port(text: str, address: tuple[str, int]) -> None:
    """Names, IPv4, and IPv6 in brackets."""
    assert tcp.parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":5201", "host:0", "host:65536", "host:-1", "host:x", "host:१"])
def test_other_addresses_are_refused_with_an_example(text: str) -> None:
    """The sentence says how it should look."""
    with pytest.raises(BenchError, match=r"wanted a peer as host:port, found .*; use --peer 192\.0\.2\.7:5201"):
        tcp.parse_address(text)


def test_the_greeting_is_as_long_as_an_iperf3_cookie() -> None:
    """37 bytes, so that an iperf3 server takes it for one and answers; longer verbs are a mistake of ours."""
    assert len(tcp.greeting("source 60000")) == 37
    with pytest.raises(ValueError, match="does not fit"):
        tcp.greeting("x" * 27)


def test_a_gridmark_peer_introduces_itself() -> None:
    """Without an iperf3 server it says so."""
    with serving() as port:
        assert tcp.identify(HOST, port) == tcp.Peer(host=HOST, port=port, kind="gridmark", iperf3_port=None)


@pytest.mark.parametrize("answer", tcp.IPERF3_ANSWERS)
def test_an_iperf3_server_is_told_by_its_first_byte(answer: bytes) -> None:
    """Free or busy, it answers our greeting with one byte of its own protocol."""
    with answering(lambda link: link.sendall(answer)) as port:
        found = tcp.identify(HOST, port)

    assert (found.kind, found.iperf3_port) == ("iperf3", port)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (lambda link: link.sendall(b"SSH-2.0-x\r\n"), "found something that answers b'S'"),
        (lambda link: link.sendall(b"{not json\n"), "found something that answers"),
        (lambda link: link.sendall(b"[1]\n"), "found something that answers"),
        (lambda link: None, "found something that answers b''|reset"),
        (lambda link: link.recv(100) and link.recv(1), r"took the connection but no answer within 0\.2 s"),
    ],
)
def test_strangers_and_the_silent_are_errors_soon(behave: Callable[[socket.socket], None], words: str) -> None:
    """Something else on the port, or a peer that never answers: one sentence within the time allowed."""
    start = time.monotonic()
    with answering(behave) as port, pytest.raises(BenchError, match=words):
        tcp.identify(HOST, port, timeout_s=0.2)

    assert time.monotonic() - start < 2


def test_nobody_there_is_an_error_with_the_reason() -> None:
    """A closed port."""
    with pytest.raises(BenchError, match=r"wanted a peer at 127\.0\.0\.1:\d+, found: Connection refused; start one"):
        tcp.identify(HOST, closed_port())


def test_an_unknown_name_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver said, and a name that no resolver can be asked for."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(BenchError, match=r"wanted a peer at a\.\.b:1, found: "):
        tcp.identify("a..b", 1)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(BenchError, match=r"wanted a peer at nosuch\.example:1, found: Name or service not known"):
        tcp.identify("nosuch.example", 1)


class Line:
    """A scripted clock and path: an echo comes back `delay_s` after its probe, in virtual time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delays_s: list[float]) -> None:
        self.now_s = 0.0
        self._delays_s = delays_s
        self._flying: list[tuple[float, bytes]] = []
        self.sent_s: list[float] = []
        monkeypatch.setattr("kernels.tcp.select.select", self._select)
        monkeypatch.setattr("kernels.tcp.time.sleep", self._sleep)
        monkeypatch.setattr(tcp, "receive_timeout", lambda *_: None)

    def now(self) -> float:
        return self.now_s

    def send(self, frame: bytes) -> None:
        self._flying.append((self.now_s + self._delays_s[len(self.sent_s)], frame))
        self.sent_s.append(self.now_s)

    def recv(self, _: int) -> bytes:
        if not self._flying or self._flying[0][0] - self.now_s > tcp.LATE_S:
            self.now_s += tcp.LATE_S
            raise BlockingIOError
        self.now_s = max(self.now_s, self._flying[0][0])
        return self._flying.pop(0)[1]

    def _select(self, *args: object) -> tuple[list[int], list[int], list[int]]:
        wait_s = args[3]
        assert isinstance(wait_s, float)
        back_s = self._flying[0][0] if self._flying else float("inf")
        if back_s <= self.now_s + wait_s:
            self.now_s = max(self.now_s, back_s)
            return [1], [], []
        self.now_s += wait_s
        return [], [], []

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_round_trips_are_what_the_path_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three probes 10 ms apart on a path of 1, 2 and 1 ms."""
    line = Line(monkeypatch, [0.001, 0.002, 0.001])

    trips = tcp.probe(line, count=3, spacing_s=0.01, until=9, now=line.now)  # type: ignore[arg-type]

    assert trips == pytest.approx([0.001, 0.002, 0.001])
    assert line.sent_s == pytest.approx([0.0, 0.01, 0.02])


def test_a_long_path_takes_no_longer_to_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 probes 5 ms apart over 80 ms: sent without waiting, done after 0.6 s and not after 8."""
    line = Line(monkeypatch, [0.08] * 100)

    trips = tcp.probe(line, count=100, spacing_s=0.005, until=9, now=line.now)  # type: ignore[arg-type]

    assert trips == pytest.approx([0.08] * 100)
    assert line.now_s < 0.75


def test_probing_ends_in_time_with_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that stops answering: the round trips so far, at the moment given."""
    line = Line(monkeypatch, [0.001, 0.001, 1e9, 1e9, 1e9])

    trips = tcp.probe(line, count=5, spacing_s=0.01, until=0.5, now=line.now)  # type: ignore[arg-type]

    assert trips == pytest.approx([0.001, 0.001])
    assert line.now_s == pytest.approx(0.5, abs=tcp.LATE_S)


def test_probing_stops_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load is over: no further probe."""
    line = Line(monkeypatch, [0.001] * 9)

    trips = tcp.probe(
        line,  # type: ignore[arg-type]
        count=9,
        spacing_s=0.01,
        until=9,
        over=lambda: len(line.sent_s) == 4,
        now=line.now,
    )

    assert len(trips) in (3, 4)


def test_a_closed_echo_connection_is_an_error() -> None:
    """Not a round trip of nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.close()
        with pytest.raises((BenchError, OSError)):
            tcp.probe(ours, count=3, spacing_s=0.001, until=time.perf_counter() + 1)


def test_echoes_over_loopback_arrive_in_order_and_promptly() -> None:
    """The real thing: as many as asked for, each well below a tenth of a second."""
    with serving() as port, tcp.open_verb(HOST, port, "echo") as link:
        trips = tcp.probe(link, count=50, spacing_s=0.001, until=time.perf_counter() + 5)

    assert len(trips) == 50
    assert 0 < min(trips) < 0.1


def test_connecting_gives_round_trips_too() -> None:
    """Any listening port answers a connection; a refused one is no sample."""
    with answering(lambda link: None) as port:
        trips = tcp.connect_times(HOST, port, count=5, spacing_s=0.001, until=time.perf_counter() + 5)
    refused = tcp.connect_times(HOST, closed_port(), count=3, spacing_s=0.0, until=time.perf_counter() + 5)

    assert len(trips) == 5
    assert 0 < min(trips) < 0.1
    assert refused == []
