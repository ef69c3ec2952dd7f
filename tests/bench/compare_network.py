"""Our network figures beside the iperf3 program and a round trip in C, over loopback, in turn.

`python -m tests.bench.compare_network [ROUNDS]` prints a table and then one JSON document.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernels import farend, iperf, tcp, throughput
from kernels.benches import network
from kernels.farend import FarEnd
from kernels.flow import warmed
from tests.bench import against

HOST = "127.0.0.1"
SECONDS = 1
#: what a flow of one second may take in all
FLOW_S = SECONDS + 2 * throughput.OVERHEAD_S
#: of a flow: the program's shortest
SLICE_S = 0.1
#: flows of each kind in a round, whose median counts: one over loopback varies by a third
EACH = 3
PROBES, SPACING_S, C_TRIPS = 300, 0.002, 5000

Measure = Callable[[], float]


def rounds(n: int) -> dict[str, Any]:
    """`n` rounds, every measure `EACH` times in each, in an order that turns; medians, and medians of the ratios.

    Ratios are ours over theirs, each of a flow of its own; those of `same_flow` are of one flow that both counted, so
    that the machine's noise is in neither. `rtt.difference_s` is the median of ours minus theirs.
    """
    with _iperf3_program() as port, farend.find(None) as far, against.compiled("rtt") as program:
        built_in = replace(far, no_iperf3="compared")
        measures: dict[str, Measure] = {
            "down": lambda: _flow(far, down=True),
            "down_built_in": lambda: _flow(built_in, down=True),
            "down_iperf3": lambda: _program(port, reverse=True),
            "down_iperf3_again": lambda: _program(port, reverse=True),
            "up": lambda: _flow(far, down=False),
            "up_built_in": lambda: _flow(built_in, down=False),
            "up_iperf3": lambda: _program(port, reverse=False),
            "up_iperf3_again": lambda: _program(port, reverse=False),
            "rtt": lambda: _round_trip(far),
            "rtt_c": lambda: _round_trip_in_c(program),
        }
        taken: dict[str, list[float]] = {name: [] for name in measures}
        same: dict[str, list[float]] = {"down": [], "up": []}
        for turn in range(n):
            for name, values in _round(measures, turn).items():
                taken[name].append(statistics.median(values))
            for way in same:
                same[way].append(_same_flow(down=way == "down"))
    return {
        "rounds": n,
        "values": {name: statistics.median(values) for name, values in taken.items()},
        "ratios": {name: _ratio(taken[name], taken[f"{name.split('_')[0]}_iperf3"]) for name in RATES},
        "same_flow": {way: statistics.median(ratios) for way, ratios in same.items()},
        "rtt": {"difference_s": statistics.median(map(float.__sub__, taken["rtt"], taken["rtt_c"]))},
        "samples": taken,
    }


def _round(measures: dict[str, Measure], turn: int) -> dict[str, list[float]]:
    """Every measure `EACH` times, one after the other and then again, beginning with another in each turn."""
    names = list(measures)
    names = names[turn % len(names) :] + names[: turn % len(names)]
    values: dict[str, list[float]] = {name: [] for name in names}
    for again in range(EACH):
        for name in reversed(names) if again % 2 else names:
            values[name].append(measures[name]())
    return values


#: the program against itself tells how much of a ratio is the machine's own noise
RATES = ("down", "up", "down_built_in", "up_built_in", "down_iperf3_again", "up_iperf3_again")


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    each = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {"median": statistics.median(each), "lowest": each[0], "highest": each[-1]}


def _flow(far: FarEnd, *, down: bool) -> float:
    """What the benchmark reports of one flow, bytes per second."""
    key = "network.down" if down else "network.up"
    link = network.Link(far, count=PROBES, probing=False)
    (found,) = link.flow((key,), FLOW_S)
    return statistics.fmean(found.samples)


def _same_flow(*, down: bool) -> float:
    """What we report of a flow over what the iperf3 program at its other end reports of the same."""
    port = iperf.free_port(HOST)
    command = ["iperf3", "-s", "-1", "-J", "-B", HOST, "-p", str(port), "-i", str(SLICE_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        while not iperf.listens(port):
            time.sleep(0.01)
        peer = tcp.Peer(host=HOST, port=port, kind="iperf3", iperf3_port=port)
        ours = _flow(FarEnd(peer=peer, locality="loopback", no_iperf3=None), down=down)
        found = iperf.parse(server.communicate(timeout=10)[0])
    every = [each["sum"] for each in found["intervals"]]
    return ours / statistics.fmean(
        warmed([each["bytes"] / each["seconds"] for each in every if each["seconds"] > SLICE_S / 2])
    )


def _round_trip(far: FarEnd) -> float:
    """Our median round trip in seconds."""
    trips = far.round_trips(count=PROBES, spacing_s=SPACING_S, until=time.perf_counter() + 10)
    return statistics.median(trips)


def _round_trip_in_c(program: Path) -> float:
    """The C program's median round trip in seconds, one right after the other."""
    return float(against.run_json([str(program), str(C_TRIPS), str(tcp.FRAME_BYTES)])["median_ns"]) * 1e-9


@contextlib.contextmanager
def _iperf3_program() -> Iterator[int]:
    """The iperf3 program's server; its port."""
    port = iperf.free_port(HOST)
    server = subprocess.Popen(
        ["iperf3", "-s", "-J", "-B", HOST, "-p", str(port), "-i", str(SLICE_S)], stdout=subprocess.DEVNULL
    )
    try:
        while not iperf.listens(port):
            time.sleep(0.01)
        yield port
    finally:
        server.kill()
        server.wait()


def _program(port: int, *, reverse: bool) -> float:
    """What the iperf3 program counts as received, bytes per second, its warm-up left out as ours is."""
    command = [
        "iperf3",
        "-c",
        HOST,
        "-p",
        str(port),
        "-t",
        str(SECONDS),
        "-i",
        str(SLICE_S),
        "-J",
        "--get-server-output",
    ]
    words = subprocess.run([*command, *(["-R"] if reverse else [])], capture_output=True, check=True).stdout
    return statistics.fmean(warmed(iperf.flow(iperf.parse(words)).rates))


def main(argv: list[str]) -> None:
    """Print the comparison."""
    found = rounds(int(argv[0]) if argv else 9)
    for name in RATES:
        ratio = found["ratios"][name]
        print(
            f"{name:18} {found['values'][name] / 1e9:7.3f} GB/s   over iperf3 "
            f"{ratio['median']:.3f} ({ratio['lowest']:.3f} to {ratio['highest']:.3f})"
        )
    for way, ratio in found["same_flow"].items():
        print(f"{way + ', same flow':18} {ratio:.4f}")
    ours, theirs = found["values"]["rtt"], found["values"]["rtt_c"]
    print(f"{'rtt':18} {ours * 1e6:7.1f} µs     C {theirs * 1e6:.1f} µs")
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
