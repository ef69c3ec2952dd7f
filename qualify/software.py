"""The versions that decide what a figure means, found without importing the packages (torch alone takes seconds)."""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform

from qualify.files import Files, pairs

#: distributions whose version may change a figure; cupy is published under one name for each CUDA
DISTRIBUTIONS = (
    "gridmark",
    "numpy",
    "numba",
    "numba-cuda",
    "llvmlite",
    "torch",
    "psutil",
    "iperf3",
    "nvidia-ml-py",
    "cupy-cuda12x",
    "cupy-cuda13x",
)
LIBIPERF = "libiperf.so.0"


def versions() -> dict[str, str | None]:
    """Name -> version, None when it is not installed; the interpreter, the C library and libiperf are among them."""
    found: dict[str, str | None] = {"python": platform.python_version(), "libc": "-".join(platform.libc_ver()) or None}
    found.update((name, installed(name)) for name in DISTRIBUTIONS)
    found["libiperf"] = libiperf_version()
    return found


def installed(distribution: str) -> str | None:
    """The version of an installed distribution; None when there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def libiperf_version(library: str = LIBIPERF) -> str | None:
    """The version of the C library behind the iperf3 package ("3.12"); None when it cannot be loaded."""
    try:
        loaded = ctypes.CDLL(library)
        loaded.iperf_get_iperf_version.restype = ctypes.c_char_p
        text = loaded.iperf_get_iperf_version()
    except (OSError, AttributeError):
        return None
    return text.decode(errors="replace").removeprefix("iperf ") if isinstance(text, bytes) else None


def system_name(files: Files) -> str | None:
    """The distribution's own name, such as "Debian GNU/Linux 12 (bookworm)"."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        name = pairs(files.lines(path), "=").get("PRETTY_NAME")
        if name:
            return name.strip("\"'")
    return None
