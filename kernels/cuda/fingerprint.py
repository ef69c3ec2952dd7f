"""What a chip shows of itself whatever it is called: how many multiprocessors answer, and where its cache ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from kernels.cuda.library import Gpu
from kernels.cuda.streams import Streams
from kernels.timing import Timer

SM_NUMBERS = 1024  #: more than any GPU has, gaps in their numbering included
BLOCKS_PER_SM = 32
BLOCK_CYCLES = 20_000  #: a block stays some 10 µs, far longer than it takes to begin one on every multiprocessor
LEAST_BYTES, STEPS_PER_OCTAVE = 1 << 20, 4
SAMPLE_S = 2e-3  #: a call passes over its footprint so often
SAMPLES = 3
STEP_LEAST = 1.3  #: between cache and memory: below it there is no step to speak of
FALLEN = 0.25
EITHER_SIDE = 3  #: footprints that must lie on each side of the step


def counted_sms(gpu: Gpu) -> int:
    """How many multiprocessors ran a block of a launch of many; the hardware's own number tells them apart.

    Source: PTX ISA, "Special Registers: %smid".
    """
    seen = gpu.upload(np.zeros(SM_NUMBERS, dtype=np.uint32))
    arguments = (seen, np.uint32(SM_NUMBERS), np.int64(BLOCK_CYCLES))
    gpu.launcher("launch", "mark_sm", BLOCKS_PER_SM * gpu.sms, 32, *arguments)()
    return int(np.count_nonzero(gpu.download(seen)))


def cache_curve(streams: Streams, timer: Timer) -> dict[int, float]:
    """The rate of reading again and again, in B/s, by footprint in bytes: from 1 MiB to a whole array.

    Raises:
        WrongResultError: what was read does not add up.
    """
    curve: dict[int, float] = {}
    for size_bytes in footprints(streams.bytes_each):
        once_s = timer.time(streams.again(size_bytes, 1), 1)
        passes = max(2, math.ceil(SAMPLE_S / once_s))
        call = streams.again(size_bytes, passes)
        lasted_s = median(timer.time(call, 1) for _ in range(SAMPLES))
        streams.check_again(size_bytes, passes)
        curve[size_bytes] = passes * size_bytes / lasted_s
    return curve


def footprints(most_bytes: int) -> tuple[int, ...]:
    """Sizes a fourth of an octave apart, of whole lines."""
    count = math.floor(STEPS_PER_OCTAVE * math.log2(most_bytes / LEAST_BYTES)) + 1
    return tuple(round(LEAST_BYTES * 2 ** (step / STEPS_PER_OCTAVE)) // 256 * 256 for step in range(count))


def knee(curve: Mapping[int, float]) -> float | None:
    """The footprint at which the rate begins to fall from the cache's to the memory's; None where there is no step.

    The highest and the last rates are medians of three neighbours, so that one bad sample moves neither. The rate has
    begun to fall where it has lost FALLEN of the way between them, on a logarithmic scale, for the last time: a cache
    that keeps what it happens to keep (C of f bytes) is found at 1.2 of its size, one that drops all at once at 1.0.
    """
    sizes = sorted(curve)
    if len(sizes) < 2 * EITHER_SIDE:
        return None
    smooth = _medians([curve[size] for size in sizes])
    near, far = max(smooth), median(smooth[-EITHER_SIDE:])
    if near < STEP_LEAST * far:
        return None
    fallen = near ** (1 - FALLEN) * far**FALLEN
    above = [place for place, rate in enumerate(smooth) if rate >= fallen]
    last = above[-1]
    if len(above) < EITHER_SIDE or len(sizes) - 1 - last < EITHER_SIDE:
        return None
    part = math.log(smooth[last] / fallen) / math.log(smooth[last] / smooth[last + 1])
    step: float = (sizes[last + 1] / sizes[last]) ** part
    return sizes[last] * step


def _medians(rates: Sequence[float]) -> list[float]:
    """Each beside its neighbours; the ends as they are."""
    inner = [median(rates[place - 1 : place + 2]) for place in range(1, len(rates) - 1)]
    return [rates[0], *inner, rates[-1]]
