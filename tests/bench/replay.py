"""How many placement decisions a second, in memory, by how many nodes there are.

`python -m tests.bench.replay [--nodes N,N,…] [--jobs N] [--policy NAME] [--json]` fills a market of made-up nodes to
seven tenths of its GPUs, then goes on placing, the oldest job leaving for each that comes: once with jobs of one GPU
that all ask for the same, once with the mix of a workload, a tenth of which insists on a model. Timed is a decision
with its reservation in the book, every node considered; nothing is stored. The same process makes the jobs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scheduler.records import Attempt
from scheduler.simulate import generate
from scheduler.simulate.market import Market, Workload
from scheduler.simulate.trace import TraceNode, TracePod

SIZES = (1_213, 10_000, 100_000)
FULL = 0.7
ONE_GPU = TracePod(name="one", cpu_milli=4_000, memory_mib=16_384, gpus=1, each_milli=1000)
#: decisions to the nodes' reach at 10,000 nodes, jobs of one GPU
REACH_PER_S = 20_000


@dataclass(frozen=True)
class Pace:
    """What was found for one market and one kind of jobs."""

    nodes: int
    jobs: str
    decisions: int
    per_s: float
    p50_us: float
    p99_us: float
    placed: int


def measure(nodes: tuple[TraceNode, ...], jobs: str, pods: Sequence[TracePod], count: int, policy: str) -> Pace:
    """`count` decisions, half of them before the clock runs, where the market is filled."""
    draw = random.Random(1)
    market = Market(Workload(nodes=nodes, pods=pods, policy=policy), draw)
    most_milli = FULL * 1000 * sum(node.gpus for node in nodes)
    held: deque[tuple[Attempt, int]] = deque()
    milli = placed = 0
    times: list[int] = []
    coming = [pods[draw.randrange(len(pods))] for _ in range(count)]
    for place, pod in enumerate(coming):
        begun = time.perf_counter_ns()
        attempt = market.place(pod)
        times.append(time.perf_counter_ns() - begun)
        if attempt is not None:
            placed += place >= count // 2
            held.append((attempt, pod.gpu_milli))
            milli += pod.gpu_milli
        while milli > most_milli:
            oldest, gave_milli = held.popleft()
            market.leave(oldest)
            milli -= gave_milli
    timed = times[count // 2 :]
    cuts = statistics.quantiles(timed, n=100)
    return Pace(
        nodes=len(nodes),
        jobs=jobs,
        decisions=len(timed),
        per_s=len(timed) / (sum(timed) / 1e9),
        p50_us=cuts[49] / 1e3,
        p99_us=cuts[98] / 1e3,
        placed=placed,
    )


def table(paces: Sequence[Pace]) -> str:
    """For people."""
    lines = [f"{'nodes':>8}  {'jobs':<10}{'decisions':>10}{'per s':>10}{'p50':>10}{'p99':>10}{'placed':>9}"]
    lines += [
        f"{one.nodes:>8}  {one.jobs:<10}{one.decisions:>10}{one.per_s:>10.0f}{one.p50_us:>7.0f} us{one.p99_us:>7.0f} us"
        f"{one.placed / one.decisions:>9.1%}"
        for one in paces
    ]
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Measure and print; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replay", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", default=",".join(map(str, SIZES)), help="how many, separated by commas")
    parser.add_argument("--jobs", type=int, default=20_000, help="decisions for each, half of them timed [20000]")
    parser.add_argument("--policy", default="pack")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args(words)
    paces = []
    for size in map(int, arguments.nodes.split(",")):
        draw = random.Random(size)
        nodes = generate.nodes(size, draw)
        mixed = generate.pods(nodes[:2000], draw, insisting=0.1)
        for jobs, pods in (("one GPU", (ONE_GPU,)), ("mixed", mixed)):
            paces.append(measure(nodes, jobs, pods, arguments.jobs, arguments.policy))
            print(f"{size} nodes, {jobs}: {paces[-1].per_s:.0f}/s", file=sys.stderr, flush=True)
    print(json.dumps([asdict(one) for one in paces], indent=1) if arguments.json else table(paces))
    return int(any(one.nodes == 10_000 and one.jobs == "one GPU" and one.per_s < REACH_PER_S for one in paces))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
