"""The far end of the network benchmark: echo over TCP and UDP, the built-in tester, an iperf3 server beside them.

It answers strangers, so everything is bounded: connections, their time, sessions, the length of what is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from kernels import companion, iperf, tcp, tester, udp
from kernels.spec import BenchError

MAX_CONNECTIONS = 64
MAX_SESSIONS = 1024
MAX_TRANSFER_S = 60.0
#: a connection that says nothing for so long is closed
IDLE_S = 15.0
#: how often `stop` is looked at
LOOK_S = 0.2


def serve(
    host: str,
    port: int,
    *,
    stop: threading.Event,
    iperf3_port: int | None = None,
    ready: Callable[[int, int | None], None] = lambda _port, _iperf3_port: None,
) -> None:
    """Answer benchmarks at `host`:`port`, TCP and UDP, until `stop` is set.

    Args:
        port: 0 = any that is free.
        iperf3_port: where an iperf3 server shall listen as well; None = nowhere. Needs libiperf, else it is left out.
        ready: called once with the ports that are listened on, just before the first answer.

    Raises:
        OSError: the port cannot be used.
    """
    with contextlib.ExitStack() as stack:
        listener, datagrams = _bind(host, port)
        stack.enter_context(listener)
        stack.enter_context(datagrams)
        if iperf.missing():
            iperf3_port = None
        if iperf3_port is not None and not stack.enter_context(_iperf3_server(host, iperf3_port, stop)):
            iperf3_port = None
        echo = threading.Thread(target=_echo_datagrams, args=(datagrams, stop), daemon=True)
        echo.start()
        ready(listener.getsockname()[1], iperf3_port)
        slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        while not stop.is_set():
            if not select.select([listener], [], [], LOOK_S)[0]:
                continue
            with contextlib.suppress(OSError):
                link, _ = listener.accept()
                if slots.acquire(blocking=False):
                    threading.Thread(target=_serve_one, args=(link, iperf3_port, slots), daemon=True).start()
                else:
                    link.close()
        echo.join()


@contextlib.contextmanager
def _iperf3_server(host: str, port: int, stop: threading.Event) -> Iterator[bool]:
    """An iperf3 server that is started again whenever it ends: libiperf may exit when a session goes wrong.

    Yields whether it listens; one that cannot at first, its port being taken, is not tried again.
    """
    tried, listens = threading.Event(), threading.Event()

    def keep() -> None:
        while not stop.is_set() and listens.is_set() == tried.is_set():
            with contextlib.suppress(BenchError), iperf.server(host, port) as running:
                listens.set()
                tried.set()
                while not stop.wait(LOOK_S) and running.process.poll() is None:
                    pass
            tried.set()

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        tried.wait()
        yield listens.is_set()
    finally:
        stop.set()
        keeper.join()


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP listener and a UDP socket on the same port."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    for attempt in range(8):
        listener = socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        try:
            datagrams.bind((host, listener.getsockname()[1]))
        except OSError:
            listener.close()
            datagrams.close()
            if port or attempt == 7:  # a free TCP port need not be a free UDP port
                raise
            continue
        return listener, datagrams
    raise AssertionError("unreachable: the last attempt returns or raises")


def _serve_one(link: socket.socket, iperf3_port: int | None, slots: threading.BoundedSemaphore) -> None:
    try:
        with link, contextlib.suppress(OSError):
            link.settimeout(IDLE_S)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _answer(link, iperf3_port)
    finally:
        slots.release()


def _answer(link: socket.socket, iperf3_port: int | None) -> None:
    greeting = link.recv(tcp.GREETING_BYTES, socket.MSG_WAITALL)
    words = greeting.decode("ascii", errors="replace").split()
    verb = words[1] if len(words) >= 2 and words[0] == "gridmark/1" else ""
    if verb == "info":
        _say(link, {"gridmark": 1, "iperf3_port": iperf3_port})
    elif verb == "echo":
        _say(link, {"gridmark": 1})
        tcp.receive_timeout(link, IDLE_S)
        while data := link.recv(tcp.ECHO_BYTES):
            link.sendall(data)
    elif verb in ("sink", "source") and len(words) == 3 and words[2].isdigit():
        seconds = min(int(words[2]) / 1000, MAX_TRANSFER_S)
        _say(link, {"gridmark": 1})
        if verb == "source":
            end = time.perf_counter() + seconds
            tester.send(link, lambda: time.perf_counter() >= end)
        else:
            _say(link, {"slices": tester.receive(link, seconds)})
            _discard(link)
    elif words[:1] == ["gridmark/1"]:
        _say(link, {"error": "unknown verb"})


def _discard(link: socket.socket) -> None:
    """Take in what was still under way: closing on unread bytes would destroy the answer before it arrives."""
    link.shutdown(socket.SHUT_WR)
    end = time.monotonic() + IDLE_S
    while link.recv(tester.RECEIVE_BYTES) and time.monotonic() < end:
        pass


def _say(link: socket.socket, message: dict[str, object]) -> None:
    link.sendall(json.dumps(message).encode() + b"\n")


def _echo_datagrams(datagrams: socket.socket, stop: threading.Event) -> None:
    received: OrderedDict[tuple[object, int], int] = OrderedDict()
    tcp.receive_timeout(datagrams, LOOK_S)
    while not stop.is_set():
        try:
            packet, sender = datagrams.recvfrom(udp.PACKET_BYTES + 1)
        except OSError:
            continue
        session = udp.session_of(packet)
        if session is None:
            continue
        key = (sender, session)
        received[key] = received.pop(key, 0) + 1
        if len(received) > MAX_SESSIONS:
            received.popitem(last=False)
        with contextlib.suppress(OSError):
            datagrams.sendto(udp.answer(packet, now_ns=time.monotonic_ns(), received=received[key]), sender)


def main(argv: list[str]) -> int:
    """The far end of a run without a peer, on loopback; `argv`: the port for iperf3, 0 = none."""
    companion.begin()

    def ready(port: int, iperf3_port: int | None) -> None:
        sys.stdout.write(json.dumps({"port": port, "iperf3_port": iperf3_port}) + "\n")
        sys.stdout.flush()

    serve("127.0.0.1", 0, stop=threading.Event(), iperf3_port=int(argv[0]) or None, ready=ready)
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
