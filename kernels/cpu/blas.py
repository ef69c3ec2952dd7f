"""The threads of numpy's own BLAS: how many, and how long they spin; numpy has no call for it, OpenBLAS has."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import MutableMapping
from pathlib import Path

# as scipy's builds (64-bit integers, then 32-bit), and distributions' own OpenBLAS, spell it
SYMBOLS = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


# seconds a worker of OpenBLAS keeps spinning after its last work: 2^28 ticks of a 2 to 4 GHz clock, 2^14 when asked
SPINS_S, SPINS_SHORT_S = 0.14, 0.01
SPINS_SHORT = "14"


def shorten_spins(environment: MutableMapping[str, str]) -> float:
    """Have numpy's idle workers sleep at once, if numpy is not loaded yet; seconds after which they sleep."""
    if "numpy" in sys.modules:
        return SPINS_S
    environment["OPENBLAS_THREAD_TIMEOUT"] = SPINS_SHORT
    return SPINS_SHORT_S


def set_numpy_threads(threads: int) -> int | None:
    """Make numpy's OpenBLAS use `threads` threads; how many it uses then, None where numpy has another BLAS."""
    library = _openblas(Path("/proc/self/maps"))
    if library is None:
        return None
    for symbol in SYMBOLS:
        try:
            write, read = library[symbol.format("set")], library[symbol.format("get")]
        except AttributeError:
            continue
        write.argtypes, write.restype = [ctypes.c_int], None
        read.argtypes, read.restype = [], ctypes.c_int
        write(threads)
        return int(read())
    return None


def _openblas(maps: Path) -> ctypes.CDLL | None:
    """The OpenBLAS already loaded into this process."""
    try:
        lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        path = line.partition("/")
        if "openblas" in path[2].rpartition("/")[2]:
            try:
                return ctypes.CDLL("/" + path[2])
            except OSError:
                return None
    return None
