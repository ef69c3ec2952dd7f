"""Finding the far end: given or started, and what is said when it cannot be used."""

from __future__ import annotations

import time

import pytest

from kernels import farend, iperf, tcp
from kernels.spec import BenchError
from tests.kernels.far import HOST, answering, closed_port, serving

pytestmark = pytest.mark.alone


def test_without_a_peer_one_is_started_on_loopback() -> None:
    """It answers, and the locality says that no network is behind it."""
    with farend.find(None) as far:
        assert far.peer.host == HOST
        assert far.locality == "loopback"
        assert far.probe == "tcp echo"
        assert len(far.round_trips(count=3, spacing_s=1e-3, until=time.perf_counter() + 5)) == 3

    with pytest.raises(BenchError, match="Connection refused"):
        tcp.identify(HOST, far.peer.port)


def test_a_far_end_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a bounded time, with its last words."""
    monkeypatch.setattr("kernels.iperf.free_port", lambda host: "not a port")
    monkeypatch.setattr(iperf, "missing", lambda: None)

    with pytest.raises(BenchError, match=r"did not start: ValueError"), farend.find(None):
        pass


def test_a_given_peer_on_this_machine_is_still_loopback() -> None:
    """An address of ours, named or not, is reached without a wire."""
    with serving() as port, farend.find(f"{HOST}:{port}") as far:
        assert far.locality == "loopback"
        assert far.no_iperf3 == (iperf.missing() or "the peer runs no iperf3 server")


def test_an_address_that_no_interface_has_is_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route to it leaves from another address than its own; without a route it is elsewhere all the same."""
    assert farend.locality("127.0.0.1") == "loopback"
    assert farend.locality("192.0.2.1") == "remote"  # TEST-NET-1: nobody has it


def test_an_iperf3_server_is_probed_by_connecting() -> None:
    """It has no echo; its port is where the tests go."""
    with answering(lambda link: link.sendall(b"\x09")) as port:
        if reason := iperf.missing():
            with pytest.raises(BenchError, match=reason), farend.find(f"{HOST}:{port}"):
                pass
            return
        with farend.find(f"{HOST}:{port}") as far:
            trips = far.round_trips(count=3, spacing_s=0, until=time.perf_counter() + 5)

    assert far.probe == "tcp connect"
    assert (far.no_iperf3, far.peer.iperf3_port) == (None, port)
    assert len(trips) == 3


def test_an_iperf3_server_is_of_no_use_without_libiperf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence offers both ways out."""
    monkeypatch.setattr(iperf, "missing", lambda: "libiperf.so.0 is not installed")

    with (
        answering(lambda link: link.sendall(b"\x09")) as port,
        pytest.raises(BenchError, match=r"libiperf\.so\.0 is not installed; install it, or run `gridmark peer` there"),
        farend.find(f"{HOST}:{port}"),
    ):
        pass


def test_a_peer_that_goes_away_is_an_error_not_a_crash() -> None:
    """It agreed to echo and closed: one sentence."""

    def leave(link: object) -> None:
        link.recv(37)  # type: ignore[attr-defined]
        link.sendall(b'{"gridmark": 1, "iperf3_port": null}\n')  # type: ignore[attr-defined]

    with (
        answering(leave) as port,
        farend.find(f"{HOST}:{port}") as far,
        pytest.raises(BenchError, match="echo connection"),
    ):
        far.round_trips(count=50, spacing_s=1e-3, until=time.perf_counter() + 5)


def test_nobody_there_is_said_before_anything_is_measured() -> None:
    """A closed port: refused at once."""
    with pytest.raises(BenchError, match="Connection refused"), farend.find(f"{HOST}:{closed_port()}"):
        pass


def test_what_was_started_is_ended_when_the_block_fails() -> None:
    """An exception while measuring leaves no far end."""
    with pytest.raises(BenchError), farend.find(None) as far:
        raise BenchError(str(far.peer.port))

    with pytest.raises(BenchError, match="refused"):
        tcp.identify(HOST, far.peer.port)
