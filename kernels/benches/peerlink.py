"""Copies straight from one device's memory to another's: every ordered pair, the slowest is the figure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from kernels.spec import Bench, Observation, Observed, Setting, Skip, Step

if TYPE_CHECKING:
    from kernels.cuda.copies import Peers
    from kernels.timing import Timer

KEY = "peerlink.slowest"
SIZE_BYTES = 256 << 20
SAMPLES = 5
CALLS = 8  # copies of a sample
Rates = dict[tuple[int, int], list[float]]  #: B/s by pair of GPUs, in the order taken


def on_cuda(setting: Setting) -> Iterator[Step]:
    """All pairs in turn, as long as there is time for another round; each pair at least once."""
    if not setting.wants(KEY):
        return
    from kernels.cuda.products import require_torch

    require_torch(setting.device.index)
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        yield Skip(key=KEY, reason="one GPU: there is no link from one to another")
        return
    yield Observed(keys=(KEY,), observe=partial(_observe, setting, count))


def _observe(setting: Setting, count: int, seconds: float) -> tuple[Observation, ...]:
    import torch

    from kernels.cuda.copies import Peers
    from kernels.cuda.library import CupyDriver, CupyGpu
    from kernels.cuda.timer import EventTimer

    peers = Peers([f"cuda:{number}" for number in range(count)], SIZE_BYTES, seed=setting.seed)
    direct = [
        [source == target or torch.cuda.can_device_access_peer(source, target) for target in range(count)]
        for source in range(count)
    ]
    timers: list[Timer] = []
    for number in range(count):
        with torch.cuda.device(number):
            timers.append(EventTimer(CupyDriver(CupyGpu(number))))
    until = timers[0].now() + seconds
    rates: Rates = {}
    both: Rates = {}
    for _ in range(SAMPLES):
        for source in range(count):
            with torch.cuda.device(source):
                CupyGpu(source)  # current for cupy's events as well
                one_round(peers, timers[source], source, rates, both)
        if timers[0].now() >= until:
            break
    return (summary(rates, both, direct),)


def one_round(peers: Peers, timer: Timer, source: int, rates: Rates, both: Rates) -> None:
    """One sample of every pair that begins at `source`, checked: one way to all others, both ways to those behind it.

    `timer` is that of `source`; the samples, in B/s, are added to `rates` and `both`.
    """
    for target in range(len(peers.devices)):
        if target == source:
            continue
        lasted_s = timer.time(partial(peers.copy, source, target), CALLS)
        peers.check(source, target)
        rates.setdefault((source, target), []).append(CALLS * peers.size_bytes / lasted_s)
        if target > source:
            lasted_s = timer.time(partial(peers.both, source, target), CALLS)
            peers.check(source, target)
            peers.check(target, source)
            both.setdefault((source, target), []).append(2 * CALLS * peers.size_bytes / lasted_s)


def summary(rates: Rates, both: Rates, direct: list[list[bool]]) -> Observation:
    """The figure of the pair whose median is lowest, with every pair's beside it, one way and both ways at once.

    Args:
        both: of pairs in rising order, bytes of both ways together.
        direct: whether GPU [source] reaches the memory of GPU [target]; else a copy goes by way of the host.
    """
    middles = {pair: median(found) for pair, found in rates.items()}
    slowest = min(middles, key=lambda pair: middles[pair])
    pairs = {
        f"{source}-{target}": {"bytes_per_s": middle, "via_host": not direct[source][target]}
        for (source, target), middle in middles.items()
    }
    context = {
        "slowest": f"{slowest[0]}-{slowest[1]}",
        "pairs": pairs,
        "both_bytes_per_s": {f"{one}-{other}": median(found) for (one, other), found in both.items()},
        "size_bytes": SIZE_BYTES,
    }
    return Observation(key=KEY, unit="B/s", samples=tuple(rates[slowest]), context=context)


BENCH = Bench(
    name="peerlink",
    version=1,
    title="Peer link",
    keys={"cuda": (KEY,)},
    open={"cuda": on_cuda},
    waived={"cpu": "CPUs of one node share their memory: there is no link from device to device"},
    needs=("torch",),
    seconds={"quick": 5.0, "standard": 20.0, "deep": 40.0},
    startup_s=3.0,
)
