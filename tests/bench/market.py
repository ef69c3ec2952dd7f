"""How fast the market is: `python -m tests.bench.market [PART …]`, parts run, query, cut, agent; default all.

Whole programs on this machine, load generator included; results go to reports/samples/bench-market.json. A part that
is not run keeps its earlier result. `cut` needs root and iproute2.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.bench.market_query import QUESTIONS
from tests.chaos.check import read
from tests.chaos.fleet import ROOT, Fleet, Node, namespace, supervisors, until, wait
from tests.server.test_up import Market, prepare_report

RESULT = ROOT / "reports/samples/bench-market.json"
RUNS, LINES, QUERIES, CUTS, DEATHS = 60, 20, 2000, 5, 10
NODES = 10_000
IDLE_S = 60.0
#: what is to be reached, in seconds, bytes and parts of a core
TARGETS = {
    "run.p50_s": 0.3,
    "run.p99_s": 1.0,
    "first_line.p99_s": 0.2,
    "query.p99_s": 0.010,
    "cut.worst_s": 17.0,
    "death.worst_s": 1.0,
    "agent.rss_bytes": 60 << 20,
    "agent.cpu_part": 0.005,
    "supervisor.rss_bytes": 15 << 20,
}
Figures = dict[str, Any]


def spread(seconds: Sequence[float]) -> Figures:
    """Median, 99th percentile and worst."""
    ordered = sorted(seconds)
    return {
        "n": len(ordered),
        "p50_s": statistics.median(ordered),
        "p99_s": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "worst_s": ordered[-1],
        "samples_s": [round(one, 5) for one in seconds],
    }


def synced_writes() -> float:
    """Writes of 4 KiB with fdatasync per second, of the disk that the other figures were taken on."""
    with tempfile.TemporaryFile(dir=ROOT) as file:
        begun = time.perf_counter()
        for _ in range(500):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        return 500 / (time.perf_counter() - begun)


@contextmanager
def folder() -> Iterator[Path]:
    """On the disk, not in memory."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".venv") as name:
        yield Path(name)


@contextmanager
def running_market() -> Iterator[Market]:
    """`gridmark up`, measured beforehand."""
    with folder() as data:
        prepare_report(data)
        market = Market(data)
        market.start()
        try:
            yield market
        finally:
            market.stop()


def run_part() -> Figures:
    """`gridmark run -- true` from the shell's point of view, and when a job's first line is on the terminal."""
    with running_market() as market:
        whole = [_lasted(market) for _ in range(RUNS + 3)][3:]
        lines = [_first_line(market) for _ in range(LINES)]
    return {"run": spread(whole), "first_line": spread(lines)}


def _lasted(market: Market) -> float:
    begun = time.perf_counter()
    done = market.run("run", "--", "true")
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begun


def _first_line(market: Market) -> float:
    """From the job's writing of the line, by the same clock, to its reading at the other end of the command."""
    with market.follow("run", "--", "/bin/sh", "-c", "sleep 0.5; date +%s%N; sleep 0.3") as follower:
        assert follower.stdout is not None
        wrote_ns = int(follower.stdout.readline())
        return (time.time_ns() - wrote_ns) * 1e-9


