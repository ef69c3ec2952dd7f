"""The built-in throughput tester: random bytes one way over TCP, counted where they arrive."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from kernels import companion, tcp
from kernels.flow import Flow, Slicer
from kernels.spec import BenchError

SLICE_S = 0.05
#: how often a blocked transfer looks whether it is over
LOOK_S, CHUNKS_PER_LOOK = 0.05, 8
#: handed to the kernel at once; larger blocks fall out of the second-level cache and are slower on loopback
CHUNK_BYTES = 1 << 17
#: random bytes that are sent in turn; a link that compresses gains nothing within its window
POOL_BYTES = 4 << 20
RECEIVE_BYTES = 1 << 20


def send(link: socket.socket, over: Callable[[], bool]) -> int:
    """Send random bytes as fast as the link takes them until `over`; how many were handed to the kernel."""
    pool = memoryview(os.urandom(POOL_BYTES))
    link.settimeout(LOOK_S)
    place = total = 0
    while not over():
        for _ in range(CHUNKS_PER_LOOK):
            try:
                sent = link.send(pool[place : place + CHUNK_BYTES])
            except TimeoutError:
                break
            total += sent
            place = (place + sent) % POOL_BYTES
    return total


def receive(link: socket.socket, seconds: float, *, now: Callable[[], float] = time.perf_counter) -> list[int]:
    """Take in what arrives in `seconds` from the first byte on; the bytes of each slice of `SLICE_S`.

    Raises:
        TimeoutError: nothing at all arrived.
    """
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    slicer = Slicer(SLICE_S)
    link.settimeout(tcp.CONNECT_S)
    count, moment = link.recv_into(buffer), now()
    end = moment + seconds
    link.settimeout(LOOK_S)
    while count and moment < end:
        slicer.add(count, moment)
        count = _next(link, buffer, end, now)
        moment = now()
    return slicer.slices(min(moment, end))


def _next(link: socket.socket, buffer: memoryview, end: float, now: Callable[[], float]) -> int:
    """Bytes of the next arrival; 0 when the other side is done or it is `end`."""
    while now() < end:
        with contextlib.suppress(TimeoutError):
            return link.recv_into(buffer)
    return 0


def flow(slices: list[int], *, streams: int = 1) -> Flow:
    """What the built-in tester found."""
    return Flow(
        tool="built-in",
        rates=tuple(count / SLICE_S for count in slices),
        slice_s=SLICE_S,
        counted_by="receiver",
        context={"streams": streams, "received_bytes": sum(slices)},
    )


def main(argv: list[str]) -> int:
    """The built-in tester's client in a process of its own; `argv`: {"host", "port", "seconds", "reverse"} as JSON."""
    companion.begin()
    task: dict[str, Any] = json.loads(argv[0])
    seconds = float(task["seconds"])
    try:
        verb = "source" if task["reverse"] else "sink"
        with tcp.open_verb(task["host"], task["port"], f"{verb} {round(seconds * 1000)}") as link:
            if task["reverse"]:
                slices = receive(link, seconds)
            else:
                send(link, lambda: bool(select.select([link], [], [], 0)[0]))
                link.settimeout(tcp.CONNECT_S)
                slices = json.loads(tcp.read_line(link))["slices"]
    except (OSError, BenchError, ValueError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump({"slices": slices}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
