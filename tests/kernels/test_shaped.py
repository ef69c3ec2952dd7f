"""Over a path whose rate and loss are known: through a router in one network namespace to a far end in another.

The router's queues are the bottleneck: a sender's own would slow it down before they fill.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kernels import companion, farend, iperf, tcp, throughput, udp
from kernels.benches import network
from kernels.farend import FarEnd
from kernels.spec import BenchError

pytestmark = [pytest.mark.real, pytest.mark.alone]

NEAR, ROUTER_NEAR, ROUTER_FAR, FAR = "10.203.117.1", "10.203.117.2", "10.203.117.5", "10.203.117.6"
ROUTER = f"gmark-r{os.getpid() % 10_000}"
SPACE = f"gmark-f{os.getpid() % 10_000}"
#: interface names: ours, the router's two, the far end's
OURS, TO_US, TO_THEM, THEIRS = (f"gm{os.getpid() % 10_000}{end}" for end in "abcd")
RATE_BITS_PER_S = 100_000_000
#: a full frame carries 1448 bytes of data in 1514 that the shaper counts (Ethernet, IPv4, TCP with timestamps)
GOODPUT_BYTES_PER_S = RATE_BITS_PER_S / 8 * 1448 / 1514
QUEUE_S = 0.05
#: fills whatever queue there is; bbr, the default of some systems, leaves it nearly empty
FILLING = ("congctl", "cubic")

SERVE = """
import threading
from kernels import peer
peer.serve("{far}", 0, stop=threading.Event(), iperf3_port=5201,
           ready=lambda port, beside: print(port, beside or 0, flush=True))
"""


@dataclass(frozen=True)
class Wire:
    """The link, and the far end that serves behind it."""

    far: FarEnd

    def shape(self) -> None:
        """Let 100 Mbit/s through in either direction, with a queue of 50 ms in front."""
        limit = ("tbf", "rate", f"{RATE_BITS_PER_S}bit", "burst", "32kb", "latency", f"{QUEUE_S * 1000:.0f}ms")
        for device in (TO_US, TO_THEM):
            inside(ROUTER, "tc", "qdisc", "replace", "dev", device, "root", *limit)

    def drop(self, *match: str) -> None:
        """Drop what matches when it arrives at the far end."""
        there("iptables", "-A", "INPUT", *match, "-j", "DROP")

    def dropped(self) -> int:
        """How many packets the kernel says it has dropped."""
        lines = there("iptables", "-L", "INPUT", "-v", "-x", "-n").splitlines()
        return sum(int(line.split()[0]) for line in lines if " DROP " in line)


def run(*command: str) -> str:
    """A command that must succeed; what it prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inside(space: str, *command: str) -> str:
    """The same in a namespace."""
    return run("ip", "netns", "exec", space, *command)


def there(*command: str) -> str:
    """The same in the far end's namespace."""
    return inside(SPACE, *command)


def overflowed() -> int:
    """Datagrams so far, here and there, that found their socket full: who should have read them had no CPU."""
    found = 0
    for table in (Path("/proc/net/snmp").read_text(), there("cat", "/proc/net/snmp")):
        names, values = (line.split() for line in table.splitlines() if line.startswith("Udp: "))
        found += int(values[names.index("RcvbufErrors")])
    return found


