"""The few calls of the kernel that Python 3.11 has no name for; loaded by the supervisor, so small on purpose."""

from __future__ import annotations

import ctypes
import os
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TFD_TIMER_ABSTIME = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_CLOCK_BOOTTIME = 7

#: loaded with the program: a child between fork and exec may not load anything
_libc = ctypes.CDLL(None, use_errno=True)


class _Timerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


def now_ns() -> int:
    """CLOCK_BOOTTIME: unlike CLOCK_MONOTONIC it goes on while the machine is suspended, as a lease does."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Another one after each start of the kernel: nothing that ran under the one before runs any more."""
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123 - pathlib is large
        return file.read().strip()


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process `signal_number` when its parent ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is lost sight of."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Alarm:
    """A timer on CLOCK_BOOTTIME whose descriptor becomes readable; poll's own timeout would sleep through a suspend."""

    def __init__(self) -> None:
        self.descriptor = _checked(_libc.timerfd_create(_CLOCK_BOOTTIME, _TFD_NONBLOCK | _TFD_CLOEXEC))

    def set(self, at_ns: int | None) -> None:
        """Ring at `at_ns`, at once when that is past, or never."""
        seconds, rest = (0, 0) if at_ns is None else divmod(max(1, at_ns), 1_000_000_000)
        spec = _Timerspec(0, 0, seconds, rest)
        _checked(_libc.timerfd_settime(self.descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None))
