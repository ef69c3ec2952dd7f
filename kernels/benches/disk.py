"""The disk behind the work folder: sequential, random and synchronous, with direct I/O where the file system has it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.spec import Bench, Observation, Observed, Profile, Setting, Step, UnsupportedError

if TYPE_CHECKING:
    from kernels.blockio import Stream
    from kernels.scratch import Numbers, Scratch

MIB = 1 << 20
SIZE_BYTES: dict[Profile, int] = {"quick": 512 * MIB, "standard": 4096 * MIB, "deep": 16384 * MIB}
#: a supplier's disk is not ours to fill
FREE_PART = 0.1
#: on less, a device's own cache is all that is measured
LEAST_BYTES = 16 * MIB
#: 128 is fio's usual 32 in flight by 4 jobs
SEQUENTIAL_DEPTH, RANDOM_DEPTH = 8, 128
#: of a writing step's time, to read back what was written
VERIFY_PART = 0.15
#: of the time of a step that needs a written file and finds none
LAYOUT_PART = 0.4
#: the kernel takes this long to close a queue or two
CLOSE_S = 0.05
KEYS = ("disk.read", "disk.write", "disk.rand_read", "disk.rand_write", "disk.sync_p99")


def size_bytes(profile: Profile, free_bytes: int) -> int:
    """How large the scratch file will be: what the profile asks for, at most a tenth of the free space.

    Raises:
        UnsupportedError: that is too little to measure on.
    """
    size = min(SIZE_BYTES[profile], int(free_bytes * FREE_PART)) // MIB * MIB
    if size < LEAST_BYTES:
        wanted = round(LEAST_BYTES / FREE_PART) // MIB
        raise UnsupportedError(f"wanted {wanted} MiB free in the work folder, found {free_bytes // MIB} MiB; make room")
    return size


def on_cpu(setting: Setting) -> Iterator[Step]:
    """One step per figure, all on one scratch file; the sequential write comes first, it lays the file out."""
    from kernels.scratch import Scratch, filesystem_of

    scratch = Scratch(
        setting.workdir,
        size_bytes=size_bytes(setting.profile, _free_bytes(setting.workdir)),
        seed=setting.seed,
        filesystem=filesystem_of(setting.workdir, Path("/proc/self/mountinfo").read_text(errors="replace")),
    )
    target = Target(scratch, setting.seed)
    steps: dict[str, Callable[[float], Observation]] = {
        "disk.write": target.write,
        "disk.read": target.read,
        "disk.rand_read": target.rand_read,
        "disk.rand_write": target.rand_write,
        "disk.sync_p99": target.sync_write,
    }
    try:
        for key, step in steps.items():
            if setting.wants(key):
                yield Observed(keys=(key,), observe=partial(_observe, step))
    finally:
        scratch.close()


def _observe(step: Callable[[float], Observation], seconds: float) -> tuple[Observation]:
    return (step(time.perf_counter() + seconds - CLOSE_S),)


def _free_bytes(folder: Path) -> int:
    try:
        space = os.statvfs(folder)
    except OSError as error:
        raise UnsupportedError(f"wanted a work folder at {folder}, found: {error.strerror}; name another") from error
    return space.f_bavail * space.f_frsize


class Target:
    """The scratch file and what is measured on it; every method takes the moment of perf_counter it must end by."""

    def __init__(self, scratch: Scratch, seed: int) -> None:
        import numpy as np

        self._scratch = scratch
        self._random = np.random.default_rng(seed + 1)

    def write(self, until: float) -> Observation:
        """Bytes per second of 1 MiB writes in the order of the file, the first pass over new space."""
        found = self._lay_out(until, 1 - VERIFY_PART)
        checked = self._verify(self._written(), until)
        return self._figure("disk.write", found, MIB, SEQUENTIAL_DEPTH, {"pages_verified": checked})

    def read(self, until: float) -> Observation:
        """Bytes per second of 1 MiB reads in the order of the file."""
        import numpy as np

        from kernels.scratch import BLOCK_PAGES

        self._need_file(until)
        blocks = np.arange(0, self._scratch.written, BLOCK_PAGES, dtype=np.int64)
        found = self._stream(blocks, MIB, SEQUENTIAL_DEPTH, _left(until), write=False)
        return self._figure("disk.read", found, MIB, SEQUENTIAL_DEPTH, {})

    def rand_read(self, until: float) -> Observation:
        """Reads per second of single pages all over the file, none again before each has had its turn."""
        self._need_file(until)
        found = self._stream(self._written(), 4096, RANDOM_DEPTH, _left(until), write=False)
        return self._figure("disk.rand_read", found, 4096, RANDOM_DEPTH, {})

    def rand_write(self, until: float) -> Observation:
        """Writes per second of single pages all over the file, none again before each has had its turn."""
        self._need_file(until)
        order = self._written()
        found = self._stream(order, 4096, RANDOM_DEPTH, _left(until) * (1 - VERIFY_PART), write=True)
        checked = self._verify(order, until)
        return self._figure("disk.rand_write", found, 4096, RANDOM_DEPTH, {"pages_verified": checked})

    def sync_write(self, until: float) -> Observation:
        """The 99th percentile of one 4 KiB write followed by fdatasync: what a database waits for at each commit."""
        from kernels.blockio import sync_writes

        self._need_file(until)
        lasted, pages = sync_writes(self._scratch, seconds=_left(until) * (1 - VERIFY_PART))
        context = self._context(4096, 1, "pwrite + fdatasync") | {"pages_verified": self._verify(pages, until)}
        return Observation(key="disk.sync_p99", unit="s", samples=lasted, statistic="p99", context=context)

    def _need_file(self, until: float) -> None:
        if not self._scratch.written:
            self._lay_out(until, LAYOUT_PART)

    def _lay_out(self, until: float, part: float) -> Stream:
        import numpy as np

        from kernels.scratch import BLOCK_PAGES

        blocks = np.arange(0, self._scratch.pages, BLOCK_PAGES, dtype=np.int64)
        return self._stream(blocks, MIB, SEQUENTIAL_DEPTH, _left(until) * part, write=True)

    def _stream(self, order: Numbers, block_bytes: int, depth: int, seconds: float, *, write: bool) -> Stream:
        from kernels.blockio import stream

        return stream(self._scratch, order, block_bytes=block_bytes, depth=depth, seconds=seconds, write=write)

    def _verify(self, pages: Numbers, until: float) -> int:
        from kernels.blockio import verify

        return verify(self._scratch, pages, until=until)

    def _written(self) -> Numbers:
        """The pages written so far, shuffled."""
        return self._random.permutation(self._scratch.written)

    def _figure(self, key: str, found: Stream, block_bytes: int, depth: int, more: Mapping[str, object]) -> Observation:
        sequential = block_bytes == MIB
        return Observation(
            key=key,
            unit="B/s" if sequential else "IO/s",
            samples=tuple(rate * (block_bytes if sequential else 1) for rate in found.rates()),
            context={**self._context(block_bytes, depth, found.engine), **more},
        )

    def _context(self, block_bytes: int, depth: int, engine: str) -> dict[str, object]:
        scratch = self._scratch
        context: dict[str, object] = {
            "filesystem": scratch.filesystem.kind,
            "source": scratch.filesystem.source,
            "direct": scratch.direct,
            "cached": not scratch.direct,
            "engine": engine,
            "block_bytes": block_bytes,
            "depth": depth,
            "file_bytes": scratch.written * 4096,
        }
        if not scratch.direct:
            context["note"] = "no direct I/O on this file system: memory was measured, not a disk"
        return context


def _left(until: float) -> float:
    return max(0.05, until - time.perf_counter())


BENCH = Bench(
    name="disk",
    version=1,
    title="Disk",
    keys={"cpu": KEYS},
    open={"cpu": on_cpu},
    needs=("numpy",),
    seconds={"quick": 5.0, "standard": 30.0, "deep": 120.0},
    startup_s=0.5,
)
