"""A tree of digests over a power of two of leaves, and the paths that prove a leaf's place in it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 32

Tree = tuple[bytes, ...]  #: levels from the leaves to the root, each its digests one after the other


def leaves(messages: NDArray[np.uint8]) -> bytes:
    """The digest of each row, one after the other."""
    return b"".join([sha256(message).digest() for message in messages])


def parents(level: bytes, context: bytes) -> bytes:
    """The level above: the digest of each pair."""
    step = 2 * DIGEST_BYTES
    return b"".join([sha256(context + level[at : at + step]).digest() for at in range(0, len(level), step)])


def tree(digests: bytes, context: bytes) -> Tree:
    """All levels from these leaves up; digests stand one after the other.

    Raises:
        ValueError: their number is no power of two.
    """
    count, rest = divmod(len(digests), DIGEST_BYTES)
    if rest or count < 1 or count & (count - 1):
        raise ValueError(f"a tree stands on a power of two of {DIGEST_BYTES}-byte digests, got {len(digests)} bytes")
    levels = [digests]
    while len(levels[-1]) > DIGEST_BYTES:
        levels.append(parents(levels[-1], context))
    return tuple(levels)


def root(whole: Tree) -> bytes:
    """The digest that all others lead to."""
    return whole[-1]


def path(levels: Sequence[bytes], index: int) -> bytes:
    """The siblings from leaf `index` up to the last of `levels` but one, one after the other."""
    found = []
    for level in levels[:-1]:
        at = (index ^ 1) * DIGEST_BYTES
        found.append(level[at : at + DIGEST_BYTES])
        index >>= 1
    return b"".join(found)


def root_from(leaf: bytes, index: int, siblings: bytes, context: bytes) -> bytes:
    """The root that a leaf at `index` and its path lead to.

    Raises:
        ValueError: the path is no whole number of digests, or has no such leaf.
    """
    levels, rest = divmod(len(siblings), DIGEST_BYTES)
    if rest or not 0 <= index < 1 << levels:
        raise ValueError(f"a path of {len(siblings)} bytes leads from no leaf {index}")
    for at in range(0, len(siblings), DIGEST_BYTES):
        sibling = siblings[at : at + DIGEST_BYTES]
        leaf = sha256(context + (sibling + leaf if index & 1 else leaf + sibling)).digest()
        index >>= 1
    return leaf
