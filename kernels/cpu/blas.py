"""The number of threads numpy's own BLAS uses: numpy has no call for it, the library has."""

from __future__ import annotations

import ctypes
from pathlib import Path

# as scipy's builds (64-bit integers, then 32-bit), and distributions' own OpenBLAS, spell it
SYMBOLS = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


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
