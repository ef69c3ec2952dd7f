"""Answers without the work: structure in matrices, products of products, work made up when it is asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.chain import derive, merkle
from kernels.chain.arithmetic import compute_tile, product, replay
from kernels.chain.derive import Order, States
from kernels.chain.engine import Opening
from kernels.chain.params import Params
from tests.redteam.attack import Attack, ends
from tests.redteam.attackers.low_precision import Rounds
from tests.redteam.attackers.skipped_work import ONE_CHAIN, quicker
from tests.redteam.bout import Bout
from tests.redteam.hardware import CPU, H100
from tests.redteam.rogue import Rogue


def by_hankel(x: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    """As if w[i, j] depended on i + j alone: its antidiagonals' means, all that O(n) numbers can say of it."""
    n = len(w)
    place = np.add.outer(np.arange(n), np.arange(n))
    sums = np.bincount(place.ravel(), weights=w.ravel().astype(float))
    mean = sums / np.bincount(place.ravel())
    return np.rint(x.astype(float) @ mean[place])


@cache
def _few(tile: bytes, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two thin factors of a tile: the eighth of its singular vectors that weigh most."""
    u, s, v = np.linalg.svd(np.frombuffer(tile, np.int8).reshape(n, n).astype(float))
    return u[:, : n // 8] * s[: n // 8], v[: n // 8]


def by_low_rank(x: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    """Through two thin factors, a quarter of the work."""
    left, right = _few(w.tobytes(), len(w))
    return np.asarray(np.rint(x.astype(float) @ left @ right))


class Associates(Rogue):
    """Multiplies once by the product of a segment's tiles: one round instead of many."""

    def work(self, states: States, order: Order, rounds: range) -> States:
        whole = np.eye(self.params.n)
        for number in rounds:
            whole = np.mod(whole @ self.tiles(compute_tile(self.params, order, number)).astype(float), 1 << 16)
        return self.mixed(np.rint(states[:, 0] @ whole % (1 << 30)), order, rounds[-1])


class AnswersAfterwards(Rogue):
    """Commits to noise, and works out what follows from it when it knows which rows are asked for."""

    draw = random.Random(3)

    def advance(self, salt: bytes) -> bytes:
        params = self.params
        self.orders = [*getattr(self, "orders", []), derive.order(*self._order(salt))]
        noise = np.frombuffer(self.draw.randbytes(params.units * params.n), np.int8).reshape(self.states.shape)
        self.trees.append(merkle.tree(self.leaves([noise]), derive.node_context(self.challenge, self.device)))
        self.kept.append([noise])
        self.roots.append(merkle.root(self.trees[-1]))
        return self.roots[-1]

    def _order(self, salt: bytes) -> tuple[Params, bytes, int, int, bytes, bytes]:
        return self.params, self.challenge, self.device, self.segments, self.roots[-1], salt

    def open_many(self, asked: Sequence[tuple[int, int, int]]) -> list[Opening]:
        opened = []
        for segment, unit, commit in asked:
            one = self.open(segment, unit, commit)
            state = self.kept[segment - 1][0][unit] if segment else self.states[unit]
            end = replay(
                self.params,
                state[np.newaxis],
                self.orders[segment],
                range(self.params.rounds),
                self.tiles,
                units=[unit],
            )
            opened.append(Opening(segment, unit, commit, one.start, one.start_path, end.tobytes(), one.end_path))
        return opened


class HashesPart(Rogue):
    """Works out that part of the last round that is looked at first, and leaves the rest of each row empty."""

    def work(self, states: States, order: Order, rounds: range) -> States:
        states = replay(self.params, states, order, rounds[:-1], self.tiles)
        tile = self.tiles(compute_tile(self.params, order, rounds[-1])).copy()
        after = self.mixed(product(states[:, 0], tile), order, rounds[-1])
        after[:, :, self.params.n // 2 :] = 0
        return after


class OneSalt(Rogue):
    """Draws all orders from the first salt, so that nothing after it need be waited for."""

    first = b""

    def salt(self, salt: bytes) -> bytes:
        self.first = self.first or salt
        return self.first


class RunsAhead(Rogue):
    """Begins before it has the salt, with one that it guesses."""

    def salt(self, salt: bytes) -> bytes:
        return bytes(32)


def _run(bout: Bout, engine: Any, part: float = 0.9) -> str:
    bout.line.claim(ONE_CHAIN, 1)
    return bout.check(quicker(part), engine)


def _attack(name: str, against: str, does: str, engine: Any, why: str = "do not lead", **more: Any) -> Attack:
    return Attack(
        name=name,
        against=against,
        does=does,
        run=lambda bout: _run(bout, engine),
        ends=ends("cheat_proven"),
        why=why,
        **{"truth": H100.proves(), **more},
    )


ATTACKS = (
    _attack(
        "hankel-matrix",
        "SN27, whose entry (i, j) follows from seed + i + j: all products from an O(n^2) recurrence",
        "takes every tile for a Hankel matrix",
        lambda: Rounds(by_hankel),
    ),
    _attack(
        "low-rank",
        "matrices with few singular values that matter",
        "multiplies by a low rank",
        lambda: Rounds(by_low_rank),
    ),
    _attack(
        "product-of-products",
        "chains without anything nonlinear between their products",
        "multiplies once by the product of all of a segment's tiles",
        Associates,
    ),
    _attack(
        "answer-without-product",
        "Prime Intellect's Freivalds check: A(B r) is quickly found without C, and C r was bound to no commitment",
        "commits to noise and computes the rows that are asked for",
        AnswersAfterwards,
        why="not what was committed to",
        truth=CPU.proves(),
    ),
    _attack(
        "partial-hash",
        "gittensor, which hashed the first 64 KiB of each matrix: the same digest at 0.71 of the work",
        "leaves out half of the columns in the last round of a segment",
        HashesPart,
    ),
    _attack("one-salt-for-all", "proofs without salts", "draws every order from the first salt", OneSalt),
    _attack(
        "runs-ahead",
        "seeds that can be guessed: SN27's 32 bits, lium's time()",
        "guesses the salt and begins early",
        RunsAhead,
    ),
)
