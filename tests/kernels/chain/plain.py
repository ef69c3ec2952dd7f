"""The protocol written a second time, from its text: plain Python integers and int64, nothing of kernels.chain."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFFFFFF
States = NDArray[np.int64]

SEED, CHALLENGE, DEVICE = bytes(range(32)), bytes(range(100, 116)), 2
SALTS = [bytes([number]) * 32 for number in range(1, 9)]


def chacha_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, 2.3."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), counter]
    start += struct.unpack("<3I", nonce)
    x = list(start)

    def turn(value: int, bits: int) -> int:
        return (value << bits | value >> 32 - bits) & MASK

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for first, second, third, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[first] = (x[first] + x[second]) & MASK
            x[third] = turn(x[third] ^ x[first], bits)

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(a, b, c, d)
    return struct.pack("<16I", *((one + two) & MASK for one, two in zip(x, start, strict=True)))


def keyed(key: bytes, index: int, nbytes: int) -> bytes:
    blocks = -(-nbytes // 64)
    return b"".join(chacha_block(key, block, index.to_bytes(12, "little")) for block in range(blocks))[:nbytes]


@cache
def stream(label: bytes, index: int, nbytes: int) -> bytes:
    return keyed(sha256(b"gridmark rsc1 " + label + b"\0" + SEED).digest(), index, nbytes)


def mix32(x: int) -> int:
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK
    x ^= x >> 15
    x = x * 0x846CA68B & MASK
    return x ^ x >> 16


def q8(y: int, key: int) -> int:
    low = mix32(y + key & MASK) & 255
    return low - 256 if low > 127 else low


def q9(y: int, key: int) -> int:
    return ((mix32(y + key & MASK) >> 16) * 511 >> 16) - 255


def mixed(sums: NDArray[np.int64], key: int, q: Callable[[int, int], int]) -> States:
    """One key for all: the layers of deep tiles."""
    return np.array([q(int(y), key) for y in sums.ravel()], dtype=np.int64).reshape(sums.shape)


def mixed_by_row(sums: NDArray[np.int64], key: int, q: Callable[[int, int], int]) -> States:
    """Each row under a key of its own; sums of shape (units, rows, n)."""
    units, rows, n = sums.shape
    made = [
        [q(int(y), key + 0x9E3779B1 * (unit * rows + row)) for y in sums[unit, row]]
        for unit in range(units)
        for row in range(rows)
    ]
    return np.array(made, dtype=np.int64).reshape(units, rows, n)


@dataclass(frozen=True)
class Plain:
    """A chain of these sizes under SEED, CHALLENGE and DEVICE."""

    params: Any

    def signed(self, raw: bytes) -> NDArray[np.int64]:
        return np.array([b - 256 if b > 127 else b for b in raw], dtype=np.int64)

    @property
    def bf16(self) -> bool:
        return bool(self.params.arithmetic == "bf16")

    def tile(self, index: int) -> NDArray[np.int64]:
        n = self.params.n
        raw = stream(b"tile", index, n * n)
        if self.bf16:
            return np.array([(b * 31 >> 8) - 15 for b in raw], dtype=np.int64).reshape(n, n)
        w = self.signed(raw).reshape(n, n)
        for layer in range(self.params.depth):
            key = struct.unpack("<I", stream(b"layer key", layer, 64)[:4])[0]
            w = mixed(w @ self.signed(stream(b"layer", layer, n * n)).reshape(n, n), key, q8)
        return w

    def first(self) -> States:
        p = self.params
        if self.bf16:
            words = [struct.unpack(f"<{p.n}H", stream(b"state", unit, 2 * p.n)) for unit in range(p.units)]
            return np.array([[(v * 511 >> 16) - 255 for v in row] for row in words], dtype=np.int64).reshape(-1, 1, p.n)
        raw = b"".join(stream(b"state", unit, p.rows * p.n) for unit in range(p.units))
        return self.signed(raw).reshape(p.units, p.rows, p.n)

    def raw(self, state: States) -> bytes:
        return b"".join(struct.pack("<h" if self.bf16 else "<b", int(value)) for value in state.ravel())

    def step(self, states: States, word: int, key: int, tiles: dict[int, Any]) -> States:
        p = self.params
        made = []
        for state in states:
            head = mix32(struct.unpack("<I", self.raw(state)[:4])[0] ^ word) if p.kind == "memory" else word
            chosen = head * p.tiles >> 32
            if chosen not in tiles:
                tiles[chosen] = self.tile(chosen)
            made.append(state @ tiles[chosen])
        return mixed_by_row(np.stack(made), key, q9 if self.bf16 else q8)

    def segments(self) -> Iterator[tuple[bytes, list[States]]]:
        """Root and committed states of one segment after the other, under SALTS."""
        p, who = self.params, CHALLENGE + struct.pack("<I", DEVICE)
        root = sha256(b"gridmark rsc1 start\0" + who + SEED).digest()
        states, tiles = self.first(), dict[int, Any]()
        for segment, salt in enumerate(SALTS):
            h = sha256(b"gridmark rsc1 segment\0" + who + struct.pack("<Q", segment) + root + salt).digest()
            order = struct.unpack(f"<{2 * p.rounds}I", keyed(h, 0, 8 * p.rounds))
            committed = []
            for number in range(p.rounds):
                states = self.step(states, order[2 * number], order[2 * number + 1], tiles)
                if (number + 1) % p.commit_every == 0:
                    committed.append(states)
            root = self.root(segment, committed)
            yield root, committed

    def root(self, segment: int, committed: list[States]) -> bytes:
        p, who = self.params, CHALLENGE + struct.pack("<I", DEVICE)
        context, level = sha256(b"gridmark rsc1 leaf\0" + who).digest(), []
        for unit in range(p.units):
            for commit in range(p.rounds // p.commit_every):
                header = context + struct.pack("<QII", segment, unit, commit) + bytes(16)
                level.append(sha256(header + self.raw(committed[commit][unit])).digest())
        context = sha256(b"gridmark rsc1 node\0" + who).digest()
        while len(level) > 1:
            level = [sha256(context + level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
        return level[0]
