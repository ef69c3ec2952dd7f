"""What a call through the runtime costs: a torch operation and a compiled numba function; on a GPU, an empty kernel."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from kernels.spec import Bench, Case, Setting, Statistic, Step, Variant, Work, WrongResultError

KEYS = ("launch.sync", "launch.sync_p99", "launch.numba", "launch.numba_p99")
NUMBER = 41
TIMER_READINGS = 1001
GPU_KEYS = ("launch.sync", "launch.sync_p99", "launch.queued", "launch.graph")
GPU_QUEUED = 500  # launches before each wait; the driver's queue holds about a thousand
GPU_NODES = 100
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


def on_cuda(setting: Setting) -> Iterator[Step]:
    """An empty kernel: to its end and back, launched one after the other, and as a node of a graph.

    All but the graph are the host's time, through Python; the graph is the device's and the driver's.
    """
    if not any(setting.wants(key) for key in GPU_KEYS):
        return
    from kernels.cpu.crew import pinned
    from kernels.cuda.library import open_gpu

    gpu = open_gpu(setting.device.index)
    empty = gpu.launcher("launch", "empty", 1, 1)
    with pinned(setting.device.cpus[-1]) as is_pinned:
        context: dict[str, object] = {"cpu": setting.device.cpus[-1], "pinned": is_pinned, "threads": 1}
        there_and_back = partial(_launched, empty, gpu.synchronize, 1)
        once = Variant(
            label="launch and wait", call=partial(there_and_back, 1), clock=there_and_back, work=Work(steps=1)
        )
        yield from _pair(setting, "launch.sync", once, context)
        if setting.wants("launch.queued"):
            clock = partial(_launched, empty, gpu.synchronize, GPU_QUEUED)
            queued = Variant(label="queued", call=partial(clock, 1), clock=clock, work=Work(steps=GPU_QUEUED))
            yield Case(key="launch.queued", unit="s", variants=(queued,), context=context | {"launches": GPU_QUEUED})
    if setting.wants("launch.graph"):
        replay = Variant(label="graph", call=gpu.graph(empty, GPU_NODES), work=Work(steps=GPU_NODES))
        yield Case(key="launch.graph", unit="s", variants=(replay,), context={"nodes": GPU_NODES})


def _launched(launch: Callable[[], object], wait: Callable[[], object], launches: int, calls: int) -> float:
    """Seconds of the host for `calls` times as many launches and one wait."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        for _ in range(launches):
            launch()
        wait()
    return (time.perf_counter_ns() - start) * 1e-9


BENCH = Bench(
    name="launch",
    version=1,
    title="Call overhead",
    keys={"cpu": KEYS, "cuda": GPU_KEYS},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("torch", "numba"),
    seconds={"quick": 2.0, "standard": 5.0, "deep": 10.0},
    quiet=True,
    startup_s=2.5,
    shares=SHARES,
)
