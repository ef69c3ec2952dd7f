"""What runs a chain on a device, and how one is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernels.chain.params import Params
from kernels.spec import DeviceKind


@dataclass(frozen=True, slots=True)
class Opening:
    """One commitment laid open: the state before its rounds and the one after, each with the path to its root."""

    segment: int
    unit: int
    commit: int
    start: bytes  #: the state its rounds began with; empty where that is the seed's first state
    start_path: bytes  #: to the root of the segment that `start` is a leaf of; empty where there is none
    end: bytes
    end_path: bytes


class Engine(Protocol):
    """A device that runs chains, one at a time."""

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        """Make all that a run needs before its time begins: tiles, first states, a warm device.

        Raises:
            ValueError: the sizes are unsound.
            UnsupportedError: this device cannot hold or compute them exactly.
        """
        ...

    def advance(self, salt: bytes) -> bytes:
        """Run the next segment; its root, when all of it is done."""
        ...

    @property
    def segments(self) -> int:
        """That were run."""
        ...

    def open(self, segment: int, unit: int, commit: int) -> Opening:
        """A commitment of this run laid open, derived anew from the nearest state that was kept.

        Raises:
            ValueError: there is none such.
        """
        ...

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        """The same for many (segment, unit, commit), in their order."""
        ...

    def close(self) -> None:
        """Give back what the run held."""
        ...


class Run(Protocol):
    """One chain on a device, from its first segment on."""

    @property
    def segments(self) -> int:
        """That have ended."""
        ...

    def advance(self, salt: bytes) -> bytes:
        """Run the next segment; its root."""
        ...

    def open(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        """Lay these (segment, unit, commit) open."""
        ...


class Device(Protocol):
    """Where chains run; one at a time."""

    def enter(self) -> None:
        """Make it the one that this thread drives; before every use of it."""
        ...

    def begin(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> Run:
        """All that a run needs, made and warm; raises as `Engine.prepare` does."""
        ...

    def free(self) -> None:
        """Give back what the run held that began last; nobody refers to it any more."""
        ...


class DeviceEngine:
    """Implements Engine on any device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._run: Run | None = None

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        self.close()
        self._device.enter()
        params.check()
        self._run = self._device.begin(params, seed=seed, challenge=challenge, device=device)

    def advance(self, salt: bytes) -> bytes:
        return self._entered().advance(salt)

    @property
    def segments(self) -> int:
        return self._run.segments if self._run else 0

    def open(self, segment: int, unit: int, commit: int) -> Opening:
        return self.open_many([(segment, unit, commit)])[0]

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return self._entered().open(asked)

    def close(self) -> None:
        if self._run:
            self._run = None
            self._device.free()

    def _entered(self) -> Run:
        if self._run is None:
            raise ValueError("the engine was not prepared")
        self._device.enter()
        return self._run


def open_engine(kind: DeviceKind, index: int = 0, *, threads: int | None = None) -> Engine:
    """The engine for a device.

    Args:
        index: of the GPU, as CUDA numbers them; a CPU is 0.
        threads: that a CPU may use; None = all that this process may run on.

    Raises:
        UnsupportedError: there is no such device here, or what drives it is not installed.
    """
    if kind == "cuda":
        from kernels.chain.cuda import open_cuda

        return open_cuda(index)
    from kernels.chain.cpu import open_cpu

    return open_cpu(threads=threads)
