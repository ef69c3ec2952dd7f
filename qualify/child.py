"""The process in which one benchmark runs: task on stdin, messages on a pipe, and nothing else is trusted.

It catches only what a benchmark says on purpose. Anything else ends the process, and the parent reads the reason
from its exit and the last line of its stderr: a crash costs the figure that was being measured and no other.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kernels import stats
from kernels.conditions import Conditions, WatchedTimer, between, die_with_parent
from kernels.device import timer_for
from kernels.spec import (
    Bench,
    BenchError,
    Case,
    Observation,
    Observed,
    Setting,
    Skip,
    Step,
    UnsupportedError,
    WrongResultError,
)
from kernels.timing import EFFORT, Figure, known_well, measure
from qualify import wire

#: an observed figure is as steady as the far end and the disk are; 5 % is what a reader needs
OBSERVED_TOLERANCE = 0.05
RATIO_TOLERANCE = 0.01
#: left at the end of the task's seconds for the last check and the generator's clean-up
WRAP_UP_S = 0.1

Send = Callable[[wire.Message], None]


def main(argv: list[str]) -> None:
    """Run the task on stdin; `argv` holds the number of the pipe's file descriptor."""
    start = time.monotonic()
    die_with_parent()
    pipe = os.fdopen(int(argv[0]), "wb", buffering=0)
    task = wire.decode_task(sys.stdin.buffer.readline(wire.MAX_LINE_BYTES))

    def send(message: wire.Message) -> None:
        line = memoryview(wire.encode(message))
        while line:
            line = line[pipe.write(line) :]

    bench: Bench = importlib.import_module(f"kernels.benches.{task.bench}").BENCH
    run_bench(bench, task, send, until=start + task.seconds - WRAP_UP_S)
    send(wire.Done())


def run_bench(bench: Bench, task: wire.Task, send: Send, *, until: float) -> None:
    """Measure every step of `bench` before `until` (monotonic seconds) and send what was found.

    A bench always gets a sample of each step, however late it is: the parent holds the final deadline.
    """
    setting = Setting(
        device=task.device,
        profile=task.profile,
        budget_s=max(0.1, until - time.monotonic()),
        seed=task.seed,
        only=frozenset(task.only),
        workdir=Path(task.workdir),
        peer=task.peer,
    )
    left = list(bench.wanted(setting))
    share_left = bench.total_share(setting)
    steps = bench.open[task.device.kind](setting)
    while True:
        keys = tuple(left)
        try:
            step = next(steps, None)
            if step is None:
                break
            keys = _keys(step)
            send(wire.Started(keys=keys))
            share = getattr(step, "share", 0.0)
            seconds = (until - time.monotonic()) * share / max(share_left, share, 1e-9)
            share_left -= share
            for message in _run(step, bench, task, max(0.0, seconds)):
                send(message)
        except (BenchError, MemoryError, ImportError) as error:
            send(_missed(keys, error))
        left = [key for key in left if key not in keys]
    if left:
        send(wire.Missed(keys=tuple(left), status="failed", reason=f"{bench.name} ended without measuring it"))


def _keys(step: Step) -> tuple[str, ...]:
    if isinstance(step, Case):
        return (step.key, *(reading.key for reading in step.also))
    return step.keys if isinstance(step, Observed) else (step.key,)


def _missed(keys: tuple[str, ...], error: Exception) -> wire.Missed:
    if isinstance(error, UnsupportedError):
        return wire.Missed(keys=keys, status="skipped", reason=str(error), error="unsupported")
    if isinstance(error, ImportError):
        reason = f"needs the package {error.name or 'named here'} ({error}); pip install 'gridmark[node]'"
        return wire.Missed(keys=keys, status="failed", reason=reason, error="unsupported")
    if isinstance(error, MemoryError):
        reason = f"no memory for it ({error or 'allocation refused'}); free some, or raise the limit"
        return wire.Missed(keys=keys, status="failed", reason=reason, error="out_of_memory")
    kind = "wrong_result" if isinstance(error, WrongResultError) else "bench_error"
    return wire.Missed(keys=keys, status="failed", reason=str(error) or type(error).__name__, error=kind)


def _run(step: Step, bench: Bench, task: wire.Task, seconds: float) -> list[wire.Message]:
    if isinstance(step, Skip):
        return [wire.Missed(keys=(step.key,), status="skipped", reason=step.reason, error="unsupported")]
    start = time.monotonic()
    conditions = Conditions(clock_hz=_clock(task))
    # on a GPU a batch is queued first; its timer holds events against the host's clock itself
    timer = WatchedTimer(timer_for(task.device), compares=task.device.kind == "cpu")
    before = conditions.read()
    if isinstance(step, Observed):
        found = [_observed(observation) for observation in step.observe(seconds)]
        context = between(before, conditions.read())
    else:
        found = list(measure(step, timer, EFFORT[task.device.kind], seconds))
        context = {**between(before, conditions.read()), **timer.context(_threads(step))}
    lasted_s = time.monotonic() - start
    return [_measured(figure, bench, {**context, **figure.context}, lasted_s) for figure in found]


def _clock(task: wire.Task) -> Callable[[], float | None]:
    if task.device.kind != "cpu":
        return lambda: None
    from kernels.cpu.clock import core_clock_hz

    return core_clock_hz


def _threads(case: Case) -> int | None:
    threads = case.context.get("threads")
    return threads if isinstance(threads, int) else None


def _observed(seen: Observation) -> Figure:
    summary = stats.summarise(seen.samples, seen.statistic)
    if seen.value is not None:
        summary = replace(summary, value=seen.value, ci95=seen.ci95)
    return Figure(
        key=seen.key,
        unit=seen.unit,
        statistic=seen.statistic,
        summary=summary,
        samples=seen.samples,
        converged=_settled(seen, summary),
        at=seen.at,
        axis=seen.axis,
        context=dict(seen.context),
    )


def _settled(seen: Observation, summary: stats.Summary) -> bool:
    """Whether an observed figure is known well enough; a ratio near 0 by its width itself, not by its relative one."""
    if seen.unit == "ratio" and summary.ci95 is not None:
        return summary.ci95[1] - summary.ci95[0] <= 2 * RATIO_TOLERANCE
    return known_well(seen.samples, seen.statistic, OBSERVED_TOLERANCE)


def _measured(figure: Figure, bench: Bench, context: dict[str, object], lasted_s: float) -> wire.Measured:
    summary = figure.summary
    return wire.Measured(
        key=figure.key,
        unit=figure.unit,
        statistic=figure.statistic,
        value=summary.value,
        ci95=summary.ci95,
        mad=summary.mad,
        p5=summary.p5,
        p95=summary.p95,
        samples=figure.samples,
        converged=figure.converged,
        at=figure.at,
        axis=figure.axis,
        lasted_s=lasted_s,
        version=bench.version,
        context=context,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
