"""Chains on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.chain import derive, merkle
from kernels.chain.derive import Order, States
from kernels.chain.engine import DeviceEngine, Engine, Opening
from kernels.chain.params import Params
from kernels.chain.products import PLAIN_OPS, Mixer
from kernels.chain.record import CHECKPOINTS, Record
from kernels.chain.rounds import Compute, Memory
from kernels.cpu import topology

STATES_BYTES = 1 << 28  #: of the states that are kept


def open_cpu(*, threads: int | None = None) -> Engine:
    """The engine of the CPU, by so many threads; None = all that this process may run on."""
    return DeviceEngine(_Cpu(threads or topology.read().useful_threads))


class _Cpu:
    """Implements kernels.chain.engine.Device."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._mixer: Mixer | None = None

    def enter(self) -> None:
        """Every thread can use it."""

    def begin(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> _Run:
        kept = max(2, min(CHECKPOINTS, STATES_BYTES // (params.units * params.state_bytes)))
        record = Record[States](params, seed=seed, challenge=challenge, device=device, checkpoints=kept)
        plain = params.ops_per_segment < PLAIN_OPS * params.rounds
        self._mixer = Mixer(self._threads, bf16=params.arithmetic == "bf16", plain=plain)
        return _Run(record, seed, self._mixer)

    def free(self) -> None:
        """Send the threads home."""
        if self._mixer:
            self._mixer.close()


class _Run:
    """Implements kernels.chain.engine.Run, and kernels.chain.record.Replayer."""

    def __init__(self, record: Record[States], seed: bytes, mixer: Mixer) -> None:
        params = record.params
        self._record = record
        self._params, self._seed = params, seed
        self._steps = (Compute if params.kind == "compute" else Memory)(params, seed, mixer)
        self._states = derive.first_states(params, seed, range(params.units))
        self._messages = np.zeros((params.units, params.commits, 64 + params.state_bytes), dtype=np.uint8)
        self._messages[:, :, :32] = np.frombuffer(record.leaf_context, dtype=np.uint8)
        self._messages[:, :, 40:44] = _little(np.arange(params.units))[:, np.newaxis]
        self._messages[:, :, 44:48] = _little(np.arange(params.commits))

    @property
    def segments(self) -> int:
        return self._record.segments

    def advance(self, salt: bytes) -> bytes:
        params, record = self._params, self._record
        order = record.begin(salt)
        if record.wants_state:
            record.keep(self._states)
        for commit in range(params.commits):
            first = commit * params.commit_every
            self._states = self.run(self._states, range(params.units), order, range(first, first + params.commit_every))
            self._messages[:, commit, 64:] = self._raw(self._states)
        self._messages[:, :, 32:40] = np.frombuffer(record.segments.to_bytes(8, "little"), dtype=np.uint8)
        tree = merkle.tree(merkle.leaves(self._messages.reshape(params.leaves, -1)), record.node_context)
        return record.end(tree[record.kept_level], merkle.root(tree))

    def open(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return self._record.open(asked, self)

    def part(self, kept: States | None, units: range) -> States:
        if kept is None:
            return derive.first_states(self._params, self._seed, units)
        return np.asarray(kept[units.start : units.stop])

    def run(self, part: States, units: range, order: Order, rounds: range) -> States:
        return self._steps.run(part, units, order, rounds)

    def raw(self, part: States) -> list[bytes]:
        return [bytes(line) for line in self._raw(part)]

    def _raw(self, states: States) -> NDArray[np.uint8]:
        stored = np.dtype("<i2" if self._params.arithmetic == "bf16" else "i1")
        return np.ascontiguousarray(states, dtype=stored).reshape(len(states), -1).view(np.uint8)


def _little(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """Each as four bytes."""
    return numbers.astype("<u4").view(np.uint8).reshape(-1, 4)
