"""The far end a network benchmark talks to: found, or started on loopback."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels import companion, iperf, tcp
from kernels.spec import BenchError

LOOPBACK = "127.0.0.1"
START_S = iperf.START_S + 3.0
#: each connection costs an iperf3 server a session, so they are few
CONNECT_SPACING_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEnd:
    """A peer that has answered, and what it takes to test against it."""

    peer: tcp.Peer
    locality: str  #: "loopback": this machine's own stack and nothing else; "remote"
    no_iperf3: str | None  #: why the built-in tester is used; None = iperf3 is

    @property
    def probe(self) -> str:
        """How round trips are taken here."""
        return "tcp echo" if self.peer.kind == "gridmark" else "tcp connect"

    def round_trips(
        self, *, count: int, spacing_s: float, until: float, over: Callable[[], bool] = lambda: False
    ) -> list[float]:
        """Round trips in seconds, as many as fit before `until` (perf_counter) and before `over` says so."""
        host, port = self.peer.host, self.peer.port
        if self.peer.kind == "iperf3":
            spacing_s = max(spacing_s, CONNECT_SPACING_S)
            return tcp.connect_times(host, port, count=count, spacing_s=spacing_s, until=until, over=over)
        try:
            with tcp.open_verb(host, port, "echo") as link:
                return tcp.probe(link, count=count, spacing_s=spacing_s, until=until, over=over)
        except OSError as error:
            raise BenchError(f"the peer at {host}:{port} broke the echo connection: {error.strerror}") from error


@contextlib.contextmanager
def find(address: str | None) -> Iterator[FarEnd]:
    """The peer at `address`, or one started on loopback for as long as the block lasts.

    Raises:
        BenchError: it does not answer, speaks neither our protocol nor iperf3's, or needs the libiperf that is missing.
    """
    missing = iperf.missing()
    if address is None:
        with _local(None if missing else iperf.free_port(LOOPBACK)) as peer:
            yield FarEnd(peer=peer, locality="loopback", no_iperf3=missing)
        return
    host, port = tcp.parse_address(address)
    peer = tcp.identify(host, port)
    if missing and peer.kind == "iperf3":
        raise BenchError(
            f"the peer at {address} speaks iperf3 only, and here {missing}; install it, or run `gridmark peer` there"
        )
    if peer.iperf3_port is None:
        missing = missing or "the peer runs no iperf3 server"
    yield FarEnd(peer=peer, locality=locality(peer.host), no_iperf3=missing)


def locality(host: str) -> str:
    """ "loopback" when packets to `host` never leave this machine, else "remote"."""
    family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        try:
            link.connect(address)  # sends nothing: only looks the route up
        except OSError:
            return "remote"
        return "loopback" if link.getsockname()[0] == link.getpeername()[0] else "remote"


@contextlib.contextmanager
def _local(iperf3_port: int | None) -> Iterator[tcp.Peer]:
    with companion.run("kernels.peer", str(iperf3_port or 0)) as running:
        until = time.monotonic() + START_S
        while not (line := running.output()).endswith(b"\n"):
            if running.process.poll() is not None or time.monotonic() > until:
                raise BenchError(f"wanted a far end on loopback, it did not start: {running.last_words()}")
            time.sleep(0.005)
        told = json.loads(line)
        yield tcp.Peer(host=LOOPBACK, port=told["port"], kind="gridmark", iperf3_port=told["iperf3_port"])
