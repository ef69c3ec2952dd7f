"""Somebody else's work on the GPU: a stream of this process that takes slices of its time, and another process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kernels.cuda.library import CupyGpu, cupy

ROOT = Path(__file__).resolve().parent.parent.parent
#: blocks of so many threads, so many a multiprocessor: no room is left beside them on any GPU
THREADS, BLOCKS_PER_SM = 512, 4
SPIN_CYCLES = 1_500_000  # a millisecond at 1.5 GHz
PAUSE_S = 3e-3  # between two: about a quarter of the time is taken
START_S = 60.0


@contextlib.contextmanager
def stealing(step: Callable[[], None], pause: Callable[[], None]) -> Iterator[list[int]]:
    """Take a slice and pause, again and again, in a thread of its own until the block is left.

    The list holds one number: the slices taken so far.

    Raises:
        RuntimeError: a slice could not be taken.
    """
    stop = threading.Event()
    taken = [0]
    failed: list[RuntimeError] = []

    def run() -> None:
        try:
            while not stop.is_set():
                step()
                taken[0] += 1
                pause()
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


@contextlib.contextmanager
def slices(index: int) -> Iterator[list[int]]:
    """A stream beside the default one that holds every multiprocessor for a millisecond, then lets go for three.

    To what is measured meanwhile the GPU is one with a lower clock.
    """
    library = cupy()
    gpu = CupyGpu(index)
    flag = gpu.upload(np.zeros(2, dtype=np.uint32))
    spin = gpu.launcher("launch", "hold", BLOCKS_PER_SM * gpu.sms, THREADS, flag, np.int64(SPIN_CYCLES))
    spin()  # loaded now
    gpu.synchronize()
    stream = library.cuda.Stream(non_blocking=True)

    def step() -> None:
        library.cuda.Device(index).use()  # a thread begins on the first one
        with stream:
            spin()
        stream.synchronize()

    with stealing(step, lambda: time.sleep(PAUSE_S)) as taken:
        yield taken


@contextlib.contextmanager
def neighbour(index: int) -> Iterator[None]:
    """Another process that multiplies matrices on the same GPU until the block is left."""
    command = [sys.executable, "-m", "tests.gpu.thief", str(index)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            if said != "busy":
                raise RuntimeError(
                    f"the neighbour did not begin: it said {said!r} and ended with {process.wait(START_S)}"
                )
            yield
        finally:
            process.kill()


def main(argv: list[str]) -> None:
    """Be the neighbour."""
    import torch

    from kernels.conditions import die_with_parent

    die_with_parent()
    device = f"cuda:{argv[0]}"
    left, right = (torch.randn(4096, 4096, device=device) for _ in range(2))
    torch.mm(left, right)
    torch.cuda.synchronize(device)
    sys.stdout.write("busy\n")
    sys.stdout.flush()
    while True:
        for _ in range(8):
            torch.mm(left, right)
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main(sys.argv[1:])
