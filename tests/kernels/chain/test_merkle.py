"""Trees, paths and what is refused as one."""

from __future__ import annotations

from hashlib import sha256

import pytest

from kernels.chain import merkle

CONTEXT = b"c" * 32
LEAVES = [bytes([number]) * 32 for number in range(8)]


def both(left: bytes, right: bytes) -> bytes:
    return sha256(CONTEXT + left + right).digest()


def test_a_tree_of_four_is_its_definition() -> None:
    """Two pairs, then the pair of them."""
    a, b, c, d = LEAVES[:4]

    assert merkle.root(merkle.tree(a + b + c + d, CONTEXT)) == both(both(a, b), both(c, d))


def test_every_path_leads_to_the_root_from_its_own_place_only() -> None:
    """Eight leaves, eight places."""
    tree = merkle.tree(b"".join(LEAVES), CONTEXT)
    for index, leaf in enumerate(LEAVES):
        path = merkle.path(tree, index)
        assert len(path) == 3 * 32
        found = [merkle.root_from(leaf, place, path, CONTEXT) == merkle.root(tree) for place in range(8)]
        assert found == [place == index for place in range(8)]
        assert merkle.root_from(leaf, index, path, b"d" * 32) != merkle.root(tree)


@pytest.mark.parametrize(("index", "nbytes"), [(0, 31), (2, 32), (-1, 32), (8, 96)])
def test_a_path_that_cannot_be_one_is_refused(index: int, nbytes: int) -> None:
    """Half a digest, and a leaf beyond those that so many levels have."""
    with pytest.raises(ValueError, match="no leaf"):
        merkle.root_from(LEAVES[0], index, bytes(nbytes), CONTEXT)


@pytest.mark.parametrize("nbytes", [0, 31, 96])
def test_leaves_that_are_no_power_of_two_are_refused(nbytes: int) -> None:
    """None, half of one, three."""
    with pytest.raises(ValueError, match="power of two"):
        merkle.tree(bytes(nbytes), CONTEXT)
