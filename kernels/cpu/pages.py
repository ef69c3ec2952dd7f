"""Memory on pages of a chosen size: 2 MiB pages where the kernel gives them, or 4 KiB pages on purpose."""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

HUGE_BYTES = 2 << 20  # of x86-64, and of arm64 with a 4 KiB base page
MOSTLY = 0.95  # from this part on huge pages a block counts as huge


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """What really backs a block; None = the kernel does not tell."""

    page_bytes: int | None  #: of most of it
    huge_ratio: float | None  #: part on huge pages, 0..1


class Block:
    """Anonymous memory that starts on a 2 MiB boundary; its physical pages go back at `close`, whoever holds a view.

    Touch it first from the threads that will use it: until then it has no pages at all.
    """

    def __init__(self, size_bytes: int, *, huge: bool) -> None:
        """Reserve at least `size_bytes`; raises MemoryError where the address space or a limit says no."""
        self.size_bytes = -(-size_bytes // HUGE_BYTES) * HUGE_BYTES
        # slack on both sides keeps advice of its own, so the kernel cannot merge this area with a neighbour
        # and what smaps says of it is said of it alone
        try:
            self._map = mmap.mmap(-1, self.size_bytes + 2 * HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise MemoryError(f"no room for {size_bytes >> 20} MiB: {error}") from error
        self._whole = np.frombuffer(self._map, dtype=np.uint8)
        start = self._whole.ctypes.data
        self._offset = -(-(start + mmap.PAGESIZE) // HUGE_BYTES) * HUGE_BYTES - start
        self.address = start + self._offset
        # a kernel built without transparent huge pages refuses; `backing` tells what came of it
        with contextlib.suppress(OSError):
            self._map.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE, self._offset, self.size_bytes)

    def __enter__(self) -> Block:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def array(self, dtype: str, count: int, *, offset_bytes: int = 0) -> np.ndarray[Any, Any]:
        """A view of `count` elements, shape (count,), from `offset_bytes` on."""
        if offset_bytes + count * np.dtype(dtype).itemsize > self.size_bytes:
            raise ValueError(f"{count} x {dtype} from byte {offset_bytes} on pass the block's {self.size_bytes} bytes")
        return np.frombuffer(self._map, dtype=dtype, count=count, offset=self._offset + offset_bytes)

    def backing(self, *, root: Path = Path("/")) -> Backing:
        """What backs the block now; ask after the first touch."""
        huge = _huge_bytes(root / "proc/self/smaps", self.address)
        if huge is None:
            return Backing(page_bytes=None, huge_ratio=None)
        ratio = min(1.0, huge / self.size_bytes)
        return Backing(page_bytes=HUGE_BYTES if ratio >= MOSTLY else os.sysconf("SC_PAGE_SIZE"), huge_ratio=ratio)

    def close(self) -> None:
        """Give the physical pages back now; the views then read zeros, and the addresses go with the last of them."""
        self._map.madvise(mmap.MADV_DONTNEED, self._offset, self.size_bytes)


def _huge_bytes(smaps: Path, address: int) -> int | None:
    """AnonHugePages of the area that starts at `address`."""
    begins = f"{address:08x}-"
    inside = False
    try:
        with smaps.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                if inside and line.startswith("AnonHugePages:"):
                    return int(line.split()[1]) << 10
                if line.startswith(begins):
                    inside = True
    except (OSError, ValueError, IndexError):
        return None
    return None
