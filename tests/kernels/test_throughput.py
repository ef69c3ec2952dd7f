"""Flows: by iperf3 where both ends have it, else by our own tester, which says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kernels import farend, iperf, tcp, throughput
from kernels.farend import FarEnd
from kernels.spec import BenchError
from tests.kernels.far import HOST, answering, closed_port

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def loopback() -> Iterator[FarEnd]:
    """A far end of our own; with an iperf3 server where libiperf is installed."""
    with farend.find(None) as far:
        yield far


@pytest.mark.real
def test_iperf3_is_used_where_both_ends_have_it(loopback: FarEnd) -> None:
    """A second of it, with round trips meanwhile."""
    if reason := iperf.missing():
        pytest.skip(reason)
    found = throughput.run(loopback, down=True, seconds=1.8, probing=True)

    assert found.flow.tool.startswith("iperf3 ")
    assert len(found.flow.rates) >= 18
    assert len(found.round_trips_s) >= 10


@pytest.mark.parametrize("down", [False, True])
def test_the_built_in_tester_says_why_it_was_used(loopback: FarEnd, down: bool) -> None:
    """And keeps within its time."""
    start = time.perf_counter()
    found = throughput.run(replace(loopback, no_iperf3="not here"), down=down, seconds=0.8, probing=False)

    assert time.perf_counter() - start < 1.0
    assert found.flow.tool == "built-in"
    assert found.flow.context["why_built_in"] == "not here"
    assert found.round_trips_s == ()


@pytest.mark.real
def test_too_few_seconds_for_iperf3_are_enough_for_ours(loopback: FarEnd) -> None:
    """libiperf counts in whole seconds."""
    if reason := iperf.missing():
        pytest.skip(reason)
    found = throughput.run(loopback, down=True, seconds=0.8, probing=False)

    assert found.flow.context["why_built_in"] == "0.8 s are too short for it"


@pytest.mark.real
def test_a_broken_iperf3_server_is_replaced_and_said(loopback: FarEnd) -> None:
    """Its own words go into the context."""
    if reason := iperf.missing():
        pytest.skip(reason)
    broken = replace(loopback, peer=replace(loopback.peer, iperf3_port=closed_port()))
    found = throughput.run(broken, down=True, seconds=1.8, probing=False)

    assert found.flow.tool == "built-in"
    assert "unable to connect" in str(found.flow.context["why_built_in"])


@pytest.mark.real
def test_a_pure_iperf3_server_has_no_replacement() -> None:
    """Its failure is the figure's failure."""
    if reason := iperf.missing():
        pytest.skip(reason)
    port = closed_port()
    peer = tcp.Peer(host=HOST, port=port, kind="iperf3", iperf3_port=port)
    far = FarEnd(peer=peer, locality="loopback", no_iperf3=None)

    with pytest.raises(BenchError, match=r"iperf3 against .* failed: .*unable to connect"):
        throughput.run(far, down=True, seconds=1.5, probing=False)
    with pytest.raises(BenchError, match=r"iperf3's UDP test against .* failed: .*unable to connect"):
        throughput.iperf3_datagrams(far, seconds=1.5, spacing_s=1e-3)
    with pytest.raises(BenchError, match=r"wanted .* s for iperf3's UDP test, found 0.5 s"):
        throughput.iperf3_datagrams(far, seconds=0.5, spacing_s=1e-3)


def test_a_peer_that_stops_answering_is_an_error_in_time() -> None:
    """It agreed to send and sends nothing: the test is ended when its time is over."""

    def mute(link: object) -> None:
        link.recv(37)  # type: ignore[attr-defined]
        link.sendall(b'{"gridmark": 1}\n')  # type: ignore[attr-defined]
        link.recv(1)  # type: ignore[attr-defined]

    with answering(mute) as port:
        peer = tcp.Peer(host=HOST, port=port, kind="gridmark", iperf3_port=None)
        far = FarEnd(peer=peer, locality="loopback", no_iperf3="not here")
        start = time.perf_counter()
        with pytest.raises(BenchError, match="did not end in time"):
            throughput.run(far, down=True, seconds=0.8, probing=False)

    assert time.perf_counter() - start < 1.5
