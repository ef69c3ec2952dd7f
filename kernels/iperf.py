"""iperf3's own engine (libiperf, through the package `iperf3`), each client and server in a process of its own.

libiperf is not thread-safe and may exit its process. The package captures its output through a pipe that nobody
empties and blocks beyond 64 KiB (thiezn/iperf3-python issue 75), so only its handles are used: libiperf writes its
JSON to the standard output of a companion process, which is a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernels import companion
from kernels.flow import Flow
from kernels.spec import BenchError

LIBRARY = "libiperf.so.0"
SLICE_S = 0.05
START_S = 5.0
UDP_BYTES = 172  # as kernels.udp sends
#: after a session that failed, before the server listens again: a port that is taken must not make it spin
PAUSE_S = 0.005


def missing() -> str | None:
    """Why iperf3 cannot be used here; None = it can."""
    if importlib.util.find_spec("iperf3") is None:
        return "the package iperf3 is not installed"
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return f"{LIBRARY} is not installed"
    return None


@contextlib.contextmanager
def server(host: str, port: int) -> Iterator[companion.Companion]:
    """An iperf3 server on `host`:`port`, one test after the other, until the block is left; it listens already.

    Raises:
        BenchError: it did not come to listen.
    """
    with companion.run("kernels.iperf", json.dumps({"role": "server", "host": host, "port": port})) as running:
        until = time.monotonic() + START_S
        while not listens(port):
            if running.process.poll() is not None or time.monotonic() > until:
                raise BenchError(f"wanted an iperf3 server on {host}:{port}, it did not start: {running.last_words()}")
            time.sleep(0.005)
        yield running


def listens(port: int, *, tables: tuple[str, ...] = ("/proc/net/tcp", "/proc/net/tcp6")) -> bool:
    """Whether anybody listens on a TCP port here; asking by connecting would cost an iperf3 server a session."""
    for table in tables:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def client(
    host: str, port: int, *, seconds: int, reverse: bool
) -> contextlib.AbstractContextManager[companion.Companion]:
    """A running TCP test of whole `seconds` against an iperf3 server; `reverse` = the server sends."""
    task = {"role": "client", "host": host, "port": port, "seconds": seconds, "reverse": reverse}
    return companion.run("kernels.iperf", json.dumps(task))


def udp_client(
    host: str, port: int, *, seconds: int, spacing_s: float
) -> contextlib.AbstractContextManager[companion.Companion]:
    """A running UDP test of whole `seconds` from here to an iperf3 server, a small packet every `spacing_s`."""
    bits_per_s = round(UDP_BYTES * 8 / spacing_s)
    task = {"role": "client", "host": host, "port": port, "seconds": seconds, "udp_bits_per_s": bits_per_s}
    return companion.run("kernels.iperf", json.dumps(task))


def free_port(host: str) -> int:
    """A TCP port that nobody listens on now; libiperf cannot be told to choose one."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def parse(output: bytes) -> dict[str, Any]:
    """libiperf's JSON; some versions print a line of words before it.

    Raises:
        ValueError: there is none, or it reports an error.
    """
    start = output.find(b"{")
    if start < 0:
        raise ValueError("iperf3 gave no result")
    found: dict[str, Any] = json.loads(output[start:])
    if found.get("error"):
        raise ValueError(str(found["error"]))
    return found


def flow(found: dict[str, Any]) -> Flow:
    """The flow of a finished TCP test, as its receiver counted it where that is known.

    Raises:
        ValueError: something is missing from the result.
    """
    try:
        return _flow(found)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"iperf3's result lacks {error}") from error


def _flow(found: dict[str, Any]) -> Flow:
    start, end = found["start"]["test_start"], found["end"]
    ours, theirs = found["intervals"], found.get("server_output_json", {}).get("intervals", [])
    told = len(theirs) >= len(ours) // 2  # a foreign server may count in whole seconds, or in words
    intervals = [each["sum"] for each in (theirs if told and not start["reverse"] else ours)]
    length = sorted(each["seconds"] for each in intervals)[len(intervals) // 2]
    return Flow(
        tool=version(found),
        rates=tuple(each["bytes"] / each["seconds"] for each in intervals if each["seconds"] > length / 2),
        slice_s=length,
        counted_by="receiver" if start["reverse"] or told else "sender",
        context={
            "retransmits": end["sum_sent"].get("retransmits"),
            "received_bytes": end["sum_received"]["bytes"],
            "streams": start["num_streams"],
            "cpu_here_ratio": end["cpu_utilization_percent"]["host_total"] / 100,
            "cpu_there_ratio": end["cpu_utilization_percent"]["remote_total"] / 100,
        },
    )


def version(found: dict[str, Any]) -> str:
    """ "iperf3 3.12"."""
    return str(found["start"]["version"]).replace("iperf ", "iperf3 ")


def main(argv: list[str]) -> int:
    """One companion process; `argv` is its task as JSON."""
    companion.begin()
    task: dict[str, Any] = json.loads(argv[0])
    if task["role"] == "server":
        return _serve(task)
    import iperf3

    test = iperf3.Client(verbose=False, lib_name=LIBRARY)
    test.server_hostname, test.port, test.duration = task["host"], task["port"], task["seconds"]
    if "udp_bits_per_s" in task:
        test.protocol = "udp"
        test.blksize = UDP_BYTES
        test.bandwidth = task["udp_bits_per_s"]
    else:
        test.reverse = task["reverse"]
    _set(test, "iperf_set_test_get_server_output", ctypes.c_int, 1)
    _set_intervals(test)
    test.lib.iperf_run_client(_handle(test))
    return 0


def _serve(task: dict[str, Any]) -> int:
    import iperf3

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads a server's reports
    test = iperf3.Server(verbose=False, lib_name=LIBRARY)
    test.bind_address, test.port = task["host"], task["port"]
    while True:
        _set_intervals(test)  # a reset forgets them
        if test.lib.iperf_run_server(_handle(test)) < 0:
            time.sleep(PAUSE_S)
        test.lib.iperf_reset_test(_handle(test))


def _set_intervals(test: Any) -> None:
    for name in ("iperf_set_test_reporter_interval", "iperf_set_test_stats_interval"):
        _set(test, name, ctypes.c_double, SLICE_S)


def _set(test: Any, name: str, kind: Any, value: float) -> None:
    """Call a setter of libiperf that the package has no property for."""
    setter = getattr(test.lib, name)
    setter.restype, setter.argtypes = None, (ctypes.c_void_p, kind)
    setter(_handle(test), value)


def _handle(test: Any) -> Any:
    return test._test  # noqa: SLF001 - the package has no other way to libiperf's handle


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
