"""What is left of the speed after minutes of full load: one product after the other on all cores, or on all GPUs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from kernels import products
from kernels.spec import Bench, Observation, Observed, Setting, Step, UnsupportedError

if TYPE_CHECKING:
    from kernels.cuda.soak import Load

KEYS = ("stress.sustained", "stress.decline")
BURST_S = 2.0  # shorter than any turbo budget; RAPL's long window is 28 s or more by default
WINDOW_S = 1.0  # of the series: speed, clock and a check of the result each
TRIAL_CALLS = 3
LEAST_CALLS = 10  # in the burst, and in the last half
LEAST_WINDOWS = 4  # of a GPU's soak, likewise


@dataclass(slots=True)
class Soak:
    """What was seen while the load ran."""

    ends_s: list[float] = field(default_factory=list)  #: of each call, since the start
    rates: list[float] = field(default_factory=list)  #: of each call, FLOP/s
    marks_s: list[float] = field(default_factory=list)  #: ends of the windows
    clocks_hz: list[float | None] = field(default_factory=list)  #: at those ends, of the core that waits for the others


def on_cpu(setting: Setting) -> Iterator[Step]:
    """A single case that samples by itself: the order of its samples is the result."""
    if not any(setting.wants(key) for key in KEYS):
        return
    libraries = products.set_up(setting.device.threads)
    side = products.sides(products.FP32, setting.device, seed=setting.seed)[0]
    operands = products.Operands(products.FP32, side, seed=setting.seed)
    keys = tuple(key for key in KEYS if setting.wants(key))
    yield Observed(keys=keys, observe=partial(_observe, operands, libraries, keys))


def _observe(
    operands: products.Operands, libraries: products.Libraries, keys: tuple[str, ...], seconds: float
) -> tuple[Observation, ...]:
    until = time.perf_counter() + seconds
    library = _faster(operands, libraries)
    soak = _soak(operands, library, until)
    early = [rate for at, rate in zip(soak.ends_s, soak.rates, strict=True) if at <= BURST_S]
    late = [rate for at, rate in zip(soak.ends_s, soak.rates, strict=True) if at > soak.ends_s[-1] / 2]
    if min(len(early), len(late)) < LEAST_CALLS or soak.ends_s[-1] < 2 * BURST_S:
        raise UnsupportedError(
            f"stress needs {LEAST_CALLS} products in its first {BURST_S:g} s and in its last half, found {len(early)} "
            f"and {len(late)} in {soak.ends_s[-1]:.1f} s; give it more time"
        )
    burst = median(early)
    context = _context(soak, library, operands.side, libraries, burst)
    found = (
        Observation(key="stress.sustained", unit="FLOP/s", samples=tuple(late), context=context),
        Observation(
            key="stress.decline",
            unit="ratio",
            samples=tuple(rate / burst for rate in late),
            context={"burst_flops_per_s": burst, "burst_s": BURST_S, "lasted_s": soak.ends_s[-1]},
        ),
    )
    return tuple(observation for observation in found if observation.key in keys)


def _faster(operands: products.Operands, libraries: products.Libraries) -> str:
    """The library that multiplies faster here; a short trial decides."""
    if not libraries.have_numpy(products.FP32):
        return "torch"
    lasted_s = {}
    for library in ("torch", "numpy"):
        time.sleep(libraries.settle_s)
        call = operands.by_torch if library == "torch" else operands.by_numpy
        call()
        operands.check()
        start = time.perf_counter()
        for _ in range(TRIAL_CALLS):
            call()
        lasted_s[library] = time.perf_counter() - start
    time.sleep(libraries.settle_s)
    return min(lasted_s, key=lambda name: lasted_s[name])


def _soak(operands: products.Operands, library: str, until: float) -> Soak:
    """Multiply without a pause until `until`; each second the result is checked and the clock read."""
    from kernels.cpu.clock import core_clock_hz

    call = operands.by_torch if library == "torch" else operands.by_numpy
    soak = Soak()
    start = time.perf_counter()
    mark = start + WINDOW_S
    while True:
        began = time.perf_counter()
        call()
        ended = time.perf_counter()
        soak.ends_s.append(ended - start)
        soak.rates.append(operands.flops / (ended - began))
        if ended >= mark or ended >= until:
            soak.marks_s.append(ended - start)
            soak.clocks_hz.append(core_clock_hz())
            operands.check()
            mark = time.perf_counter() + WINDOW_S
        if ended >= until:
            return soak


def _context(soak: Soak, library: str, side: int, libraries: products.Libraries, burst: float) -> dict[str, object]:
    """The series a reader can draw: a median per second, with the clock at its end."""
    begins = [0.0, *soak.marks_s[:-1]]
    calls = list(zip(soak.ends_s, soak.rates, strict=True))
    series = [
        median([rate for at, rate in calls if begin < at <= end])
        for begin, end in zip(begins, soak.marks_s, strict=True)
    ]
    return {
        "library": library,
        "side": side,
        "threads": libraries.threads,
        "burst_flops_per_s": burst,
        "calls": len(calls),
        "checks": len(soak.marks_s),
        "elapsed_s": soak.marks_s,
        "flops_per_s": series,
        "clock_hz": soak.clocks_hz,
    }


def shares(_setting: Setting) -> float:
    """One step, whichever of its two keys are wanted."""
    return 1.0


def on_cuda(setting: Setting) -> Iterator[Step]:
    """All GPUs of the machine at once: they share air and power, which one alone does not show."""
    keys = tuple(key for key in KEYS if setting.wants(key))
    if not keys:
        return
    from kernels.cuda import products as gpu_products
    from kernels.cuda.soak import loads

    gpu_products.require_torch(setting.device.index)
    precision = gpu_products.hottest(setting.device.capability)
    every = loads(precision, l2_bytes=setting.device.llc_bytes or 0, seed=setting.seed)
    yield Observed(keys=keys, observe=partial(_observe_gpus, every, precision.key, keys))


def _observe_gpus(
    every: Sequence[Load], product: str, keys: tuple[str, ...], seconds: float
) -> tuple[Observation, ...]:
    from kernels.cuda.soak import soak

    series = soak(every, seconds=seconds, now=time.perf_counter)
    found = gpu_figures(series, product)
    return tuple(observation for observation in found if observation.key in keys)


def gpu_figures(series: Sequence[Sequence[tuple[float, float]]], product: str) -> tuple[Observation, Observation]:
    """The figures of a soak: all GPUs' speed together, and the worst one's late speed over its early one.

    Args:
        series: of each GPU, its windows: seconds since the start at the end, and FLOP/s.

    Raises:
        UnsupportedError: it did not last long enough to tell early from late.
    """
    lasted_s = series[0][-1][0]
    early = [[rate for at, rate in windows if at <= BURST_S] for windows in series]
    late = [[rate for at, rate in windows if at > lasted_s / 2] for windows in series]
    least = min(len(rates) for rates in (*early, *late))
    if least < LEAST_WINDOWS or lasted_s < 2 * BURST_S:
        raise UnsupportedError(
            f"stress needs {LEAST_WINDOWS} windows in its first {BURST_S:g} s and in its last half, found {least} in "
            f"{lasted_s:.1f} s; give it more time"
        )
    bursts = [median(rates) for rates in early]
    ratios = [[rate / burst for rate in rates] for rates, burst in zip(late, bursts, strict=True)]
    worst = min(range(len(ratios)), key=lambda number: median(ratios[number]))
    together = tuple(sum(rates) for rates in zip(*late, strict=True))
    context = {
        "product": product,
        "gpus": len(series),
        "burst_flops_per_s": bursts,
        "elapsed_s": [at for at, _ in series[0]],
        "flops_per_s": [[rate for _, rate in windows] for windows in series],
    }
    decline = {"burst_flops_per_s": bursts[worst], "burst_s": BURST_S, "lasted_s": lasted_s, "gpu": worst}
    return (
        Observation(key="stress.sustained", unit="FLOP/s", samples=together, context=context),
        Observation(key="stress.decline", unit="ratio", samples=tuple(ratios[worst]), context=decline),
    )


BENCH = Bench(
    name="stress",
    version=1,
    title="Sustained load",
    keys={"cpu": KEYS, "cuda": KEYS},
    open={"cpu": on_cpu, "cuda": on_cuda},
    needs=("torch", "numpy", "numba"),
    seconds={"standard": 30.0, "deep": 300.0},
    startup_s=2.5,
    shares=shares,
)
