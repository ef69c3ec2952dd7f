"""A chain that keeps all its states, so that whoever builds on it may spoil any part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.chain import derive, merkle
from kernels.chain.arithmetic import quantise, replay, row_keys
from kernels.chain.derive import Order, States
from kernels.chain.engine import Opening
from kernels.chain.params import Params
from kernels.chain.tiles import Tiles


class Rogue:
    """Implements kernels.chain.engine.Engine; honest until a subclass says otherwise."""

    params: Params
    seed: bytes
    challenge: bytes
    device: int
    tiles: Tiles
    states: States

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        self.params, self.seed, self.challenge, self.device = params, seed, challenge, device
        self.tiles = Tiles(params, seed)
        self.tiles.prepare(range(params.tiles))
        self.states = derive.first_states(params, seed, range(params.units))
        self.roots = [derive.start_root(challenge, device, seed)]
        self.kept: list[list[States]] = []  #: by segment and commitment, all units
        self.trees: list[merkle.Tree] = []

    @property
    def segments(self) -> int:
        return len(self.kept)

    def advance(self, salt: bytes) -> bytes:
        params = self.params
        order = derive.order(params, self.challenge, self.device, self.segments, self.roots[-1], self.salt(salt))
        every, committed = params.commit_every, []
        for commit in range(params.commits):
            self.states = self.work(self.states, order, range(commit * every, (commit + 1) * every))
            committed.append(self.states)
        self.trees.append(merkle.tree(self.leaves(committed), derive.node_context(self.challenge, self.device)))
        self.kept.append(committed)
        self.roots.append(merkle.root(self.trees[-1]))
        return self.roots[-1]

    def salt(self, salt: bytes) -> bytes:
        """The salt that the order is drawn from."""
        return salt

    def work(self, states: States, order: Order, rounds: range) -> States:
        """The states after these rounds."""
        return replay(self.params, states, order, rounds, self.tiles)

    def mixed(self, sums: NDArray[Any], order: Order, number: int) -> States:
        """The states that a round ends with, from all units' sums, shape (units, n)."""
        keys = row_keys(self.params, int(order.keys[number]), range(self.params.units))
        return quantise(sums[:, np.newaxis], keys, self.params.arithmetic)

    def leaves(self, committed: Sequence[States]) -> bytes:
        """The digests of a segment's states, in the order of the tree."""
        context, segment = derive.leaf_context(self.challenge, self.device), self.segments
        return b"".join(
            derive.leaf(context, segment, unit, commit, derive.to_bytes(committed[commit][unit]))
            for unit in range(self.params.units)
            for commit in range(self.params.commits)
        )

    def open(self, segment: int, unit: int, commit: int) -> Opening:
        start = start_path = b""
        if commit:
            start, start_path = self.leaf(segment, unit, commit - 1)
        elif segment:
            start, start_path = self.leaf(segment - 1, unit, self.params.commits - 1)
        return Opening(segment, unit, commit, start, start_path, *self.leaf(segment, unit, commit))

    def leaf(self, segment: int, unit: int, commit: int) -> tuple[bytes, bytes]:
        """A state and the path from its leaf."""
        index = unit * self.params.commits + commit
        return derive.to_bytes(self.kept[segment][commit][unit]), merkle.path(self.trees[segment], index)

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        return [self.open(*place) for place in asked]

    def close(self) -> None:
        pass
