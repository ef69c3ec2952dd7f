"""The built-in tester: everything that arrived is counted, and nothing is waited for."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from kernels import tester
from tests.kernels.far import HOST, closed_port, serving

pytestmark = pytest.mark.alone


@pytest.mark.parametrize("reverse", [False, True])
def test_the_built_in_tester_counts_what_arrived(
    reverse: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both directions over loopback: slices of 50 ms, all with something in them."""
    monkeypatch.setattr("kernels.companion.begin", lambda: None)
    with serving() as port:
        task = {"host": HOST, "port": port, "seconds": 0.4, "reverse": reverse}
        assert tester.main([json.dumps(task)]) == 0

    slices = json.loads(capsys.readouterr().out)["slices"]
    flow = tester.flow(slices)
    assert 5 <= len(slices) <= 9
    assert min(slices) > 0
    assert flow.rates[0] == slices[0] / 0.05
    assert (flow.tool, flow.counted_by) == ("built-in", "receiver")


def test_the_tester_says_in_one_line_why_it_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent quotes the last line."""
    monkeypatch.setattr("kernels.companion.begin", lambda: None)

    code = tester.main([json.dumps({"host": HOST, "port": closed_port(), "seconds": 0.1, "reverse": True})])

    assert code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_sent_bytes_are_random_and_all_counted() -> None:
    """What `send` says it sent is what arrives, and zlib cannot shrink it."""
    import zlib

    ours, theirs = socket.socketpair()
    with ours, theirs:
        arrived = bytearray()

        def take() -> None:
            while data := theirs.recv(1 << 20):
                arrived.extend(data)

        thread = threading.Thread(target=take)
        thread.start()
        looks = iter([False, False, True])
        sent = tester.send(ours, lambda: next(looks))
        ours.shutdown(socket.SHUT_WR)
        thread.join()

    assert sent == len(arrived) == 2 * tester.CHUNKS_PER_LOOK * tester.CHUNK_BYTES
    assert len(zlib.compress(bytes(arrived[: 1 << 20]))) > 0.99 * (1 << 20)


def test_a_blocked_sender_still_sees_that_it_is_over() -> None:
    """Nobody reads: the buffers fill, and the sender returns all the same."""
    ours, theirs = socket.socketpair()
    end = time.monotonic() + 0.1
    with ours, theirs:
        assert tester.send(ours, lambda: time.monotonic() >= end) > 0

    assert time.monotonic() - end < 1


def test_a_receiver_does_not_wait_for_what_is_still_under_way() -> None:
    """The sender stalls with the connection open: silence counts as slices of nothing, and the time is kept."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x" * 1000)
        start = time.monotonic()
        slices = tester.receive(ours, 0.2)

    assert slices == [1000, 0, 0, 0]
    assert time.monotonic() - start < 0.5


def test_a_receiver_to_whom_nothing_comes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a flow of nothing: an error."""
    monkeypatch.setattr("kernels.tcp.CONNECT_S", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        tester.receive(ours, 0.2)
