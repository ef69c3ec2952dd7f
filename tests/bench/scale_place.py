"""The parts of the scale benchmark that need no HTTP: placements, how long one waits, and a great many jobs."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.book import Row
from scheduler.records import Attempt, Job, JobSpec
from scheduler.store.writer import TICK_MS
from tests.bench.market import folder
from tests.bench.scale_hall import AT_ONCE, SHAPES, Hall, RunningClock, hall, takes_work
from tests.bench.scale_table import Figures, Found, Options, synced_writes

#: of the GPUs that take work; a market filled to the last one would measure refusals
FILLED = 0.8
#: a queue of more would not wait in one server anyway (WAITING_MAX)
QUEUED_AT_ONCE = 10_000
LATENCY_S = 10.0  # less than the shortest lease: no agent speaks meanwhile
RATE_PER_S = 1000
REACH_PER_S = {10_000: 10_000, 100_000: 5_000}
REACH_P99_S = {10_000: 0.010, 100_000: 0.025}
MILLION, MILLION_S, MILLION_BYTES = 1_000_000, 300.0, 2 << 30


def room(found: Hall) -> int:
    """GPUs of the nodes that take work."""
    return sum(len(row.capacity.gpu_milli) for row in found.book.nodes.values() if takes_work(row))


def placements(options: Options, nodes: int, shapes: Sequence[JobSpec] = SHAPES) -> Found:
    """A queue is placed and committed, again and again; submitting and ending are done in between, untimed."""
    with folder() as path, hall(path, nodes) as found:
        begun, placed, placing_s, committing_s, worst_s = time.perf_counter(), 0, 0.0, 0.0, 0.0
        at_once = min(QUEUED_AT_ONCE, int(FILLED * room(found)))
        while placing_s < options.seconds and time.perf_counter() - begun < options.most_s:
            queue(found, at_once, shapes)
            before_s = found.written_s
            while (left := at_once - found.sink.count) > 0:
                found.nudge()
                round_s = time.perf_counter()
                found.step()
                round_s = time.perf_counter() - round_s
                placing_s, worst_s = placing_s + round_s, max(worst_s, round_s)
                if at_once - found.sink.count == left:
                    raise RuntimeError(f"{left} jobs find no room among {room(found)} GPUs")
            committing_s += found.written_s - before_s
            placed += found.sink.count
            found.settle()
        lasted_s = time.perf_counter() - begun
    rate, reach = placed / placing_s, REACH_PER_S.get(nodes)
    figures: Figures = {
        "nodes": nodes,
        "shapes": len(shapes),
        "placements": placed,
        "placing_s": placing_s,
        "placements_per_s": rate,
        "of_it_committing_s": committing_s,
        "longest_round_s": worst_s,
        "submitted_placed_and_ended_per_s": placed / lasted_s,
        "synced_writes_per_s": synced_writes(),
    }
    found_row = Found(figures)
    found_row.row(
        f"durable placements, {nodes:,} nodes, {mixture(shapes)}, {placing_s:.0f} s of placing",
        None if reach is None else f">= {reach:,} /s",
        f"{rate:,.0f} /s ({committing_s / placing_s:.0%} of it in commits)",
        reached=None if reach is None else rate >= reach,
        durable=True,
    )
    return found_row


def mixture(shapes: Sequence[JobSpec]) -> str:
    """What kinds of jobs they are, for people."""
    return f"{len(shapes)} shapes in turn" if len(shapes) > 1 else f"jobs alike ({shapes[0].policy})"


def queue(found: Hall, count: int, shapes: Sequence[JobSpec] = SHAPES) -> None:
    """Jobs are in line and committed; nothing is placed meanwhile."""
    with found.nothing_placed():
        wanted = found.submitted + count
        while found.submitted < wanted:
            found.submit(min(AT_ONCE, wanted - found.submitted), shapes)
            found.step()


class Stopwatch:
    """As the book's watcher and the writer's listener: from when a job was handed over until its place is durable."""

    def __init__(self) -> None:
        self.handed_s: dict[str, float] = {}
        self.waited_s: list[float] = []
        self._begun_s: dict[int, float] = {}
        self._placed: list[int] = []

    def changed(self, before: Row | None, after: Row | None) -> None:
        """A row was added."""
        if before is None and isinstance(after, Job):
            self._begun_s[after.id] = self.handed_s.pop(after.idempotency_key, 0.0)
        elif before is None and isinstance(after, Attempt):
            self._placed.append(after.job)

    def committed(self, _: object) -> None:
        """What was placed is on the disk."""
        now_s = time.perf_counter()
        self.waited_s += [now_s - at_s for job in self._placed if (at_s := self._begun_s.pop(job, 0.0))]
        self._placed.clear()


def latency(options: Options, nodes: int) -> Found:
    """Jobs come at an even pace to the writer's thread, and from hand-over to commit is timed; others end as fast."""
    watch, clock = Stopwatch(), RunningClock()
    with folder() as path, hall(path, nodes, clock=clock, on_commit=watch.committed, more=(watch,)) as found:
        queue(found, AT_ONCE)  # every shape is known and the files are warm
        found.settle()
        watch.waited_s.clear()
        clock.start()
        time.sleep(TICK_MS / 1000)
        found.step()  # the first tick gives every node its lease
        found.writer.start()
        late_s = feed(found, watch, min(LATENCY_S, options.seconds))
        found.writer.close()
        waited_s = sorted(watch.waited_s)
    p50, p99 = waited_s[len(waited_s) // 2], waited_s[int(0.99 * len(waited_s))]
    p999, reach = waited_s[int(0.999 * len(waited_s))], REACH_P99_S.get(nodes)
    figures: Figures = {
        "nodes": nodes,
        "jobs": len(waited_s),
        "jobs_per_s": RATE_PER_S,
        "p50_s": p50,
        "p99_s": p99,
        "p999_s": p999,
        "worst_s": waited_s[-1],
        "load_generator_late_s": late_s,
        "synced_writes_per_s": synced_writes(),
    }
    result = Found(figures)
    result.row(
        f"submitted to placed and durable, p99, {RATE_PER_S:,} jobs/s, {nodes:,} nodes",
        None if reach is None else f"<= {reach * 1e3:g} ms",
        f"{p99 * 1e3:.1f} ms (p50 {p50 * 1e3:.1f}, p99.9 {p999 * 1e3:.1f})",
        reached=None if reach is None else p99 <= reach,
        durable=True,
    )
    return result


def feed(found: Hall, watch: Stopwatch, seconds: float) -> float:
    """Hand jobs over, one each 1/RATE_PER_S; nodes tell of ends as often. Returns how late the latest was."""
    begun_s, late_s = time.perf_counter(), 0.0
    turn = threading.Event()
    for number in range(int(seconds * RATE_PER_S)):
        due_s = begun_s + number / RATE_PER_S
        if (ahead_s := due_s - time.perf_counter()) > 0.0005:
            turn.wait(ahead_s)
        late_s = max(late_s, time.perf_counter() - due_s)
        key = str(found.submitted + 1)
        watch.handed_s[key] = time.perf_counter()
        found.submit(1)
        if found.sink.count > 4 * RATE_PER_S:
            found.end(1)
    for one in found.asked:
        one.result(timeout=30)
    found.asked.clear()
    return late_s


@dataclass(frozen=True, slots=True)
class Lap:
    """How far a run is."""

    jobs: int
    seconds: float
    rss_bytes: int


def million(options: Options, nodes: int = 10_000) -> Found:
    """All jobs are queued, then placed and ended as fast as it goes; each is a record of its own."""
    jobs = options.jobs
    with folder() as path, ExitStack() as opened:
        found = opened.enter_context(hall(path, nodes))
        start_bytes, begun_s = peak_bytes(), time.perf_counter()
        with found.nothing_placed():
            while found.submitted < jobs:
                count = min(AT_ONCE, jobs - found.submitted)
                found.submit(count, [replace(SHAPES[n % len(SHAPES)], name=f"job-{n}") for n in range(count)])
                found.step()
        queued = Lap(jobs, time.perf_counter() - begun_s, peak_bytes())
        found.settle()
        all_s = time.perf_counter() - begun_s
        size = sum(one.stat().st_size for one in Path(path).iterdir())
    fits = all_s <= MILLION_S * jobs / MILLION and peak_bytes() <= MILLION_BYTES
    figures: Figures = {
        "nodes": nodes,
        "jobs": jobs,
        "seconds": all_s,
        "queued_s": queued.seconds,
        "jobs_per_s": jobs / all_s,
        "peak_rss_bytes": peak_bytes(),
        "rss_bytes_before": start_bytes,
        "rss_bytes_per_queued_job": (queued.rss_bytes - start_bytes) / jobs,
        "database_bytes": size,
        "synced_writes_per_s": synced_writes(),
    }
    result = Found(figures)
    result.row(
        f"{jobs:,} jobs queued, placed and ended, {nodes:,} nodes",
        f"{MILLION_S * jobs / MILLION:g} s, 2 GiB" + ("" if jobs == MILLION else " (1,000,000: 300 s)"),
        f"{all_s:.1f} s ({jobs / all_s:,.0f} /s), {peak_bytes() / 2**30:.2f} GiB at most",
        reached=fits if jobs == MILLION or not fits else None,
        durable=True,
    )
    return result


def peak_bytes() -> int:
    """What this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def percentile(ordered: Sequence[float], part: float) -> float:
    """Of values in ascending order."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
