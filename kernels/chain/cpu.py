"""Chains on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels.chain import arithmetic, derive, merkle
from kernels.chain.derive import Order, States
from kernels.chain.engine import Opening
from kernels.chain.params import Params
from kernels.chain.record import Record
from kernels.chain.tiles import Tiles


class CpuEngine:
    """Implements kernels.chain.engine.Engine."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = threads
        self._run: _Run | None = None

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        self._run = None
        self._run = _Run(Record(params, seed=seed, challenge=challenge, device=device), seed)

    def advance(self, salt: bytes) -> bytes:
        return self._prepared().advance(salt)

    @property
    def segments(self) -> int:
        return self._run.record.segments if self._run else 0

    def open(self, segment: int, unit: int, commit: int) -> Opening:
        return self.open_many([(segment, unit, commit)])[0]

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        run = self._prepared()
        return run.record.open(asked, run)

    def close(self) -> None:
        self._run = None

    def _prepared(self) -> _Run:
        if self._run is None:
            raise ValueError("the engine was not prepared")
        return self._run


class _Run:
    """One chain; implements kernels.chain.record.Replayer."""

    def __init__(self, record: Record[States], seed: bytes) -> None:
        self.record = record
        self._params, self._seed = record.params, seed
        self._tiles = Tiles(record.params, seed, kept_bytes=record.params.pool_bytes)
        self._tiles.prepare(range(record.params.tiles))
        self._states = derive.first_states(record.params, seed, range(record.params.units))

    def advance(self, salt: bytes) -> bytes:
        params, record = self._params, self.record
        order = record.begin(salt)
        if record.wants_state:
            record.keep(self._states)
        committed = []
        for commit in range(params.commits):
            first = commit * params.commit_every
            self._states = self.run(self._states, order, range(first, first + params.commit_every))
            committed.append(self.raw(self._states))
        leaves = b"".join(
            derive.leaf(record.leaf_context, record.segments, unit, commit, committed[commit][unit])
            for unit in range(params.units)
            for commit in range(params.commits)
        )
        tree = merkle.tree(leaves, record.node_context)
        return record.end(tree[record.kept_level], merkle.root(tree))

    def part(self, kept: States | None, units: range) -> States:
        if kept is None:
            return derive.first_states(self._params, self._seed, units)
        return np.asarray(kept[units.start : units.stop])

    def run(self, part: States, order: Order, rounds: range) -> States:
        return arithmetic.replay(self._params, part, order, rounds, self._tiles)

    def raw(self, part: States) -> list[bytes]:
        return [derive.to_bytes(state) for state in part]
