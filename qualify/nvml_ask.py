"""Asks NVIDIA's library one question at a time: what "no" means, for every error it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

#: this device, driver or user cannot have an answer: the quantity is unknown, and nothing is wrong
CANNOT = frozenset(
    {
        "INVALID_ARGUMENT",  # a link, clock or counter this device has not
        "NOT_SUPPORTED",
        "NO_PERMISSION",
        "NOT_FOUND",
        "FUNCTION_NOT_FOUND",  # an older driver
        "NO_DATA",
        "VGPU_ECC_NOT_SUPPORTED",
        "FREQ_NOT_SUPPORTED",
        "ARGUMENT_VERSION_MISMATCH",
        "DEPRECATED",
        "NOT_READY",  # powered down to save energy; asked again it answers
        "RESET_TYPE_NOT_SUPPORTED",
    }
)
#: a device that should answer does not, or the library cannot go on
REFUSED = frozenset(
    {
        "UNINITIALIZED",
        "ALREADY_INITIALIZED",
        "INSUFFICIENT_SIZE",
        "INSUFFICIENT_POWER",
        "DRIVER_NOT_LOADED",
        "TIMEOUT",
        "IRQ_ISSUE",
        "LIBRARY_NOT_FOUND",
        "CORRUPTED_INFOROM",
        "GPU_IS_LOST",
        "RESET_REQUIRED",
        "OPERATING_SYSTEM",
        "LIB_RM_VERSION_MISMATCH",
        "IN_USE",
        "MEMORY",
        "INSUFFICIENT_RESOURCES",
        "GPU_NOT_FOUND",
        "INVALID_STATE",
        "UNKNOWN",
    }
)


class NvmlError(Exception):
    """The library, the driver or a device refused to answer; the message says which and what to do.

    `code` names the library's error in small letters ("gpu_is_lost"), None when it is not one of the library's.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Asker:
    """The library through a module with pynvml's interface, its devices by number."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self._handles: dict[int, Any] = {}
        self._names = {getattr(module, f"NVML_ERROR_{name}", None): name for name in CANNOT | REFUSED}

    def ask(self, call: Callable[..., T], *arguments: object) -> T | None:
        """The answer; None when this device, driver or user cannot have one; NvmlError for anything worse."""
        try:
            return call(*arguments)
        except self.module.NVMLError as error:
            name = self._names.get(error.value, "UNKNOWN")
            if name in CANNOT:
                return None
            raise NvmlError(str(error).rstrip("."), name.lower()) from error

    def handle(self, index: int) -> Any:
        """The library's own word for a device; None when this user may not touch it."""
        if index not in self._handles:
            self._handles[index] = self.ask(self.module.nvmlDeviceGetHandleByIndex, index)
        return self._handles[index]

    def of(self, index: int, name: str, *arguments: object) -> Any:
        """The answer of `nvmlDeviceGet<name>`; None as of `ask`, and when the package is too old to know it."""
        question = getattr(self.module, f"nvmlDeviceGet{name}", None)
        handle = self.handle(index)
        return None if handle is None or question is None else self.ask(question, handle, *arguments)

    def forget(self) -> None:
        """Drop every handle: they mean nothing to a library that was shut down."""
        self._handles.clear()


class Questions:
    """Questions to one device; what it refuses is None and noted, so that one broken answer leaves the others."""

    def __init__(self, asker: Asker, index: int, refusals: list[NvmlError]) -> None:
        self._asker, self._index, self._refusals = asker, index, refusals
        self.module = asker.module

    def __call__(self, name: str, *arguments: object) -> Any:
        """As `Asker.of`, without its exception."""
        try:
            return self._asker.of(self._index, name, *arguments)
        except NvmlError as error:
            self._refusals.append(error)
            return None

    def number(self, name: str, *arguments: object, scale: float = 1.0) -> float | None:
        """A quantity in SI units; None as of a call."""
        found = self(name, *arguments)
        return None if found is None else float(found) * scale
