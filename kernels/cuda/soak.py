"""A load on all GPUs at once that leaves no gap: the next window is queued before the last has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kernels.cuda.products import Pairs, Precision, Shape

SHAPE: Shape = (8192, 8192, 8192)
WINDOW_S = 0.25  # of the series; NVML's power is a mean over a second on most GPUs, this only has to show a fall
CHECK_EVERY = 8  # windows between two checks of the result, each of which leaves the GPU idle for a moment


class Load(Protocol):
    """One GPU's work; scripted in tests."""

    flops: int  #: of one call

    def queue(self, calls: int) -> Any:
        """Queue so many calls; a token to wait for."""
        ...

    def wait(self, token: Any) -> float:
        """Seconds the device took for the calls of a token, once they are done."""
        ...

    def check(self) -> None:
        """Raise WrongResultError unless the last product is right."""
        ...


@dataclass
class TorchLoad:
    """Products of one precision on one GPU, timed by torch's events."""

    device: str
    pairs: Pairs
    flops: int = field(init=False)

    def __post_init__(self) -> None:
        self.flops = self.pairs.flops

    def queue(self, calls: int) -> Any:
        import torch

        with torch.cuda.device(self.device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                self.pairs.call()
            end.record()
        return start, end

    def wait(self, token: Any) -> float:
        start, end = token
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def check(self) -> None:
        self.pairs.check()


def loads(precision: Precision, *, l2_bytes: int, seed: int) -> tuple[Load, ...]:
    """One load for each GPU that torch sees."""
    import torch

    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return tuple(
        TorchLoad(device, Pairs(precision, SHAPE, device=device, l2_bytes=l2_bytes, seed=seed)) for device in devices
    )


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was seen of each GPU while all were loaded."""

    started_s: float  #: by the clock that was passed in
    windows: Sequence[Sequence[tuple[float, float]]]  #: of each GPU: seconds since the start at the end, and FLOP/s


def addresses() -> list[str | None]:
    """The PCI address of each GPU that torch sees, in its order; None where this torch does not tell."""
    import torch

    found: list[str | None] = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        parts = [int(getattr(about, f"pci_{part}_id", -1)) for part in ("domain", "bus", "device")]
        found.append("{:04x}:{:02x}:{:02x}.0".format(*parts) if min(parts) >= 0 else None)
    return found


def soak(every: Sequence[Load], *, seconds: float, now: Callable[[], float]) -> Soaked:
    """Load all GPUs for `seconds`.

    A window is so many calls on each GPU as last WINDOW_S on the first. Two are queued at a time.

    Raises:
        WrongResultError: a product is wrong; each GPU's is checked at first, now and then, and at last.
    """
    once = [load.wait(load.queue(1)) for load in every]  # loads the library
    for load in every:
        load.check()
    once = [load.wait(load.queue(1)) for load in every]
    calls = [max(1, round(WINDOW_S / seconds_each)) for seconds_each in once]
    series: list[list[tuple[float, float]]] = [[] for _ in every]
    start = now()
    waiting = [load.queue(n) for load, n in zip(every, calls, strict=True)]
    windows = 0
    while True:
        last = now() - start >= seconds
        windows += 1
        pause = last or windows % CHECK_EVERY == 0
        following = [] if pause else [load.queue(n) for load, n in zip(every, calls, strict=True)]
        for load, token, n, seen in zip(every, waiting, calls, series, strict=True):
            lasted_s = load.wait(token)
            seen.append((now() - start, n * load.flops / lasted_s))
        if pause:
            for load in every:
                load.check()
            if last:
                return Soaked(start, series)
            following = [load.queue(n) for load, n in zip(every, calls, strict=True)]
        waiting = following