def build() -> None:
    """The two namespaces and the path through them."""
    run("ip", "netns", "add", ROUTER)
    run("ip", "netns", "add", SPACE)
    run("ip", "link", "add", OURS, "type", "veth", "peer", "name", TO_US, "netns", ROUTER)
    inside(ROUTER, "ip", "link", "add", TO_THEM, "type", "veth", "peer", "name", THEIRS, "netns", SPACE)
    for space, device, address in ((ROUTER, TO_US, ROUTER_NEAR), (ROUTER, TO_THEM, ROUTER_FAR), (SPACE, THEIRS, FAR)):
        inside(space, "ip", "address", "add", f"{address}/30", "dev", device)
        inside(space, "ip", "link", "set", device, "up")
    inside(ROUTER, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    there("ip", "route", "add", "default", "via", ROUTER_FAR, *FILLING)
    run("ip", "address", "add", f"{NEAR}/30", "dev", OURS)
    run("ip", "link", "set", OURS, "up")
    run("ip", "route", "add", f"{FAR}/32", "via", ROUTER_NEAR, *FILLING)


def tear_down() -> None:
    """Whatever was built of it; links go with their namespaces."""
    for space in (SPACE, ROUTER):
        subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def unusable() -> str | None:
    """Why no such link can be made here."""
    if os.geteuid() != 0:
        return "needs root to make a network namespace"
    missing = [tool for tool in ("ip", "tc", "iptables", "sysctl") if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else None


@pytest.fixture(scope="module")
def space() -> Iterator[int]:
    """The namespace, the link and a serving far end; its port."""
    if reason := unusable():
        pytest.skip(reason)
    serving = None
    try:
        try:
            build()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no such path can be made here: {error.stderr.strip()}")
        command = ["ip", "netns", "exec", SPACE, sys.executable, "-c", SERVE.format(far=FAR)]
        serving = subprocess.Popen(command, cwd=companion.ROOT, stdout=subprocess.PIPE, text=True)
        assert serving.stdout is not None
        yield int(serving.stdout.readline().split()[0])
    finally:
        if serving:
            serving.kill()
            serving.wait()
            assert serving.stdout is not None
            serving.stdout.close()
        tear_down()


@pytest.fixture
def wire(space: int) -> Iterator[Wire]:
    """The link as it was made, and again so afterwards."""
    try:
        with farend.find(f"{FAR}:{space}") as far:
            yield Wire(far)
    finally:
        for device in (TO_US, TO_THEM):
            unshape = ["ip", "netns", "exec", ROUTER, "tc", "qdisc", "delete", "dev", device, "root"]
            subprocess.run(unshape, capture_output=True, check=False)
        there("iptables", "-F")


@pytest.mark.parametrize("part", [0.005, 0.01, 0.05])
def test_random_loss_is_recovered(wire: Wire, part: float) -> None:
    """Every packet the kernel dropped is missing and no other; the part is what was asked for, within chance."""
    wire.drop("-p", "udp", "-m", "statistic", "--mode", "random", "--probability", str(part))
    count, before = 4000, overflowed()
    found = udp.probe(
        FAR, wire.far.peer.port, count=count, spacing_s=2.5e-4, until=time.perf_counter() + 10, patience_s=0.2
    )

    sent = found.sent  # a machine that is busy with other things does not get all of them out in time
    assert count / 2 <= sent <= count
    dropped, unread = wire.dropped(), overflowed() - before
    # 4 standard deviations of a binomial: once in 16 000 tests
    assert abs(dropped - sent * part) <= 4 * math.sqrt(sent * part * (1 - part))
    assert found.lost == dropped + unread
    # those after the last that arrived nobody can place
    assert 0 <= found.lost - found.lost_on_the_way_there() <= 3 + unread


def test_loss_on_the_way_back_is_told_apart(wire: Wire) -> None:
    """Dropped when leaving the far end: it had seen them all."""
    every_tenth = ("-m", "statistic", "--mode", "nth", "--every", "10", "--packet", "0")
    there("iptables", "-A", "OUTPUT", "-p", "udp", *every_tenth, "-j", "DROP")
    found = udp.probe(
        FAR, wire.far.peer.port, count=500, spacing_s=5e-4, until=time.perf_counter() + 10, patience_s=0.2
    )

    assert found.lost == 50
    assert found.lost_on_the_way_there() == 0


@pytest.mark.parametrize("tool", ["iperf3", "built-in"])
@pytest.mark.parametrize("key", ["network.down", "network.up"])
def test_a_shaped_link_gives_its_rate(wire: Wire, tool: str, key: str) -> None:
    """100 Mbit/s of frames are 11.96 MB/s of data, by both testers, both ways."""
    if tool == "iperf3" and (reason := iperf.missing()):
        pytest.skip(reason)
    wire.shape()
    far = wire.far if tool == "iperf3" else replace(wire.far, no_iperf3="compared")
    link = network.Link(far, count=1, probing=False)
    (found,) = link.flow((key,), 1.6)

    assert str(found.context["tool"]).startswith(tool)
    assert found.context["locality"] == "remote"
    # a link never gives more than its rate; less comes through when this machine is busy beside the test (4.5 % seen)
    assert 0.9 <= sum(found.samples) / len(found.samples) / GOODPUT_BYTES_PER_S <= 1.03


def test_a_full_queue_is_seen_by_those_beside_it(wire: Wire) -> None:
    """A queue of 50 ms that a flow fills: so much longer takes every other round trip, and idle ones do not."""
    wire.shape()
    link = network.Link(replace(wire.far, no_iperf3="quicker"), count=100, probing=True)
    link.round_trips(("network.rtt",), 0.4)
    link.flow(("network.up",), 1.5)
    (found,) = link.loaded(("network.loaded_rtt",), 0.0)

    assert found.value is not None
    assert 0.4 * QUEUE_S <= found.value <= 1.2 * QUEUE_S
    assert found.context["worse"] == "up"
    assert found.context["loaded_up_s"] == pytest.approx(found.value + float(str(found.context["idle_s"])))
    assert isinstance(found.context["idle_s"], float)
    assert found.context["idle_s"] < 0.01


def test_round_trips_are_those_of_ping(wire: Wire) -> None:
    """Over the same path; the kernel answers ping itself, our far end is woken for each, and idle CPUs wake slowly."""
    if shutil.which("ping") is None:
        pytest.skip("needs ping")
    words = run("ping", "-n", "-q", "-c", "200", "-i", "0.002", FAR).splitlines()[-1]
    ping_s = float(words.split(" = ")[1].split("/")[1]) * 1e-3
    trips = wire.far.round_trips(count=200, spacing_s=0.002, until=time.perf_counter() + 5)

    assert abs(sorted(trips)[100] - ping_s) <= 200e-6


def test_a_peer_behind_a_black_hole_is_an_error_in_time(wire: Wire) -> None:
    """Nothing comes back, not even a refusal: the time allowed, and one sentence."""
    wire.drop("-p", "tcp", "--syn")
    start = time.monotonic()
    with pytest.raises(BenchError, match=r"wanted a peer at .*, found: no answer within 0\.3 s"):
        tcp.identify(FAR, wire.far.peer.port, timeout_s=0.3)

    assert time.monotonic() - start < 1


def test_a_path_that_is_cut_meanwhile_shows_silence_in_time(wire: Wire) -> None:
    """After half a second nothing passes any more: slices of nothing, and nobody waits for the rest."""
    wire.shape()
    cut = threading.Timer(0.6, wire.drop, ("-p", "tcp"))
    start = time.perf_counter()
    cut.start()
    found = throughput.run(replace(wire.far, no_iperf3="slower"), down=True, seconds=1.5, probing=False)
    cut.join()

    assert time.perf_counter() - start < 1.6
    assert found.flow.rates[2] > 0
    assert found.flow.rates[-5:] == (0.0,) * 5
