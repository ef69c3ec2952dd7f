"""Whether the node's clock can be believed: what the kernel knows of its discipline."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass

from qualify.files import Files
from qualify.records import ClockState

STA_UNSYNC = 0x0040  # Linux, include/uapi/linux/timex.h
TIME_ERROR = 5  # the state adjtimex returns when the clock is not disciplined


class Timex(ctypes.Structure):
    """struct timex of adjtimex(2); asked with modes = 0, it changes nothing and needs no privilege."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # µs
        ("esterror", ctypes.c_long),  # µs
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


@dataclass(frozen=True, slots=True)
class Discipline:
    """What adjtimex(2) answered."""

    state: int
    status: int
    max_error_us: int


Ask = Callable[[], Discipline]  #: raises OSError when the kernel or a sandbox refuses


def ask_kernel() -> Discipline:
    """The state of the kernel's clock.

    Raises:
        OSError: the call was refused, or the C library has none.
    """
    answer = Timex(modes=0)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer))
    except AttributeError as error:
        raise OSError("the C library has no adjtimex") from error
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return Discipline(state=state, status=answer.status, max_error_us=answer.maxerror)


def clock_state(files: Files, *, ask: Ask, unixtime_s: float) -> ClockState:
    """The clock's state; whether it is synchronised stays None when the kernel does not say."""
    source = files.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    try:
        answer = ask()
    except OSError:
        return ClockState(source=source, unixtime_s=unixtime_s)
    return ClockState(
        synchronized=answer.state != TIME_ERROR and not answer.status & STA_UNSYNC,
        source=source,
        max_error_s=answer.max_error_us / 1e6,
        unixtime_s=unixtime_s,
    )
