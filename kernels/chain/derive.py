"""What a challenge's secrets become: tiles, first states, the order of a segment, the words before every hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from kernels.chain.params import Params

NAME = b"gridmark rsc1 "
BLOCK_BYTES = 64  #: of the key stream
#: by which a byte or a 16-bit word becomes a small number: (x * span >> bits) - half lies in -half..half
TILE_SPAN, TILE_HALF = 31, 15
STATE_SPAN, STATE_HALF = 511, 255

SMALL = bytes(((byte * TILE_SPAN >> 8) - TILE_HALF) & 0xFF for byte in range(256))

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]
Tile = NDArray[np.int8]  #: shape (n, n)
States = NDArray[Any]  #: shape (units, rows, n); int8, or int16 in bf16 chains


@dataclass(frozen=True, slots=True)
class Order:
    """What a segment's rounds are to do, unknown before the segment ahead of it has ended."""

    words: Words  #: shape (rounds,): which tile
    keys: Words  #: shape (rounds,): of the mix


def key_of(label: str, seed: bytes) -> bytes:
    """The key of the stream of that name."""
    return sha256(NAME + label.encode() + b"\0" + seed).digest()


def key_stream(key: bytes, index: int, nbytes: int, *, offset: int = 0) -> Bytes:
    """`nbytes` of ChaCha20's key stream (RFC 8439) under the 96-bit nonce `index`, from `offset` on.

    Raises:
        ValueError: the offset is no multiple of 64.
    """
    if offset % BLOCK_BYTES:
        raise ValueError(f"a key stream begins at a multiple of {BLOCK_BYTES} bytes, not at {offset}")
    nonce = (offset // BLOCK_BYTES).to_bytes(4, "little") + index.to_bytes(12, "little")
    made = np.zeros(nbytes, dtype=np.uint8)
    Cipher(ChaCha20(key, nonce), mode=None).encryptor().update_into(made, made)  # type: ignore[arg-type]
    return made


def stream(seed: bytes, label: str, index: int, nbytes: int, offset: int = 0) -> Bytes:
    """`nbytes` of the stream of that name and index, from byte `offset` (a multiple of 64) on."""
    return key_stream(key_of(label, seed), index, nbytes, offset=offset)


def tile(params: Params, seed: bytes, index: int) -> Tile:
    """Tile `index` of a compute chain, and what a memory chain's begins as; bf16: numbers from -15 to 15."""
    raw = stream(seed, "tile", index, params.n * params.n)
    if params.arithmetic == "bf16":
        # bytes.translate goes through a table twice as fast as an index array does
        raw = np.frombuffer(raw.tobytes().translate(SMALL), dtype=np.uint8)
    return raw.view(np.int8).reshape(params.n, params.n)


def layer(params: Params, seed: bytes, index: int) -> Tile:
    """The matrix of layer `index`, by which the tiles of a memory pool are made."""
    return stream(seed, "layer", index, params.n * params.n).view(np.int8).reshape(params.n, params.n)


def layer_key(seed: bytes, index: int) -> int:
    """The key of layer `index`'s mix."""
    return int(stream(seed, "layer key", index, BLOCK_BYTES)[:4].view("<u4")[0])


def first_states(params: Params, seed: bytes, units: Sequence[int]) -> States:
    """The states that these units begin with, shape (len(units), rows, n)."""
    key, shape = key_of("state", seed), (len(units), params.rows, params.n)
    raw = np.empty((len(units), params.state_bytes), dtype=np.uint8)
    for place, unit in enumerate(units):
        raw[place] = key_stream(key, unit, params.state_bytes)
    if params.arithmetic == "bf16":
        words = raw.view("<u2").astype(np.int32)
        return (((words * STATE_SPAN) >> 16) - STATE_HALF).astype(np.int16).reshape(shape)
    return raw.view(np.int8).reshape(shape)


def to_bytes(state: States) -> bytes:
    """A state as it is hashed and sent: row by row, 16-bit numbers little-endian."""
    return state.astype(state.dtype.newbyteorder("<"), copy=False).tobytes()


def from_bytes(params: Params, raw: bytes) -> States:
    """The state, shape (rows, n), that `to_bytes` made these of; any bytes of the right length are one.

    Raises:
        ValueError: their number is wrong.
    """
    if len(raw) != params.state_bytes:
        raise ValueError(f"a state has {params.state_bytes} bytes, found {len(raw)}")
    stored = np.dtype("<i2" if params.arithmetic == "bf16" else "i1")
    return np.frombuffer(raw, dtype=stored).astype(stored.newbyteorder("=")).reshape(params.rows, params.n)


def _who(challenge: bytes, device: int) -> bytes:
    return challenge + device.to_bytes(4, "little")


def start_root(challenge: bytes, device: int, seed: bytes) -> bytes:
    """What stands for the root before the first segment's."""
    return sha256(NAME + b"start\0" + _who(challenge, device) + seed).digest()


def leaf_context(challenge: bytes, device: int) -> bytes:
    """What the header of every leaf begins with."""
    return sha256(NAME + b"leaf\0" + _who(challenge, device)).digest()


def node_context(challenge: bytes, device: int) -> bytes:
    """What every inner node's hash begins with."""
    return sha256(NAME + b"node\0" + _who(challenge, device)).digest()


def leaf_header(context: bytes, segment: int, unit: int, commit: int) -> bytes:
    """The 64 bytes that are hashed before a state: whose it is, and which."""
    place = segment.to_bytes(8, "little") + unit.to_bytes(4, "little") + commit.to_bytes(4, "little")
    return context + place + bytes(16)


def leaf(context: bytes, segment: int, unit: int, commit: int, state: bytes) -> bytes:
    """The digest that commits to a state."""
    return sha256(leaf_header(context, segment, unit, commit) + state).digest()


def order_key(challenge: bytes, device: int, segment: int, root_before: bytes, salt: bytes) -> bytes:
    """The key of a segment's order: bound to all that went before, and to the epoch's salt."""
    place = _who(challenge, device) + segment.to_bytes(8, "little")
    return sha256(NAME + b"segment\0" + place + root_before + salt).digest()


def order(params: Params, challenge: bytes, device: int, segment: int, root_before: bytes, salt: bytes) -> Order:
    """A segment's order."""
    key = order_key(challenge, device, segment, root_before, salt)
    pairs = key_stream(key, 0, 8 * params.rounds).view("<u4").astype(np.uint32).reshape(params.rounds, 2)
    return Order(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))
