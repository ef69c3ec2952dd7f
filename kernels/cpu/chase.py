"""Pointer chase over one random cycle: every load waits for the one before, so its time is a latency."""

from __future__ import annotations

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


class Chase:
    """A cycle of nodes, one per cache line, in an order no prefetcher can guess; walks go on where the last ended."""

    def __init__(self, order: Order, *, node_bytes: int, huge: bool) -> None:
        """Lay the cycle `order` (see `cycle`) out over len(order) nodes on pages of the wanted size."""
        self.bytes = len(order) * node_bytes
        self._order = order
        self._node_bytes = node_bytes
        self._block = Block(self.bytes, huge=huge)
        words = self._block.array("i8", self.bytes // WORD_BYTES)
        lay(words, order, node_bytes // WORD_BYTES, self._block.address)
        self._at = self._block.address
        self._known = 0  # the node that check() has followed the walk to
        self._hops = 0  # walked since
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
        """Follow the same hops in the compact table and compare where they lead.

        Raises:
            WrongResultError: the walk ended elsewhere, so a load returned something that was never stored.
        """
        expected = int(follow(self._order, self._known, self._hops % len(self._order)))
        found, rest = divmod(self._at - self._block.address, self._node_bytes)
        if found != expected or rest:
            raise WrongResultError(
                f"after {self._hops} hops the chase of {len(self._order)} nodes stands at byte "
                f"{self._at - self._block.address}, expected {expected * self._node_bytes}; this memory or CPU "
                "corrupts data: test it (memtest86+, rasdaemon) before renting it out"
            )
        self._known, self._hops = expected, 0


def cycle(nodes: int, seed: int) -> Order:
    """A random permutation of 0..nodes-1 that is one single cycle: node i is followed by node order[i].

    Raises:
        ValueError: fewer than 2 nodes, or more than 32 bits can number.
        WrongResultError: what was built is not one cycle.

    Source: S. Sattolo, An algorithm to generate a random cyclic permutation, Inf. Process. Lett. 22 (1986).
    """
    if not 2 <= nodes < 1 << 32:
        raise ValueError(f"a cycle needs 2 to 2^32 - 1 nodes, got {nodes}")
    order: Order = np.arange(nodes, dtype=np.uint32)
    shuffle(order, np.uint64(seed))
    length = int(cycle_length(order))
    if length != nodes:
        raise WrongResultError(f"the cycle through {nodes} nodes closes after {length} hops; this CPU or memory errs")
    return order


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
def cycle_length(order: Order) -> int:
    """Hops from node 0 until it is met again; at most len(order) + 1."""
    at, hops = order[0], 1
    while at != 0 and hops <= len(order):
        at = order[at]
        hops += 1
    return hops


@compiled()
def follow(order: Order, start: int, hops: int) -> int:
    """The node `hops` hops after `start`."""
    at = start
    for _ in range(hops):
        at = order[at]
    return at


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
