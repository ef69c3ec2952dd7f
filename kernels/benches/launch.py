"""What a call through the runtime costs: a torch operation on one element, and a compiled numba function."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from kernels.spec import Bench, Case, Setting, Statistic, Step, Variant, Work, WrongResultError

KEYS = ("launch.sync", "launch.sync_p99", "launch.numba", "launch.numba_p99")
NUMBER = 41
TIMER_READINGS = 1001
SHARES = {"launch.sync_p99": 0.5, "launch.numba_p99": 0.5}


def on_cpu(setting: Setting) -> Iterator[Step]:
    """Median over batches of calls, p99 over calls timed one by one; on one pinned CPU."""
    from kernels.cpu.crew import pinned

    device = setting.device
    cpu = device.cpus[device.threads - 1]  # the first CPU takes most interrupts
    with pinned(cpu) as is_pinned:
        context: dict[str, object] = {"cpu": cpu, "pinned": is_pinned, "threads": 1}
        if setting.wants("launch.sync") or setting.wants("launch.sync_p99"):
            yield from _pair(setting, "launch.sync", _torch_call(), context)
        if setting.wants("launch.numba") or setting.wants("launch.numba_p99"):
            yield from _pair(setting, "launch.numba", _numba_call(), context)


def _pair(setting: Setting, key: str, variant: Variant, context: dict[str, object]) -> Iterator[Step]:
    if setting.wants(key):
        yield Case(key=key, unit="s", variants=(variant,), context=context)
    tail: Statistic = "p99"
    if setting.wants(f"{key}_p99"):
        # each sample holds two readings of the clock and one call; the clock's part is told, not taken off
        yield Case(
            key=f"{key}_p99",
            unit="s",
            variants=(variant,),
            statistic=tail,
            min_sample_s=0.0,
            share=SHARES[f"{key}_p99"],
            context=context | {"timer_overhead_s": _timer_overhead_s()},
        )


def _torch_call() -> Variant:
    import torch

    one, result = torch.full((1,), float(NUMBER)), torch.zeros(1)

    def check() -> None:
        found = float(result[0])
        if found != 2.0 * NUMBER:
            raise WrongResultError(f"torch.add of {NUMBER} and {NUMBER} is {found}, expected {2.0 * NUMBER}")
        result.zero_()

    call: Callable[[], object] = partial(torch.add, one, one, out=result)
    return Variant(label="torch.add, one element", call=call, work=Work(steps=1), check=check)


def _numba_call() -> Variant:
    from kernels.cpu.calls import successor

    call: Callable[[], int] = partial(successor, NUMBER)

    def check() -> None:
        found = call()
        if found != NUMBER + 1:
            raise WrongResultError(f"the successor of {NUMBER} is {found}, expected {NUMBER + 1}")

    call()  # compiled or loaded here, so that no measurement pays for it
    return Variant(label="numba, one integer", call=call, work=Work(steps=1), check=check)


def _timer_overhead_s() -> float:
    """Median of what two readings of the clock show with nothing between them."""
    readings = []
    for _ in range(TIMER_READINGS):
        start = time.perf_counter_ns()
        readings.append(time.perf_counter_ns() - start)
    return statistics.median(readings) * 1e-9


BENCH = Bench(
    name="launch",
    version=1,
    title="Call overhead",
    keys={"cpu": KEYS},
    open={"cpu": on_cpu},
    waived={"cuda": "no CUDA case yet"},
    needs=("torch", "numba"),
    seconds={"quick": 2.0, "standard": 5.0, "deep": 10.0},
    startup_s=2.5,
    shares=SHARES,
)
