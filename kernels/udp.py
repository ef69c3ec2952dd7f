"""Probes over UDP: which come back, and how evenly."""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from kernels.spec import BenchError

#: magic, kind, session, number, then filled in by the far end: its clock in ns, probes of this session so far
_PACKET = struct.Struct("<4sB3xQQqQ")
MAGIC = b"gmk1"
PROBE, ECHO = 0, 1
#: what a packet of telephone sound has (G.711, 20 ms, with its RTP header)
PACKET_BYTES = 172


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """One probe that came back, moments in nanoseconds; the far end's clock is its own."""

    number: int
    sent_ns: int
    there_ns: int
    back_ns: int
    received_there: int  #: probes the far end had seen by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """All that came of a run of probes, echoes in the order of their return."""

    sent: int
    echoes: tuple[Echo, ...] = field(default=())

    @property
    def lost(self) -> int:
        """Probes that did not come back."""
        return self.sent - len(self.echoes)

    def lost_on_the_way_there(self) -> int:
        """Of the probes up to the last one known to have arrived, those the far end had not seen."""
        last = max(self.echoes, key=lambda echo: echo.received_there, default=None)
        return max(0, last.number + 1 - last.received_there) if last else self.sent


def answer(packet: bytes, *, now_ns: int, received: int) -> bytes:
    """The far end's echo of a probe, of the same length: there is nothing to amplify."""
    _, _, session, number, _, _ = _PACKET.unpack_from(packet)
    return _PACKET.pack(MAGIC, ECHO, session, number, now_ns, received) + packet[_PACKET.size :]


def session_of(packet: bytes) -> int | None:
    """The session of a probe; None for everything else, an echo included: two far ends cannot echo each other."""
    if len(packet) != PACKET_BYTES or not packet.startswith(MAGIC):
        return None
    _, kind, session, _, _, _ = _PACKET.unpack_from(packet)
    return int(session) if kind == PROBE else None


def probe(
    host: str,
    port: int,
    *,
    count: int,
    spacing_s: float,
    until: float,
    patience_s: float = 0.5,
    now_ns: Callable[[], int] = time.perf_counter_ns,
) -> Probed:
    """Send `count` probes, one every `spacing_s`, and collect what comes back.

    Args:
        until: seconds of `now_ns` to stop at, whatever is missing.
        patience_s: how long to wait after the last was sent.

    Raises:
        BenchError: the address cannot be used, or the port is closed.
    """
    session = secrets.randbits(64)
    sent: list[int] = []
    echoes: dict[int, Echo] = {}
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as link:
            link.connect(address)
            link.setblocking(False)
            due = now_ns()
            end = min(round(until * 1e9), due + round((count * spacing_s + patience_s) * 1e9))
            while len(echoes) < count:
                moment = now_ns()
                if moment >= end:
                    break
                if len(sent) < count and moment >= due:
                    due += round(spacing_s * 1e9)
                    sent.append(now_ns())
                    link.send(_PACKET.pack(MAGIC, PROBE, session, len(sent) - 1, 0, 0).ljust(PACKET_BYTES, b"\0"))
                else:
                    wake = due if len(sent) < count else end
                    if select.select([link], [], [], max(0, min(wake, end) - moment) * 1e-9)[0]:
                        _collect(link.recv(PACKET_BYTES), session, sent, echoes, now_ns())
    except OSError as error:
        raise BenchError(
            f"wanted UDP echoes from {host}:{port}, found: {error.strerror}; is the port open for UDP too?"
        ) from error
    return Probed(sent=len(sent), echoes=tuple(echoes.values()))


def _collect(packet: bytes, session: int, sent: Sequence[int], echoes: dict[int, Echo], back_ns: int) -> None:
    """Keep an echo of ours, the first of its number."""
    if len(packet) != PACKET_BYTES:
        return
    magic, kind, whose, number, there_ns, received = _PACKET.unpack_from(packet)
    if (magic, kind, whose) == (MAGIC, ECHO, session) and number < len(sent) and number not in echoes:
        echoes[number] = Echo(
            number=number, sent_ns=sent[number], there_ns=there_ns, back_ns=back_ns, received_there=received
        )


def delay_changes(sent_ns: Sequence[int], arrived_ns: Sequence[int]) -> tuple[float, ...]:
    """|D| of RFC 3550, 6.4.1, in seconds: how much each packet's transit differs from that of the packet before.

    The two clocks need not agree: only differences of each enter.
    """
    transits = [arrived - sent for sent, arrived in zip(sent_ns, arrived_ns, strict=True)]
    return tuple(abs(b - a) * 1e-9 for a, b in pairwise(transits))


def smoothed_jitter(changes: Sequence[float]) -> float:
    """The running jitter of RFC 3550, 6.4.1, after the last packet: J += (|D| - J) / 16, from 0."""
    jitter = 0.0
    for change in changes:
        jitter += (change - jitter) / 16
    return jitter
