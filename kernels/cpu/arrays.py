"""Three arrays shared out among a crew, the STREAM loops over them, and the check of what they leave behind."""

from __future__ import annotations

from types import TracebackType

import numpy as np

from kernels.cpu import streams
from kernels.cpu.crew import Crew
from kernels.cpu.pages import HUGE_BYTES, Backing, Block
from kernels.spec import WrongResultError


class Arrays:
    """a, b and c of one size on 2 MiB pages; every worker owns the same contiguous part of each.

    a and b are set once and only read afterwards; every loop writes c.
    """

    def __init__(self, crew: Crew, least_bytes: int) -> None:
        """Allocate three arrays of at least `least_bytes` each, touched first by the workers that own the parts."""
        share = HUGE_BYTES * len(crew.cpus)  # equal parts that end where a page ends
        self.bytes_each = -(-least_bytes // share) * share
        self._crew = crew
        self._block = Block(3 * self.bytes_each, huge=True)
        count = self.bytes_each // 8
        whole = [self._block.array("f8", count, offset_bytes=place * self.bytes_each) for place in range(3)]
        part = count // len(crew.cpus)
        self._firsts = range(0, count, part)
        self._parts = [tuple(array[first : first + part] for array in whole) for first in self._firsts]
        self._verdicts = [np.zeros(2, dtype=np.int64) for _ in crew.cpus]
        crew.run(streams.fill, [(first, *part) for first, part in zip(self._firsts, self._parts, strict=True)])
        # compiled or loaded here, so that no measurement pays for it
        self.seconds("write", passes=0, streaming=False)
        self._compare("write")

    def __enter__(self) -> Arrays:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()

    def backing(self) -> Backing:
        """The pages the three arrays really got."""
        return self._block.backing()

    def work_bytes(self, operation: str) -> int:
        """Bytes one pass reads plus writes."""
        return streams.BYTES[operation] * (self.bytes_each // 8)

    def seconds(self, operation: str, *, passes: int, streaming: bool) -> float:
        """Run `passes` passes of a loop; seconds from the first worker's start to the last one's end."""
        loop = streams.OPERATIONS.index(operation)
        return self._crew.run(streams.run, [(loop, streaming, passes, *part) for part in self._parts])

    def check(self, operation: str) -> None:
        """Compare c (for a read: the sums) with the closed form, then spoil it, so that each check needs a new pass.

        Raises:
            WrongResultError: an element differs.
        """
        self._compare(operation)
        wrong = sum(int(verdict[0]) for verdict in self._verdicts)
        if wrong:
            place = next(int(verdict[1]) for verdict in self._verdicts if verdict[0])
            raise WrongResultError(
                f"{operation} left {wrong} of {self.bytes_each // 8} elements wrong, the first at index {place}; "
                "this memory or CPU corrupts data: test it (memtest86+, rasdaemon) before renting it out"
            )

    def _compare(self, operation: str) -> None:
        loop = streams.OPERATIONS.index(operation)
        parts = zip(self._firsts, self._parts, self._verdicts, strict=True)
        self._crew.run(streams.check, [(loop, first, part[0], verdict) for first, part, verdict in parts])
