"""Throughput in one direction, and the round trips of another connection while it runs."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, replace

from kernels import companion, iperf, tester
from kernels.farend import FarEnd
from kernels.flow import Flow
from kernels.spec import BenchError

#: what a test takes beyond its own seconds: a process, the handshake, the results
OVERHEAD_S = 0.25
#: the load is there by then
RISE_S = 0.3
SPACING_S = 0.02
LEAST_BUILT_IN_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A flow, and round trips in seconds that another connection saw beside it."""

    flow: Flow
    round_trips_s: tuple[float, ...]


def run(far: FarEnd, *, down: bool, seconds: float, probing: bool) -> Loaded:
    """One flow that takes at most `seconds`, by iperf3 where both ends have it, else by the built-in tester.

    Args:
        down: the far end sends.
        probing: take round trips meanwhile.

    Raises:
        BenchError: the test failed, did not end in time, or cannot be made in so few seconds.
    """
    until = time.perf_counter() + seconds
    whole_s = int(seconds - OVERHEAD_S)  # libiperf counts in whole seconds
    why = far.no_iperf3
    if why is None and whole_s < 1:
        why = f"{seconds:.1f} s are too short for it"
    if why is None:
        assert far.peer.iperf3_port is not None  # noqa: S101 - for the type checker: no_iperf3 would say so
        client = iperf.client(far.peer.host, far.peer.iperf3_port, seconds=whole_s, reverse=down)
        try:
            with client as running:
                trips = _beside(far, running, until) if probing else ()
                return Loaded(flow=iperf.flow(iperf.parse(_finished(running, until))), round_trips_s=trips)
        except ValueError as error:  # what iperf3 says when the server is busy or gone
            why = str(error)
    if far.peer.kind == "iperf3":
        raise BenchError(f"iperf3 against {far.peer.host}:{far.peer.port} failed: {why}")
    left_s = until - time.perf_counter() - OVERHEAD_S
    if left_s < LEAST_BUILT_IN_S:
        raise BenchError(f"iperf3 against {far.peer.host} failed, no time is left for the built-in tester: {why}")
    task = {"host": far.peer.host, "port": far.peer.port, "seconds": left_s, "reverse": down}
    with companion.run("kernels.tester", json.dumps(task)) as running:
        trips = _beside(far, running, until) if probing else ()
        flow = tester.flow(json.loads(_finished(running, until))["slices"])
    return Loaded(flow=replace(flow, context={**flow.context, "why_built_in": why}), round_trips_s=trips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagrams:
    """What an iperf3 server counted of a UDP test."""

    tool: str
    sent: int
    lost: int
    jitter_s: float


def iperf3_datagrams(far: FarEnd, *, seconds: float, spacing_s: float) -> Datagrams:
    """A UDP test of whole seconds against an iperf3 server, a small packet every `spacing_s`.

    Raises:
        BenchError: it failed, or `seconds` are too few.
    """
    until = time.perf_counter() + seconds
    whole_s = int(seconds - OVERHEAD_S)
    if whole_s < 1:
        raise BenchError(f"wanted {1 + OVERHEAD_S} s for iperf3's UDP test, found {seconds:.1f} s; raise --budget")
    with iperf.udp_client(far.peer.host, far.peer.port, seconds=whole_s, spacing_s=spacing_s) as running:
        try:
            found = iperf.parse(_finished(running, until))
        except ValueError as error:
            raise BenchError(f"iperf3's UDP test against {far.peer.host}:{far.peer.port} failed: {error}") from error
    total = found["end"]["sum"]
    return Datagrams(
        tool=iperf.version(found),
        sent=int(total["packets"]),
        lost=int(total["lost_packets"]),
        jitter_s=float(total["jitter_ms"]) * 1e-3,
    )


def _beside(far: FarEnd, running: companion.Companion, until: float) -> tuple[float, ...]:
    """Round trips from when the load has risen until the test is over."""
    time.sleep(RISE_S)
    most = round(max(0.0, until - time.perf_counter()) / SPACING_S)
    over = lambda: running.process.poll() is not None  # noqa: E731 - a name for the line below
    return tuple(far.round_trips(count=most, spacing_s=SPACING_S, until=until, over=over))


def _finished(running: companion.Companion, until: float) -> bytes:
    """The output of a test that has ended well."""
    try:
        code = running.process.wait(max(0.0, until - time.perf_counter()))
    except subprocess.TimeoutExpired:
        raise BenchError("a throughput test did not end in time; the peer may have stopped answering") from None
    if code:
        raise BenchError(f"a throughput test failed: {running.last_words()}")
    return running.output()
