"""Many block operations in flight from one thread: Linux's native asynchronous I/O, or threads where it is missing.

Native AIO (io_submit) goes through libc's `syscall`: a batch costs one call whatever its size, so that Python is not
what a fast disk waits for, and unlike io_uring it is allowed by the usual container profiles.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import queue
import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Slots = NDArray[np.intp]

#: no single operation of a disk that works takes as long
STALL_S = 10
#: io_setup, io_destroy, io_submit, io_getevents (asm/unistd.h)
_CALLS = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4), "riscv64": (0, 1, 2, 4)}
_READ, _WRITE = 0, 1  # IOCB_CMD_PREAD, IOCB_CMD_PWRITE (linux/aio_abi.h)
#: struct iocb and struct io_event of linux/aio_abi.h, little endian
_IOCB = np.dtype(
    [
        ("data", "u8"),
        ("key", "u4"),
        ("rw_flags", "i4"),
        ("opcode", "u2"),
        ("priority", "i2"),
        ("fd", "u4"),
        ("buffer", "u8"),
        ("nbytes", "u8"),
        ("offset", "i8"),
        ("reserved", "u8"),
        ("flags", "u4"),
        ("eventfd", "u4"),
    ]
)
_EVENT = np.dtype([("data", "u8"), ("iocb", "u8"), ("result", "i8"), ("result2", "i8")])


class Queue(Protocol):
    """Slots that each hold one block and one operation at a time."""

    data: Words  #: shape (depth, words of a block); a slot's block, page-aligned; the caller's while not in flight
    engine: str  #: how it is done: "aio" or "threads"

    def submit(self, slots: Slots, offsets: NDArray[np.int64], *, write: bool) -> None:
        """Start one operation per slot, at these file offsets in bytes."""
        ...

    def wait(self) -> Slots:
        """The slots whose operation has finished, at least one.

        Raises:
            OSError: an operation failed, moved less than a block, or none finished within `STALL_S`.
        """
        ...

    def close(self) -> None:
        """Wait for what is in flight and free the buffers."""
        ...


def open_queue(descriptor: int, *, depth: int, block_bytes: int, native: bool = True) -> Queue:
    """The best queue this machine has for the file; native AIO is not asynchronous on a file without direct I/O."""
    if native:
        try:
            return NativeQueue(descriptor, depth=depth, block_bytes=block_bytes)
        except OSError as error:
            # not in this kernel, forbidden by seccomp, or no contexts left (fs.aio-max-nr)
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EAGAIN):
                raise
    return ThreadQueue(descriptor, depth=depth, block_bytes=block_bytes)


def aligned_blocks(depth: int, block_bytes: int) -> Words:
    """Page-aligned blocks, every page touched."""
    data = np.frombuffer(mmap.mmap(-1, depth * block_bytes), dtype=np.uint64).reshape(depth, block_bytes // 8)
    data[:] = 0
    return data


class NativeQueue:
    """A context of the kernel's asynchronous I/O."""

    engine = "aio"

    def __init__(self, descriptor: int, *, depth: int, block_bytes: int) -> None:
        numbers = _CALLS.get(platform.machine())
        if numbers is None or platform.system() != "Linux":
            raise OSError(errno.ENOSYS, f"no asynchronous I/O on {platform.system()} {platform.machine()}")
        self._setup, self._destroy, self._submit, self._getevents = (ctypes.c_long(n) for n in numbers)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._context = ctypes.c_ulong(0)
        self._call(self._setup, ctypes.c_uint(depth), ctypes.byref(self._context))
        self.data = aligned_blocks(depth, block_bytes)
        slots = np.arange(depth, dtype=np.uint64)
        self._iocbs = np.zeros(depth, dtype=_IOCB)
        self._iocbs["data"], self._iocbs["fd"], self._iocbs["nbytes"] = slots, descriptor, block_bytes
        self._iocbs["buffer"] = self.data.ctypes.data + slots * block_bytes
        self._addresses = self._iocbs.ctypes.data + slots * _IOCB.itemsize
        self._events = np.zeros(depth, dtype=_EVENT)
        # taking all that is done at once would leave the device idle while the next batch is prepared
        self._block_bytes, self._most = block_bytes, max(1, depth // 4)

    def submit(self, slots: Slots, offsets: NDArray[np.int64], *, write: bool) -> None:
        self._iocbs["offset"][slots] = offsets
        self._iocbs["opcode"][slots] = _WRITE if write else _READ
        pending = np.ascontiguousarray(self._addresses[slots])
        while len(pending):
            taken = self._call(
                self._submit, self._context, ctypes.c_long(len(pending)), ctypes.c_void_p(pending.ctypes.data)
            )
            pending = pending[taken:]

    def wait(self) -> Slots:
        limit = (ctypes.c_long * 2)(STALL_S, 0)  # struct timespec
        count = self._call(
            self._getevents,
            self._context,
            ctypes.c_long(1),
            ctypes.c_long(self._most),
            ctypes.c_void_p(self._events.ctypes.data),
            ctypes.byref(limit),
        )
        if count == 0:
            raise _stalled()
        events = self._events[:count]
        for result in events["result"][events["result"] != self._block_bytes].tolist():
            raise _short(result, self._block_bytes)
        return events["data"].astype(np.intp)

    def close(self) -> None:
        if self._context:
            self._call(self._destroy, self._context)  # returns when nothing is in flight any more
            self._context = ctypes.c_ulong(0)

    def _call(self, number: ctypes.c_long, *arguments: object) -> int:
        while (result := int(self._libc.syscall(number, *arguments))) < 0:
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
        return result


class ThreadQueue:
    """One thread per slot around pread and pwrite."""

    engine = "threads"

    def __init__(self, descriptor: int, *, depth: int, block_bytes: int) -> None:
        self.data = aligned_blocks(depth, block_bytes)
        self._descriptor = descriptor
        self._orders: queue.SimpleQueue[tuple[int, int, bool] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, OSError | None]] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(depth)]
        for thread in self._threads:
            thread.start()

    def submit(self, slots: Slots, offsets: NDArray[np.int64], *, write: bool) -> None:
        for slot, offset in zip(slots.tolist(), offsets.tolist(), strict=True):
            self._orders.put((slot, offset, write))

    def wait(self) -> Slots:
        try:
            finished = [self._done.get(timeout=STALL_S)]
        except queue.Empty:
            raise _stalled() from None
        while not self._done.empty():
            finished.append(self._done.get())
        for _, error in finished:
            if error:
                raise error
        return np.array([slot for slot, _ in finished], dtype=np.intp)

    def close(self) -> None:
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join(STALL_S)

    def _work(self) -> None:
        while order := self._orders.get():
            slot, offset, write = order
            block = memoryview(self.data[slot]).cast("B")
            error = None
            try:
                moved = (os.pwritev if write else os.preadv)(self._descriptor, [block], offset)
                if moved != len(block):
                    error = _short(moved, len(block))
            except OSError as raised:
                error = raised
            self._done.put((slot, error))


def _stalled() -> OSError:
    return OSError(errno.ETIMEDOUT, f"no operation finished within {STALL_S} s")


def _short(result: int, block_bytes: int) -> OSError:
    if result < 0:
        return OSError(-result, os.strerror(-result))
    return OSError(errno.EIO, f"an operation moved {result} of {block_bytes} bytes")
