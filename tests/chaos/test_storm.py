"""Real processes, really killed: no job is lost, none runs twice, no stale result counts."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import check
from tests.chaos.fleet import Fleet, Node, can_have_namespaces, namespace, supervisors, until, wait

JOBS = 30
TICKS = 60  # of 0.2 s: a job runs 12 s and more
OUTAGE_S = 20.0  # twice the agent's lease, and more than the server's
PLACED_ELSEWHERE_S = 60.0
ENDED = {"done", "failed", "cancelled", "expired"}

pytestmark = [pytest.mark.real, pytest.mark.alone]


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    """Skip where none can be made; found out here, for whoever only collects the tests makes none."""
    if not can_have_namespaces():
        pytest.skip("needs root and iproute2, for a link that can be cut")


@contextlib.contextmanager
def four_nodes(folder: Path) -> Iterator[tuple[Fleet, Callable[[bool], None]]]:
    """A server and four agents, the last behind a link of its own; yields what cuts and mends that."""
    name = f"gm-{os.getpid()}"
    with namespace(name, 1 + os.getpid() % 90) as (host, link), Fleet(folder, host=host) as fleet:
        for number in range(3):
            fleet.join(f"node{number}")
        fleet.join("node3", prefix=(shutil.which("ip") or "ip", "netns", "exec", name))
        yield fleet, link


def on_node(fleet: Fleet, jobs: list[int], node: Node) -> list[int]:
    """Those of the jobs that run on it."""
    found = {job: fleet.job(job) for job in jobs}
    return [job for job, told in found.items() if told["state"] == "active" and told["tries"][-1]["node"] == node.id]


def wrote(fleet: Fleet, number: int) -> bool:
    return bool(check.read(fleet.trace(number)).tokens)


def test_a_storm_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """A job, a supervisor, an agent and the server killed, an agent stopped for 20 s, a link cut as long."""
    with four_nodes(tmp_path) as (fleet, link):
        numbers = {fleet.submit(number, ticks=TICKS): number for number in range(JOBS)}
        jobs = list(numbers)
        calm, killed, stopped, _ = fleet.nodes
        until("every node has work", lambda: all(on_node(fleet, jobs, node) for node in fleet.nodes))
        until("work is under way", lambda: sum(wrote(fleet, number) for number in numbers.values()) >= 4)

        os.kill(_supervisor(calm), signal.SIGKILL)
        killed.kill()
        fleet.kill_server()
        fleet.start_server()
        fleet.start_agent(killed)
        stopped.signal(signal.SIGSTOP)
        link(False)
        wait(OUTAGE_S)
        stopped.signal(signal.SIGCONT)
        link(True)
        _kill_a_job(calm)

        until("every job ended", lambda: all(fleet.job(job)["state"] in ENDED for job in jobs), 180.0)
        states = {job: fleet.job(job) for job in jobs}
        traces = {job: check.read(fleet.trace(number)) for job, number in numbers.items()}
        done = {job: found["result"]["token"] for job, found in states.items() if found["state"] == "done"}

        assert check.judge(traces, done, ticks=TICKS) == check.Judgement()
        assert sum(len(trace.tokens) for trace in traces.values()) > JOBS  # it was a storm


def _supervisor(node: Node) -> int:
    """Of any attempt on the node; for a moment, between two jobs, there may be none."""
    found: list[int] = until(f"a job runs on {node.name}", lambda: supervisors(node))
    return found[0]


def _kill_a_job(node: Node) -> None:
    """The program itself, of any attempt on the node."""
    supervisor = _supervisor(node)
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)


def test_an_outage_of_the_server_restarts_no_job(tmp_path: Path) -> None:
    """Twenty seconds without a server: jobs are frozen meanwhile, and go on as the attempts they were."""
    with four_nodes(tmp_path) as (fleet, _):
        numbers = {fleet.submit(number, ticks=TICKS): number for number in range(8)}
        until("all work is under way", lambda: all(wrote(fleet, number) for number in numbers.values()))
        tokens = {job: fleet.job(job)["tries"][-1]["token"] for job in numbers}

        fleet.kill_server()
        wait(OUTAGE_S)
        fleet.start_server()

        until("every job ended", lambda: all(fleet.job(job)["state"] in ENDED for job in numbers), 120.0)
        traces = {job: check.read(fleet.trace(number)) for job, number in numbers.items()}

        assert check.judge(traces, tokens, ticks=TICKS) == check.Judgement()
        assert {job: trace.tokens for job, trace in traces.items()} == {job: (token,) for job, token in tokens.items()}
