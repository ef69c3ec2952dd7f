"""Streams, tiles and states against the RFC's vectors and a second writing of the protocol."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.chain import derive
from kernels.chain.tiles import Tiles
from tests.kernels.chain import plain
from tests.kernels.chain.golden import CHAINS

SEED = plain.SEED

#: RFC 8439, appendix A.1: test vectors 1, 2, 4 (block 2) and 5 (a nonce that ends in 2), the first 16 bytes
ONE = bytes(31) + b"\x01"
VECTORS = (
    (bytes(32), 0, 0, "76b8e0ada0f13d90405d6ae55386bd28"),
    (bytes(32), 0, 1, "9f07e7be5551387a98ba977c732d080d"),
    (ONE, 0, 1, "3aeb5224ecf849929b9d828db1ced4dd"),
    (b"\0\xff" + bytes(30), 0, 2, "72d54dfbf12ec44b362692df94137f32"),
    (bytes(32), 2 << 88, 0, "c2c64d378cd536374ae204b9ef933fcd"),
)


@pytest.mark.parametrize(("key", "index", "block", "begin"), VECTORS)
def test_the_key_stream_is_that_of_rfc_8439(key: bytes, index: int, block: int, begin: str) -> None:
    """Ours, and the tests' own ChaCha20."""
    assert derive.key_stream(key, index, 16, offset=64 * block).tobytes().hex() == begin
    assert plain.chacha_block(key, block, index.to_bytes(12, "little"))[:16].hex() == begin


def test_a_stream_can_be_had_in_pieces() -> None:
    """From any multiple of 64 on; from none other."""
    whole = derive.stream(SEED, "tile", 3, 1000).tobytes()

    assert whole == plain.stream(b"tile", 3, 1000)
    assert derive.stream(SEED, "tile", 3, 1000 - 128, offset=128).tobytes() == whole[128:]
    with pytest.raises(ValueError, match="multiple of 64"):
        derive.stream(SEED, "tile", 3, 10, offset=32)


@pytest.mark.parametrize("name", CHAINS)
def test_tiles_and_states_are_as_the_protocol_says(name: str) -> None:
    """Each number, in and out of bytes."""
    params = CHAINS[name]
    other = plain.Plain(params)
    tiles = Tiles(params, SEED)
    states = derive.first_states(params, SEED, range(params.units))

    assert np.array_equal(tiles(1), other.tile(1))
    assert np.array_equal(tiles.make([3, 0])[1], tiles(0))
    assert np.array_equal(states, other.first())
    assert np.array_equal(derive.first_states(params, SEED, [3]), states[3:4])
    raw = derive.to_bytes(states[2])
    assert raw == other.raw(other.first()[2])
    assert len(raw) == params.state_bytes
    assert np.array_equal(derive.from_bytes(params, raw), states[2])


def test_numbers_of_bf16_chains_reach_their_ends() -> None:
    """-15..15 in tiles, -255..255 in states: a byte 0 and 255, a word 0 and 65535."""
    made = derive.tile(CHAINS["bf16"], SEED, 0)

    assert (made.min(), made.max()) == (-15, 15)
    assert (65535 * derive.STATE_SPAN >> 16) - derive.STATE_HALF == 255


def test_a_state_of_another_length_is_refused() -> None:
    """One byte more."""
    with pytest.raises(ValueError, match="64 bytes, found 65"):
        derive.from_bytes(CHAINS["int8"], bytes(65))


def test_whose_segment_it_is_changes_everything() -> None:
    """Challenge, device, segment, root and salt each change the order; leaves and nodes never share a context."""
    params = CHAINS["int8"]
    base = (bytes(16), 0, 0, bytes(32), bytes(32))
    others = [(b"\1" + bytes(15), 0, 0, bytes(32), bytes(32)), (bytes(16), 1, 0, bytes(32), bytes(32)),
              (bytes(16), 0, 1, bytes(32), bytes(32)), (bytes(16), 0, 0, b"\1" + bytes(31), bytes(32)),
              (bytes(16), 0, 0, bytes(32), b"\1" + bytes(31))]  # fmt: skip

    keys = {derive.order(params, *given).words.tobytes() for given in [base, *others]}

    assert len(keys) == 6
    assert derive.leaf_context(bytes(16), 0) != derive.node_context(bytes(16), 0)
    assert derive.leaf_context(bytes(16), 0) != derive.leaf_context(bytes(16), 1)
