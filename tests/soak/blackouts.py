"""Outages of a real server under real agents: no job begins again, and none is frozen longer than it and 5 s.

Fewer than of the simulated ones (outages.py), for they take as long as they last.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.node.agent import agent_folder
from tests.chaos import check
from tests.chaos.fleet import Fleet, namespace, until, wait
from tests.soak.outages import AGAIN_S, BEYOND_S

FIRST_NAMESPACE = 150
AGENTS, JOBS = 4, 8
OUTAGES = 8
SPAN_S = (1.0, 60.0)
REST_S = 6.0
TICK_S = 0.5
LOOK_S = 0.05
Links = list[Callable[[bool], None]]


@dataclass
class Blackouts:
    """One fleet, and what befalls its server."""

    fleet: Fleet
    links: Links
    counts: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def run(self, spans: list[tuple[str, float]]) -> None:
        """These outages, one after the other, while jobs run that are to survive all of them."""
        ticks = int(sum(span_s + REST_S + AGAIN_S for _, span_s in spans) / TICK_S)
        jobs = {self.fleet.submit(number, ticks=ticks, tick_s=TICK_S): number for number in range(JOBS)}
        until("all work is under way", lambda: all(check.read(self.fleet.trace(n)).tokens for n in jobs.values()))
        tokens = {job: self.fleet.job(job)["tries"][-1]["token"] for job in jobs}
        for kind, span_s in spans:
            self._outage(kind, span_s)
        until("all jobs are done", lambda: not self._unended(jobs), ticks * TICK_S + 300)
        traces = {job: check.read(self.fleet.trace(number)) for job, number in jobs.items()}
        judged = check.judge(traces, tokens, ticks=ticks)
        self.found += [
            f"{what}: {getattr(judged, what)}" for what in ("lost", "doubled", "stale") if getattr(judged, what)
        ]
        self.found += [f"job {job} began again: {trace}" for job, trace in traces.items() if len(trace.tokens) > 1]
        self.counts.update({"jobs": len(jobs), "attempts": sum(len(trace.tokens) for trace in traces.values())})

    def _unended(self, jobs: Mapping[int, int]) -> list[int]:
        wait(1.0)
        return [job for job in jobs if self.fleet.job(job)["state"] == "active"]

    def _outage(self, kind: str, span_s: float) -> None:
        before = self._frozen_s()
        begun_s = time.monotonic()
        mend = KINDS[kind](self)
        wait(span_s)
        mend()
        lasted_s = time.monotonic() - begun_s
        mended_s = time.monotonic()
        while not self._all_run() and time.monotonic() < mended_s + 2 * AGAIN_S:
            wait(LOOK_S)
        again_s = time.monotonic() - mended_s
        wait(REST_S)
        frozen_s = max((now_s - before.get(token, 0.0) for token, now_s in self._frozen_s().items()), default=0.0)
        self.counts.update({"outages": 1, kind: 1, "s of outage": round(lasted_s)})
        self.counts["most ms until all ran again"] = max(
            self.counts["most ms until all ran again"], round(again_s * 1000)
        )
        if frozen_s > lasted_s + BEYOND_S:
            self.found.append(f"{kind} for {lasted_s:.1f} s: a job was frozen for {frozen_s:.1f} s")
        if again_s > AGAIN_S:
            self.found.append(f"{kind} for {lasted_s:.1f} s: {again_s:.1f} s after it not all jobs ran")

    def _statuses(self) -> Iterator[tuple[int, dict[str, object]]]:
        for node in self.fleet.nodes:
            for path in agent_folder(node.data).glob("attempts/*/status.json"):
                with contextlib.suppress(OSError, ValueError):
                    yield int(path.parent.name), json.loads(path.read_text())

    def _frozen_s(self) -> dict[int, float]:
        """By token; of whoever is frozen just now, without that."""
        return {token: float(str(told["frozen_ms"])) / 1000 for token, told in self._statuses()}

    def _all_run(self) -> bool:
        states = [told["state"] for _, told in self._statuses()]
        return len(states) == JOBS and "frozen" not in states


def _stop(where: Blackouts) -> Callable[[], None]:
    server = where.fleet.server
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    return lambda: server.send_signal(signal.SIGCONT)


def _kill(where: Blackouts) -> Callable[[], None]:
    where.fleet.kill_server()
    return where.fleet.start_server


def _cut(where: Blackouts) -> Callable[[], None]:
    def make(up: bool) -> None:
        for link in where.links:
            link(up)

    make(False)
    return lambda: make(True)


KINDS: Mapping[str, Callable[[Blackouts], Callable[[], None]]] = {
    "server stopped": _stop,
    "server killed": _kill,
    "server cut off": _cut,
}


def drawn(draw: random.Random, outages: int = OUTAGES) -> list[tuple[str, float]]:
    """Kinds in turn; short ones as often as long ones, as seen by their logarithm."""
    first = draw.randrange(len(KINDS))
    low, high = map(math.log, SPAN_S)
    return [([*KINDS][(first + n) % len(KINDS)], math.exp(draw.uniform(low, high))) for n in range(outages)]


def search(first: int) -> tuple[dict[str, int], list[str]]:
    """A slice; what was done, and what went wrong."""
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="gm-", ignore_cleanup_errors=True)))
        names = [f"gm-blackout-{first}-{number}" for number in range(AGENTS)]
        places = [opened.enter_context(namespace(name, FIRST_NAMESPACE + n)) for n, name in enumerate(names)]
        fleet = opened.enter_context(Fleet(folder, host=places[0][0]))
        for number, name in enumerate(names):
            fleet.join(f"node{number}", prefix=(shutil.which("ip") or "ip", "netns", "exec", name))
        story = Blackouts(fleet, [link for _, link in places])
        story.run(drawn(random.Random(first)))
        return dict(story.counts), [f"seed {first}: {one}" for one in story.found]
