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
    from kernels.cuda.soak import Load, Soaked

KEYS = ("stress.sustained", "stress.decline")
BURST_S = 2.0  # shorter than any turbo budget; RAPL's long window is 28 s or more by default
WINDOW_S = 1.0  # of the series: speed, clock and a check of the result each
TRIAL_CALLS = 3
LEAST_CALLS = 10  # in the burst, and in the last half
LEAST_WINDOWS = 4  # of a GPU's soak, likewise
STEADY_PART = 0.01  # of the late speed: a median of SMOOTHED windows that stays so near to it is steady
SMOOTHED = 5
STEADY_BY = 0.75  # of the soak; what settles later was not seen to stay


@dataclass(slots=True)
class Soak:
    """What was seen while the load ran."""

    started_mono_s: float = 0.0  #: CLOCK_MONOTONIC, by which telemetry is timed as well
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
            context={
                "burst_flops_per_s": burst,
                "burst_s": BURST_S,
                "lasted_s": soak.ends_s[-1],
                "started_mono_s": soak.started_mono_s,
                "steady_after_s": context["steady_after_s"],
            },
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
    soak = Soak(started_mono_s=time.monotonic())
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
        "started_mono_s": soak.started_mono_s,
        "steady_after_s": steady_after_s(soak.marks_s, series),
        "elapsed_s": soak.marks_s,
        "flops_per_s": series,
        "clock_hz": soak.clocks_hz,
    }


def steady_after_s(ends_s: Sequence[float], rates: Sequence[float]) -> float | None:
    """Seconds from the start until the speed was what it stayed: 0 = at once, None = it never settled.

    The first window from which on the running median stays within STEADY_PART of the median of the last half.

    Args:
        ends_s: of the windows, since the start, rising.
        rates: of the windows.
    """
    late = median([rate for end, rate in zip(ends_s, rates, strict=True) if end > ends_s[-1] / 2])
    reach = SMOOTHED // 2
    smooth = [median(rates[max(0, place - reach) : place + reach + 1]) for place in range(len(rates))]
    begins = [0.0, *ends_s[:-1]]
    settled: float | None = None
    for begin, rate in zip(begins, smooth, strict=True):
        if abs(rate - late) > STEADY_PART * late:
            settled = None
        elif settled is None:
            settled = begin
    return settled if settled is not None and settled <= STEADY_BY * ends_s[-1] else None


def shares(_setting: Setting) -> float:
    """One step, whichever of its two keys are wanted."""
    return 1.0


def on_cuda(setting: Setting) -> Iterator[Step]:
    """All GPUs of the machine at once: they share air and power, which one alone does not show."""
    keys = tuple(key for key in KEYS if setting.wants(key))
    if not keys:
        return
    from kernels.cuda import products as gpu_products
    from kernels.cuda.soak import addresses, loads

    gpu_products.require_torch(setting.device.index)
    precision = gpu_products.hottest(setting.device.capability)
    every = loads(precision, l2_bytes=setting.device.llc_bytes or 0, seed=setting.seed)
    yield Observed(keys=keys, observe=partial(_observe_gpus, every, addresses(), precision.key, keys))


def _observe_gpus(
    every: Sequence[Load], addresses: Sequence[str | None], product: str, keys: tuple[str, ...], seconds: float
) -> tuple[Observation, ...]:
    from kernels.cuda.soak import soak

    found = gpu_figures(soak(every, seconds=seconds, now=time.monotonic), product, addresses)
    return tuple(observation for observation in found if observation.key in keys)


def gpu_figures(
    soaked: Soaked, product: str, addresses: Sequence[str | None]
) -> tuple[Observation, Observation]:  # fmt: skip
    """The figures of a soak: all GPUs' speed together, and the worst one's late speed over its early one.

    Args:
        addresses: of each GPU on the PCI bus, for whoever puts its temperature beside its speed.

    Raises:
        UnsupportedError: it did not last long enough to tell early from late.
    """
    series = soaked.windows
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
    steady = [steady_after_s([at for at, _ in windows], [rate for _, rate in windows]) for windows in series]
    times = {"started_mono_s": soaked.started_s, "steady_after_s": _latest(steady)}
    context = {
        "product": product,
        "gpus": len(series),
        "gpu_addresses": list(addresses),
        "burst_flops_per_s": bursts,
        **times,
        "steady_each_s": steady,
        "elapsed_s": [at for at, _ in series[0]],
        "flops_per_s": [[rate for _, rate in windows] for windows in series],
    }
    decline = {"burst_flops_per_s": bursts[worst], "burst_s": BURST_S, "lasted_s": lasted_s, "gpu": worst, **times}
    return (
        Observation(key="stress.sustained", unit="FLOP/s", samples=together, context=context),
        Observation(key="stress.decline", unit="ratio", samples=tuple(ratios[worst]), context=decline),
    )


def _latest(each_s: Sequence[float | None]) -> float | None:
    """When the last GPU had settled, None = one never did."""
    known = [at for at in each_s if at is not None]
    return max(known) if len(known) == len(each_s) else None


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
