"""Far ends for tests: real ones, silent ones, rude ones, all on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from kernels import peer

HOST = "127.0.0.1"


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """`kernels.peer.serve` in a thread; its port."""
    stop, ports = threading.Event(), []
    bound = threading.Event()

    def ready(port: int, _: int | None) -> None:
        ports.append(port)
        bound.set()

    thread = threading.Thread(target=peer.serve, args=(HOST, 0), kwargs={"stop": stop, "ready": ready})
    thread.start()
    try:
        assert bound.wait(5)
        yield ports[0]
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def answering(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does `behave` with each connection, one after the other; its port."""
    with socket.create_server((HOST, 0)) as listener:

        def loop() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    with link, contextlib.suppress(OSError):
                        behave(link)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def relaying(port: int, keep: Callable[[int, bytes], int]) -> Iterator[int]:
    """A UDP relay in front of `port`; `keep(number, packet)` says how many copies of each packet from us pass."""
    stop = threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as front,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back,
    ):
        front.bind((HOST, 0))
        back.connect((HOST, port))
        client: list[tuple[str, int]] = []
        for link in (front, back):
            link.settimeout(0.05)

        def there() -> None:
            number = 0
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    packet, sender = front.recvfrom(2048)
                    client[:] = [sender]
                    for _ in range(keep(number, packet)):
                        back.send(packet)
                    number += 1

        def home() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    front.sendto(back.recv(2048), client[0])

        threads = [threading.Thread(target=there), threading.Thread(target=home)]
        for thread in threads:
            thread.start()
        try:
            yield int(front.getsockname()[1])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
