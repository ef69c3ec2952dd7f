"""Datagrams: every loss is counted where it happened, jitter follows RFC 3550."""

from __future__ import annotations

import socket
import time

import pytest

from kernels import udp
from kernels.spec import BenchError
from tests.kernels.far import HOST, closed_port, relaying, serving

pytestmark = pytest.mark.alone


def run(port: int, count: int) -> udp.Probed:
    return udp.probe(HOST, port, count=count, spacing_s=5e-4, until=time.perf_counter() + 5, patience_s=0.2)


def test_nothing_is_lost_on_loopback() -> None:
    """200 probes, 200 echoes, each with its number, and moments in order."""
    with serving() as port:
        found = run(port, 200)

    assert (found.sent, found.lost, found.lost_on_the_way_there()) == (200, 0, 0)
    assert sorted(echo.number for echo in found.echoes) == list(range(200))
    assert all(echo.sent_ns < echo.back_ns for echo in found.echoes)


def test_each_loss_is_counted_on_its_way() -> None:
    """A relay drops every tenth probe before the far end: 20 of 200, all on the way there."""
    with serving() as port, relaying(port, lambda number, _: int(number % 10 != 0)) as front:
        found = run(front, 200)

    assert (found.sent, found.lost, found.lost_on_the_way_there()) == (200, 20, 20)


def test_a_duplicate_is_one_echo() -> None:
    """A path that repeats packets loses none, and gains none."""
    with serving() as port, relaying(port, lambda number, _: 2) as front:
        found = run(front, 50)

    assert (found.sent, found.lost) == (50, 0)


def test_losing_everything_is_all_lost() -> None:
    """Nothing comes back: known to be lost there as far as anybody can tell."""
    with serving() as port, relaying(port, lambda number, _: 0) as front:
        found = run(front, 20)

    assert (found.sent, found.lost, found.lost_on_the_way_there()) == (20, 20, 20)


def test_losses_on_the_way_back_are_told_apart() -> None:
    """The far end had seen 4 probes when it answered number 4: one was lost there, the other two on the way back."""
    echoes = tuple(
        udp.Echo(number=n, sent_ns=n, there_ns=n, back_ns=n, received_there=seen) for n, seen in ((0, 1), (4, 4))
    )
    found = udp.Probed(sent=5, echoes=echoes)

    assert (found.lost, found.lost_on_the_way_there()) == (3, 1)


def test_a_closed_port_is_an_error_with_the_reason() -> None:
    """The kernel tells of an unreachable port."""
    with pytest.raises(BenchError, match=r"wanted UDP echoes from .* Connection refused; is the port open for UDP too"):
        run(closed_port(), 50)


def test_an_unknown_host_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up before anything is sent."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(BenchError, match=r"nosuch\.example:9, found: Name or service not known"):
        udp.probe("nosuch.example", 9, count=1, spacing_s=1e-3, until=time.perf_counter() + 1)


def test_two_far_ends_cannot_echo_each_other() -> None:
    """An echo is never answered, and neither is rubbish: a forged sender address starts no endless exchange."""
    probe = udp._PACKET.pack(udp.MAGIC, udp.PROBE, 7, 1, 0, 0).ljust(udp.PACKET_BYTES, b"\0")
    echo = udp.answer(probe, now_ns=5, received=1)

    assert udp.session_of(probe) == 7
    assert udp.session_of(echo) is None
    assert udp.session_of(probe[:-1]) is None
    assert udp.session_of(b"x" * udp.PACKET_BYTES) is None
    assert len(echo) == len(probe)


def test_echoes_of_others_are_ignored() -> None:
    """Another session's echo, a number never sent and a short packet change nothing."""
    echoes: dict[int, udp.Echo] = {}
    for session, number, size in ((8, 0, udp.PACKET_BYTES), (7, 5, udp.PACKET_BYTES), (7, 0, 40)):
        packet = udp._PACKET.pack(udp.MAGIC, udp.ECHO, session, number, 0, 1).ljust(size, b"\0")
        udp._collect(packet, 7, [100], echoes, 200)

    assert echoes == {}


def test_the_far_end_counts_sessions_apart() -> None:
    """Two clients at once: each is told of its own probes."""
    with serving() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(2)
        link.connect((HOST, port))
        counts = []
        for session in (1, 2, 1, 2, 1):
            link.send(udp._PACKET.pack(udp.MAGIC, udp.PROBE, session, 0, 0, 0).ljust(udp.PACKET_BYTES, b"\0"))
            counts.append(udp._PACKET.unpack_from(link.recv(2048))[5])

    assert counts == [1, 1, 2, 2, 3]


def test_changes_of_delay_need_no_common_clock() -> None:
    """Transits of 5, 7, 6 and 6 ms on clocks an hour apart: 2, 1 and 0 ms."""
    sent = [0, 20_000_000, 40_000_000, 60_000_000]
    hour = 3600 * 10**9
    arrived = [
        at + hour + transit for at, transit in zip(sent, (5_000_000, 7_000_000, 6_000_000, 6_000_000), strict=True)
    ]

    assert udp.delay_changes(sent, arrived) == pytest.approx((0.002, 0.001, 0.0))


def test_smoothed_jitter_is_that_of_the_rfc() -> None:
    """From 0, a sixteenth of the way at each packet: 16 -> 1, then 0 -> 15/16."""
    assert udp.smoothed_jitter([16.0]) == 1.0
    assert udp.smoothed_jitter([16.0, 0.0]) == 0.9375
    assert udp.smoothed_jitter([4.0] * 1000) == pytest.approx(4.0)
