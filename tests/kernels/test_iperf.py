"""libiperf: its results as flows, and the real library in processes of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kernels import iperf
from kernels.spec import BenchError
from tests.kernels.far import HOST, closed_port

pytestmark = pytest.mark.alone


def result(*, reverse: bool, theirs: list[float] | None = None) -> dict[str, Any]:
    """A result of four quarter seconds at 100, 200, 300, 400 bytes, and a sliver at the end."""

    def intervals(counts: list[float]) -> list[dict[str, Any]]:
        every = [{"sum": {"bytes": count, "seconds": 0.25}} for count in counts]
        return [*every, {"sum": {"bytes": 9, "seconds": 0.001}}]

    found: dict[str, Any] = {
        "start": {"version": "iperf 3.12", "test_start": {"reverse": int(reverse), "num_streams": 1}},
        "intervals": intervals([100, 200, 300, 400]),
        "end": {
            "sum_sent": {"retransmits": 3},
            "sum_received": {"bytes": 1000},
            "cpu_utilization_percent": {"host_total": 50.0, "remote_total": 25.0},
        },
    }
    if theirs is not None:
        found["server_output_json"] = {"intervals": intervals(theirs)}
    return found


def test_downwards_our_own_counts_are_the_receivers() -> None:
    """Bytes over seconds of each interval; the sliver at the end is no sample."""
    flow = iperf.flow(result(reverse=True, theirs=[1, 1, 1, 1]))

    assert flow.rates == (400.0, 800.0, 1200.0, 1600.0)
    assert (flow.counted_by, flow.slice_s, flow.tool) == ("receiver", 0.25, "iperf3 3.12")
    assert flow.context["retransmits"] == 3
    assert flow.context["cpu_here_ratio"] == 0.5


def test_upwards_the_servers_counts_are() -> None:
    """What was sent is not what arrived."""
    flow = iperf.flow(result(reverse=False, theirs=[90, 190, 290, 390]))

    assert flow.rates == (360.0, 760.0, 1160.0, 1560.0)
    assert flow.counted_by == "receiver"


@pytest.mark.parametrize("theirs", [None, [1000]])
def test_a_server_that_does_not_tell_leaves_the_senders_counts(theirs: list[float] | None) -> None:
    """A foreign server counts in words or in whole seconds; then it is said who counted."""
    found = result(reverse=False)
    if theirs:
        found["server_output_json"] = {"intervals": [{"sum": {"bytes": theirs[0], "seconds": 1.0}}]}

    flow = iperf.flow(found)

    assert flow.rates == (400.0, 800.0, 1200.0, 1600.0)
    assert flow.counted_by == "sender"


@pytest.mark.parametrize("gap", ["end", "intervals", "start"])
def test_an_incomplete_result_is_refused(gap: str) -> None:
    """Not a traceback: a ValueError that says what lacks."""
    found = result(reverse=True)
    del found[gap]

    with pytest.raises(ValueError, match="lacks"):
        iperf.flow(found)


def test_no_intervals_are_refused() -> None:
    """A test in which nothing was counted."""
    found = result(reverse=True) | {"intervals": []}

    with pytest.raises(ValueError, match="lacks"):
        iperf.flow(found)


def test_words_before_the_json_are_skipped() -> None:
    """Some versions print the segment size first."""
    assert iperf.parse(b'Control connection MSS 32768\n{"end": 1}') == {"end": 1}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"", "gave no result"),
        (b"just words", "gave no result"),
        (b'{"start": ', "Expecting value"),
        (b'{"error": "unable to connect"}', "unable to connect"),
    ],
)
def test_output_that_is_no_result_is_refused(output: bytes, words: str) -> None:
    """Empty, truncated, or the library's own error."""
    with pytest.raises(ValueError, match=words):
        iperf.parse(output)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package and the library are two things to install."""
    monkeypatch.setattr(iperf, "LIBRARY", "libnosuch.so.0")
    assert iperf.missing() in ("libnosuch.so.0 is not installed", "the package iperf3 is not installed")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert iperf.missing() == "the package iperf3 is not installed"


@pytest.mark.real
@pytest.mark.parametrize("reverse", [False, True])
def test_a_real_test_counts_at_the_receiver(reverse: bool) -> None:
    """One second over loopback: 20 slices of 50 ms, their mean that of the total the library reports itself."""
    if reason := iperf.missing():
        pytest.skip(reason)
    port = iperf.free_port(HOST)
    with iperf.server(HOST, port), iperf.client(HOST, port, seconds=1, reverse=reverse) as running:
        running.process.wait(10)
        flow = iperf.flow(iperf.parse(running.output()))

    mean = sum(flow.rates) / len(flow.rates)
    received = flow.context["received_bytes"]
    assert isinstance(received, int)
    assert flow.counted_by == "receiver"
    assert 18 <= len(flow.rates) <= 22
    assert mean == pytest.approx(received, rel=0.1)


@pytest.mark.real
def test_a_server_that_cannot_listen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is not ours; within its time, and its process is gone."""
    if reason := iperf.missing():
        pytest.skip(reason)
    monkeypatch.setattr(iperf, "START_S", 0.5)

    with (
        pytest.raises(BenchError, match=r"wanted an iperf3 server on 192\.0\.2\.1:\d+, it did not start"),
        iperf.server("192.0.2.1", closed_port()),
    ):
        pass


def test_who_listens_is_read_from_the_kernels_tables(tmp_path: Path) -> None:
    """Port 0x1451 = 5201 listens (state 0A); 0x1452 is only connected; a missing table says nothing."""
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:1451 00000000:0000 0A 00000000:00000000\n"
        "   1: 0100007F:1452 0100007F:A000 01 00000000:00000000\n"
    )
    tables = (str(tmp_path / "tcp6"), str(table))

    assert iperf.listens(5201, tables=tables)
    assert not iperf.listens(5202, tables=tables)


@pytest.mark.real
def test_nobody_there_is_the_librarys_own_words() -> None:
    """Through the companion's file, not through a traceback."""
    if reason := iperf.missing():
        pytest.skip(reason)
    with iperf.client(HOST, closed_port(), seconds=1, reverse=False) as running:
        running.process.wait(10)

        with pytest.raises(ValueError, match="unable to connect"):
            iperf.parse(running.output())


@pytest.mark.real
def test_datagrams_are_counted_by_the_server() -> None:
    """A second of small packets every 2 ms: about 500, none lost on loopback."""
    if reason := iperf.missing():
        pytest.skip(reason)
    port = iperf.free_port(HOST)
    with iperf.server(HOST, port), iperf.udp_client(HOST, port, seconds=1, spacing_s=2e-3) as running:
        running.process.wait(10)
        output = running.output()
    total = iperf.parse(output)["end"]["sum"]

    assert 400 <= total["packets"] <= 600
    assert total["lost_packets"] == 0


def test_the_task_of_a_helper_is_json() -> None:
    """No argument is ever part of a shell's line."""
    with iperf.client("host; rm -rf /", 1, seconds=1, reverse=True) as running:
        arguments = running.process.args

    assert isinstance(arguments, list)
    assert json.loads(str(arguments[-1]))["host"] == "host; rm -rf /"
