"""The one place that talks to cupy: compiles our kernels, holds memory, launches, marks events."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any, Protocol

from kernels.spec import UnsupportedError

Array = Any  #: of the device: cupy.ndarray; of the tests: numpy.ndarray
HOLD_S = 2.0  # after which a held stream goes on by itself
CLOCK_CEILING_HZ = 3.5e9  # above every GPU's; cycles of a hold are counted by the SM clock, which may be lower
FLAG_WORDS = 2


class Gpu(Protocol):
    """What our loads need of a device; tests have one whose kernels run on the CPU."""

    sms: int  #: streaming multiprocessors
    l2_bytes: int

    def free_bytes(self) -> int:
        """Memory that can be had now."""
        ...

    def empty(self, count: int, dtype: str) -> Array:
        """Device memory for `count` items of a numpy type; holds anything."""
        ...

    def upload(self, values: Any) -> Array:
        """A copy on the device of a numpy array."""
        ...

    def download(self, array: Array) -> Any:
        """A copy of a device's array as numpy's, once the stream has come so far."""
        ...

    def address(self, array: Array) -> int:
        """Where an array begins on the device."""
        ...

    def launcher(self, source: str, kernel: str, grid: int, block: int, *arguments: Any) -> Callable[[], None]:
        """A call that queues `kernel` of `<source>.cu`; arguments are arrays and numpy scalars of the exact types."""
        ...

    def graph(self, call: Callable[[], object], nodes: int) -> Callable[[], object]:
        """A call that replays, as one CUDA graph, what `nodes` calls queue."""
        ...

    def synchronize(self) -> None:
        """Return when the device has nothing left to do."""
        ...

    def trim(self) -> None:
        """Give memory back that no array uses."""
        ...


def source_of(name: str) -> str:
    """The text of one of our CUDA sources, read from the package."""
    return files(__package__).joinpath(f"{name}.cu").read_text(encoding="utf-8")


def cupy() -> Any:
    """The library.

    Raises:
        UnsupportedError: it is not installed, or does not load.
    """
    try:
        import cupy as library
    except ImportError as error:
        raise UnsupportedError(
            f"CUDA needs the package cupy ({str(error).strip().partition(chr(10))[0]}); "
            "pip install 'gridmark[node,cuda13]', or cuda12 for drivers before 580"
        ) from error
    return library


class CupyGpu:
    """Implements Gpu for one device of this process; all is queued on the legacy default stream, as torch's work is."""

    def __init__(self, index: int) -> None:
        self._cupy = cupy()
        self._cupy.cuda.Device(index).use()
        about = self._cupy.cuda.runtime.getDeviceProperties(index)
        self.sms = int(about["multiProcessorCount"])
        self.l2_bytes = int(about["l2CacheSize"])
        self._modules: dict[str, Any] = {}

    def free_bytes(self) -> int:
        return int(self._cupy.cuda.runtime.memGetInfo()[0])

    def empty(self, count: int, dtype: str) -> Array:
        try:
            return self._cupy.empty(count, dtype=dtype)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def upload(self, values: Any) -> Array:
        return self._cupy.asarray(values)

    def download(self, array: Array) -> Any:
        return self._cupy.asnumpy(array)

    def address(self, array: Array) -> int:
        return int(array.data.ptr)

    def launcher(self, source: str, kernel: str, grid: int, block: int, *arguments: Any) -> Callable[[], None]:
        if source not in self._modules:
            self._modules[source] = self._cupy.RawModule(code=source_of(source), backend="nvrtc")
        function = self._modules[source].get_function(kernel)
        call: Callable[[], None] = partial(function, (grid,), (block,), arguments)
        return call

    def graph(self, call: Callable[[], object], nodes: int) -> Callable[[], object]:
        stream = self._cupy.cuda.Stream(non_blocking=True)  # the default one cannot be captured
        with stream:
            stream.begin_capture()
            for _ in range(nodes):
                call()
            captured = stream.end_capture()
        return partial(captured.launch)

    def synchronize(self) -> None:
        self._cupy.cuda.runtime.deviceSynchronize()

    def trim(self) -> None:
        self._cupy.get_default_memory_pool().free_all_blocks()


def open_gpu(index: int) -> Gpu:
    """The device of that number, made current for this process."""
    return CupyGpu(index)


class CupyDriver:
    """Implements kernels.cuda.timer.Driver on the default stream of a device."""

    def __init__(self, gpu: CupyGpu) -> None:
        import numpy as np

        library = cupy()
        self._cuda, self._gpu = library.cuda, gpu
        # page-locked memory is in the device's address space at the host's own address
        self._memory = self._cuda.alloc_pinned_memory(4 * FLAG_WORDS)
        self._flag = np.frombuffer(self._memory, dtype=np.uint32, count=FLAG_WORDS)
        self._flag[:] = 0
        address, cycles = np.uint64(self._memory.ptr), np.int64(HOLD_S * CLOCK_CEILING_HZ)
        self._hold = gpu.launcher("launch", "hold", 1, 1, address, cycles)
        self.block()  # loaded now: a first launch may wait for the device
        self.release()
        gpu.synchronize()

    def now(self) -> float:
        return time.perf_counter()

    def block(self) -> None:
        self._flag[:] = 0
        self._hold()

    def release(self) -> None:
        self._flag[0] = 1

    def gave_up(self) -> bool:
        return bool(self._flag[1])

    def mark(self) -> Any:
        event = self._cuda.Event()
        event.record()
        return event

    def wait(self, event: Any) -> None:
        event.synchronize()

    def seconds(self, start: Any, end: Any) -> float:
        return float(self._cuda.get_elapsed_time(start, end)) * 1e-3

    def synchronize(self) -> None:
        self._gpu.synchronize()