def query_part() -> Figures:
    """Offers over HTTP, one connection, six filters each, the best fifty of NODES nodes."""
    with folder() as data:
        command = [sys.executable, "-m", "tests.bench.market_server", str(data), str(NODES)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as server:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            try:
                seconds = _ask(told["url"], told["token"])
            finally:
                server.terminate()
    return {"query": spread(seconds) | {"nodes": NODES, "samples_s": []}}


def _ask(url: str, token: str) -> list[float]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {token}"}
    seconds = []
    for step in range(QUERIES + 50):
        words = {"q": QUESTIONS[step % 3], "sort": "price / count", "limit": 50}
        begun = time.perf_counter()
        connection.request("GET", f"/v1/offers?{urllib.parse.urlencode(words)}", headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - begun)
        assert answer.status == 200, content
    return seconds[50:]


def cut_part() -> Figures:
    """A link cut, and a supervisor killed, until the job's next attempt has written its first line."""
    name = f"gm-bench-{os.getpid()}"
    cuts, deaths = [], []
    with folder() as data, namespace(name, 9) as (host, link), Fleet(data, host=host) as fleet:
        near = fleet.join("near")
        far = fleet.join("far", prefix=(shutil.which("ip") or "ip", "netns", "exec", name))
        for number in range(CUTS):
            cuts.append(_until_elsewhere(fleet, number, far, near, lambda: link(False)))
            link(True)
            _heal(fleet, far)
        for number in range(CUTS, CUTS + DEATHS):
            deaths.append(_until_elsewhere(fleet, number, near, far, lambda: _kill_supervisor(near)))
            _heal(fleet, near)
    return {"cut": spread(cuts), "death": spread(deaths)}


def _until_elsewhere(fleet: Fleet, number: int, from_node: Node, to_node: Node, fault: Callable[[], None]) -> float:
    """Seconds from the fault to the first line of the attempt that replaces the one it struck."""
    _drain(fleet, to_node, "drain")
    job = fleet.submit(number, ticks=10_000)
    until("the job runs", lambda: read(fleet.trace(number)).tokens)
    assert fleet.job(job)["tries"][-1]["node"] == from_node.id
    _drain(fleet, to_node, "undrain")
    begun = time.perf_counter()
    fault()
    until("it runs elsewhere", lambda: len(read(fleet.trace(number)).tokens) == 2)
    lasted_s = time.perf_counter() - begun
    fleet.client.post(f"/v1/jobs/{job}/cancel")
    until("it ends", lambda: fleet.job(job)["state"] == "cancelled")
    return lasted_s


def _kill_supervisor(node: Node) -> None:
    os.kill(supervisors(node)[0], signal.SIGKILL)


def _drain(fleet: Fleet, node: Node, verb: str) -> None:
    fleet.operator.post(f"/v1/nodes/{node.id}/{verb}")


def _heal(fleet: Fleet, node: Node) -> None:
    """A node that lost three jobs is measured anew; here it is given the sample again, and its agent started again."""
    node.kill()
    fleet.measure(node)
    fleet.start_agent(node)
    until("it is back", lambda: fleet.operator.get(f"/v1/nodes/{node.id}")["state"] in ("ready", "degraded"))


def agent_part() -> Figures:
    """Memory of an agent and a supervisor, and what an idle agent takes of a core."""
    with folder() as data, Fleet(data) as fleet:
        node = fleet.join("idle")
        assert node.process is not None
        process = psutil.Process(node.process.pid)
        until("it is online", lambda: fleet.operator.get(f"/v1/nodes/{node.id}")["state"] in ("ready", "degraded"))
        wait(5.0)
        before, begun = sum(process.cpu_times()[:2]), time.monotonic()
        wait(IDLE_S)
        part = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - begun)
        fleet.submit(1, ticks=50)
        pid = until("a supervisor runs", lambda: supervisors(node))[0]
        wait(2.0)
        return {
            "agent": {"rss_bytes": process.memory_info().rss, "cpu_part": part, "idle_s": IDLE_S},
            "supervisor": {"rss_bytes": psutil.Process(pid).memory_info().rss},
        }


PARTS: dict[str, Callable[[], Figures]] = {"run": run_part, "query": query_part, "cut": cut_part, "agent": agent_part}


def main(wanted: list[str]) -> None:
    """Run the parts, keep and show what they found."""
    if unknown := set(wanted) - set(PARTS):
        raise SystemExit(f"unknown part {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    results: Figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in wanted or PARTS:
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        results |= PARTS[name]()
        results["synced_writes_per_s"] = synced_writes()
        results["load_generator"] = "on the same cores"
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    for key, most in TARGETS.items():
        group, _, figure = key.partition(".")
        if group in results:
            value = results[group][figure]
            print(f"{key:<24} {value:>14.6g}  to reach {most:g}  {'reached' if value <= most else 'MISSED'}")


if __name__ == "__main__":
    main(sys.argv[1:])
