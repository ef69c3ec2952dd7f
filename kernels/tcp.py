"""Our own protocol over TCP: who is there, echo, and a throughput tester that needs no program at the other end.

A connection opens with a line of exactly 37 bytes, `gridmark/1 <verb> [argument]`, padded with spaces. An iperf3
server takes its first 37 bytes for a cookie and answers with one byte, so the same greeting tells the two apart.
The far end (`kernels.peer`) answers with one line of JSON; what follows depends on the verb:

    info    nothing: the line says it all
    echo    every byte sent comes back
    sink    the far end counts what arrives in so many milliseconds, then sends its slices as a line of JSON
    source  the far end sends random bytes for so many milliseconds

Neither waits for what is still under way when the time is over: on a slow path that may be seconds' worth.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kernels.spec import BenchError

GREETING_BYTES = 37
LINE_BYTES = 1 << 16
#: PARAM_EXCHANGE and ACCESS_DENIED, the first bytes an iperf3 server can answer with (iperf_api.h)
IPERF3_ANSWERS = (b"\x09", b"\xff")
CONNECT_S = 3.0
FRAME_BYTES = 16
#: Python allocates what recv might return, and a large block takes longer than a round trip over loopback
ECHO_BYTES = 4096
#: an echo that takes longer makes its successors be sent without waiting for it
LATE_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The far end as it introduced itself."""

    host: str
    port: int
    kind: Literal["gridmark", "iperf3"]
    iperf3_port: int | None  #: where an iperf3 server listens, if one does


def parse_address(text: str) -> tuple[str, int]:
    """The host and port of "host:port" or "[v6]:port".

    Raises:
        BenchError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BenchError(f"wanted a peer as host:port, found {text!r}; use --peer 192.0.2.7:5201")
    return host, int(port)


def greeting(verb: str) -> bytes:
    """The line that opens a connection."""
    line = f"gridmark/1 {verb}".ljust(GREETING_BYTES - 1) + "\n"
    if len(line) != GREETING_BYTES:
        raise ValueError(f"{verb!r} does not fit a greeting of {GREETING_BYTES} bytes")
    return line.encode("ascii")


def connect(host: str, port: int, *, timeout_s: float = CONNECT_S) -> socket.socket:
    """A connection that sends small segments at once.

    Raises:
        BenchError: nobody answers there.
    """
    try:
        link = socket.create_connection((host, port), timeout=timeout_s)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be looked up at all
        raise BenchError(
            f"wanted a peer at {host}:{port}, found: {_why(error, timeout_s)}; start one there or name another"
        ) from error
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def identify(host: str, port: int, *, timeout_s: float = CONNECT_S) -> Peer:
    """Ask who listens at `host`:`port`.

    Raises:
        BenchError: nobody, or something that speaks neither protocol.
    """
    with connect(host, port, timeout_s=timeout_s) as link:
        answer = _exchange(link, "info")
    if isinstance(answer, bytes):
        if answer[:1] in IPERF3_ANSWERS:
            return Peer(host=host, port=port, kind="iperf3", iperf3_port=port)
        raise BenchError(f"wanted `gridmark peer` or iperf3 at {host}:{port}, found something that answers {answer!r}")
    told = answer.get("iperf3_port")
    return Peer(host=host, port=port, kind="gridmark", iperf3_port=told if isinstance(told, int) else None)


def open_verb(host: str, port: int, verb: str) -> socket.socket:
    """A connection to a gridmark peer that has agreed to `verb`.

    Raises:
        BenchError: it cannot be reached, or it refused.
    """
    link = connect(host, port)
    try:
        answer = _exchange(link, verb)
    except BenchError:
        link.close()
        raise
    if isinstance(answer, bytes) or "error" in answer:
        link.close()
        raise BenchError(f"the peer at {host}:{port} refused {verb!r}: {answer!r}")
    return link


def _exchange(link: socket.socket, verb: str) -> dict[str, Any] | bytes:
    """What the far end answers: its line of JSON, or the raw bytes of something else."""
    name = "{}:{}".format(*link.getpeername()[:2])
    try:
        link.sendall(greeting(verb))
        line = read_line(link)
    except OSError as error:
        raise BenchError(f"the peer at {name} took the connection but {_why(error, link.gettimeout() or 0)}") from error
    if not line.startswith(b"{"):
        return line
    try:
        answer = json.loads(line)
    except ValueError:
        return line
    return answer if isinstance(answer, dict) else line


def read_line(link: socket.socket) -> bytes:
    """One line without its end; what is there when the other side closes, or its first byte if that is not text."""
    line = bytearray()
    while len(line) < LINE_BYTES:
        byte = link.recv(1)  # the next byte may be data already
        if byte in (b"", b"\n"):
            break
        line += byte
        if line[0] != ord("{") and len(line) == 1:
            break
    return bytes(line)


def _why(error: OSError | UnicodeError, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return getattr(error, "strerror", None) or str(error)


def probe(
    link: socket.socket,
    *,
    count: int,
    spacing_s: float,
    until: float,
    over: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Round trips over an echo connection in seconds, in the order sent.

    Probes leave every `spacing_s` whether or not the one before is back, so that a long path takes no more time.

    Args:
        count: how many to send.
        until: moment of `now` to stop waiting.
        over: asked before each probe; True ends early.

    Raises:
        BenchError: the far end closed the connection.
    """
    receive_timeout(link, LATE_S)
    sent: list[float] = []
    trips: dict[int, float] = {}
    pending = bytearray()
    due, prompt = now(), True
    while len(trips) < count:
        moment = now()
        if moment >= until or over():
            break
        wake = min(due if len(sent) < count else until, until)
        if len(sent) < count and moment >= due:
            due = moment + spacing_s
            frame = len(sent).to_bytes(FRAME_BYTES, "little")
            sent.append(now())
            link.send(frame)
        elif len(sent) == len(trips):
            time.sleep(max(0.0, wake - moment))
            continue
        # waiting in recv itself tells some 20 us sooner than select does, so it is worth it where echoes come at once
        if not prompt and not select.select([link], [], [], max(0.0, wake - moment))[0]:
            continue
        try:
            data = link.recv(ECHO_BYTES)
        except BlockingIOError:
            prompt = False
            continue
        moment = now()
        if not data:
            raise BenchError("the peer closed the echo connection before all round trips were done")
        pending += data
        while len(pending) >= FRAME_BYTES:
            number = int.from_bytes(pending[:FRAME_BYTES], "little")
            del pending[:FRAME_BYTES]
            trips[number] = moment - sent[number]
            prompt = trips[number] < spacing_s / 2
    return [trips[number] for number in sorted(trips)]


def receive_timeout(link: socket.socket, seconds: float) -> None:
    """Make the socket's blocking calls raise BlockingIOError after `seconds`; cheaper than Python's own timeout."""
    link.setblocking(True)
    whole, part = divmod(seconds, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(whole), int(part * 1e6)))


def connect_times(
    host: str,
    port: int,
    *,
    count: int,
    spacing_s: float,
    until: float,
    over: Callable[[], bool] = lambda: False,
    now: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds from a connection's first packet to its answer: a round trip that any listening port gives."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    trips: list[float] = []
    for _ in range(count):
        start = now()
        if start >= until or over():
            break
        with socket.socket(family, kind, protocol) as link:
            link.settimeout(max(0.01, until - start))
            try:
                link.connect(address)
            except OSError:
                continue  # between two sessions an iperf3 server does not listen for a moment
            finally:
                moment = now()
            trips.append(moment - start)
        time.sleep(max(0.0, min(start + spacing_s, until) - now()))
    return trips
