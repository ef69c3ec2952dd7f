"""Pointer chase over one random cycle: every load waits for the one before, so its time is a latency."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from kernels.cpu.native import compiled, load_word
from kernels.cpu.pages import Backing, Block
from kernels.spec import WrongResultError

Order = np.ndarray[Any, np.dtype[np.uint32]]
Words = np.ndarray[Any, np.dtype[np.int64]]

UNROLL = 16  # loads per turn of the loop, so that counting is hidden behind the first of them
WORD_BYTES = 8
WALKERS = 1024  # enough to keep every load the core can have in flight busy


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """A permutation of 0..n-1 that is one single cycle: node i is followed by node order[i]."""

    order: Order  #: shape (n,)
    ranks: np.ndarray[Any, np.dtype[np.int64]]  #: of the nodes 0..len(ranks)-1: hops from node 0

    def rank(self, node: int) -> int:
        """Hops from node 0 to `node`; follows the cycle to the next node whose rank is known."""
        at, hops = until_below(self.order, node, len(self.ranks))
        return int(self.ranks[at] - hops) % len(self.order)


class Chase:
    """A cycle of nodes, one per cache line, in an order no prefetcher can guess; walks go on where the last ended."""

    def __init__(self, cycle: Cycle, *, node_bytes: int, huge: bool) -> None:
        """Lay the cycle out in memory, one node in `node_bytes`, on pages of the wanted size."""
        self.bytes = len(cycle.order) * node_bytes
        self._cycle = cycle
        self._node_bytes = node_bytes
        self._block = Block(self.bytes, huge=huge)
        words = self._block.array("i8", self.bytes // WORD_BYTES)
        lay(words, cycle.order, node_bytes // WORD_BYTES, self._block.address)
        self._at = self._block.address
        self._hops = 0  # since node 0
        self.walk(0)  # compiled or loaded here, so that no measurement pays for it

    def __enter__(self) -> Chase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()

    def backing(self) -> Backing:
        """The pages the nodes really got."""
        return self._block.backing()

    def walk(self, hops: int) -> None:
        """Go on for `hops` hops, a multiple of UNROLL."""
        self._at = walk(self._at, hops)
        self._hops += hops

    def check(self) -> None:
        """Compare where the walk stands with where that many hops lead.

        Raises:
            WrongResultError: it stands elsewhere, so a load returned something that was never stored.
        """
        node, rest = divmod(self._at - self._block.address, self._node_bytes)
        nodes = len(self._cycle.order)
        found = self._cycle.rank(node) if 0 <= node < nodes and rest == 0 else None
        if found != self._hops % nodes:
            raise WrongResultError(
                f"after {self._hops} hops the chase of {nodes} nodes stands {found} hops from its start, expected "
                f"{self._hops % nodes}; this memory or CPU corrupts data: test it (memtest86+, rasdaemon) before "
                "renting it out"
            )


def cycle(nodes: int, seed: int) -> Cycle:
    """A random cycle through `nodes` nodes, proved to be a single one.

    Raises:
        ValueError: fewer than 2 nodes, or more than 32 bits can number.
        WrongResultError: what was built is not one cycle.

    Source: S. Sattolo, An algorithm to generate a random cyclic permutation, Inf. Process. Lett. 22 (1986).
    """
    if not 2 <= nodes < 1 << 32:
        raise ValueError(f"a cycle needs 2 to 2^32 - 1 nodes, got {nodes}")
    order: Order = np.arange(nodes, dtype=np.uint32)
    shuffle(order, np.uint64(seed))
    return proved(order)


def proved(order: Order) -> Cycle:
    """The cycle that `order` is.

    Following it from end to end would wait for memory at every hop. So many walkers follow it at once, each from a
    node of its own to the next walker's start, and the pieces are put together.

    Raises:
        WrongResultError: not every node lies on the cycle of node 0.
    """
    walkers = min(WALKERS, len(order))
    ends, lengths = np.zeros(walkers, dtype=np.int64), np.zeros(walkers, dtype=np.int64)
    pieces(order, ends, lengths)
    ranks = np.full(walkers, -1, dtype=np.int64)
    at = hops = 0
    while ranks[at] < 0:
        ranks[at] = hops
        hops += int(lengths[at])
        at = int(ends[at])
    if at != 0 or hops != len(order) or (ranks < 0).any():
        raise WrongResultError(
            f"the cycle through {len(order)} nodes closes after {hops} hops; this CPU or memory errs"
        )
    return Cycle(order, ranks)


@compiled()
def shuffle(order: Order, seed: np.uint64) -> None:
    """Sattolo's shuffle, in place."""
    state = seed
    for last in range(len(order) - 1, 0, -1):
        # splitmix64 (S. Vigna, https://prng.di.unimi.it/splitmix64.c), then scaled to 0..last-1
        state += np.uint64(0x9E3779B97F4A7C15)
        mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        other = ((mixed >> np.uint64(32)) * np.uint64(last)) >> np.uint64(32)
        order[last], order[other] = order[other], order[last]


@compiled()
def pieces(order: Order, ends: Words, lengths: Words) -> None:
    """Walk from each of the nodes 0..len(ends)-1 to the next of them: which it is, and how many hops away.

    A walk longer than the whole order, which no permutation has, is given up with length len(order) + 1.
    """
    at, walker = np.arange(len(ends)), np.arange(len(ends))
    active = len(ends)
    hops = 0
    while active > 0:
        hops += 1
        place = 0
        while place < active:
            node = np.int64(order[at[place]])
            if node < len(ends) or hops > len(order):
                ends[walker[place]], lengths[walker[place]] = node % len(ends), hops
                active -= 1
                at[place], walker[place] = at[active], walker[active]
            else:
                at[place] = node
                place += 1


@compiled()
def until_below(order: Order, start: int, bound: int) -> tuple[np.int64, int]:
    """The first node below `bound` from `start` on, and how many hops away it is."""
    at, hops = np.int64(start), 0
    while at >= bound:
        at = np.int64(order[at])
        hops += 1
    return at, hops


@compiled()
def lay(words: Words, order: Order, stride: int, address: int) -> None:
    """Write each node's pointer: the address of its successor. `stride` words a node, `address` of words[0]."""
    for node in range(len(order)):
        words[node * stride] = address + np.int64(order[node]) * stride * WORD_BYTES


@compiled()
def walk(start: int, hops: int) -> int:
    """The address reached from `start` after `hops` hops, a multiple of UNROLL; nothing but dependent loads."""
    at = start
    for _ in range(hops // UNROLL):
        at = load_word(load_word(load_word(load_word(load_word(load_word(load_word(load_word(at))))))))
        at = load_word(load_word(load_word(load_word(load_word(load_word(load_word(load_word(at))))))))
    return at
