"""The chase: one single cycle, laid out as said, and a wrong step found."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu import chase
from kernels.spec import WrongResultError


def follow(order: np.ndarray, hops: int) -> int:
    """The node `hops` hops from node 0, one hop after the other."""
    at = 0
    for _ in range(hops):
        at = int(order[at])
    return at


@pytest.mark.parametrize("nodes", [2, 3, 16, 1000, 5000])
def test_a_cycle_visits_every_node_once(nodes: int) -> None:
    """From node 0 back to it after exactly `nodes` hops, every node met on the way."""
    order = chase.cycle(nodes, seed=7).order

    visited = [follow(order, hops) for hops in range(nodes)] if nodes <= 16 else []
    at, seen = 0, set()
    for _ in range(nodes):
        seen.add(at)
        at = int(order[at])

    assert at == 0
    assert len(seen) == nodes
    assert not visited or sorted(visited) == list(range(nodes))


def test_the_order_depends_on_the_seed_alone() -> None:
    """Same seed, same cycle; another seed, another."""
    first, again, other = (chase.cycle(1000, seed).order for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_hops_are_long() -> None:
    """A random cycle: a hop is a third of the nodes long on average, and hardly any leads to a neighbour."""
    order = chase.cycle(30_000, seed=5).order.astype(np.int64)
    lengths = np.abs(order - np.arange(30_000))

    assert 9_500 < lengths.mean() < 10_500
    assert (lengths <= 2).sum() < 20


def test_ranks_are_hops_from_the_first_node() -> None:
    """Rank by rank along the walk, with more nodes than walkers."""
    found = chase.cycle(3000, seed=3)

    at = 0
    for hops in range(3000):
        assert found.rank(at) == hops
        at = int(found.order[at])


def test_two_cycles_are_not_one() -> None:
    """A permutation of two halves is refused: its chase would stay in one half, and in a nearer cache."""
    halves = np.concatenate([np.roll(np.arange(2000), 1), 2000 + np.roll(np.arange(2000), 1)]).astype(np.uint32)

    with pytest.raises(WrongResultError, match="closes after"):
        chase.proved(halves)


def test_a_path_that_never_returns_is_refused() -> None:
    """Corrupt orders end too: node 1500 leads to itself."""
    order = np.roll(np.arange(2000), -1).astype(np.uint32)
    order[1500] = 1500

    with pytest.raises(WrongResultError, match="closes after"):
        chase.proved(order)


@pytest.mark.parametrize("nodes", [0, 1, 1 << 32])
def test_sizes_that_make_no_cycle(nodes: int) -> None:
    """One node is no chase; more than 2^32 cannot be numbered."""
    with pytest.raises(ValueError, match="2 to 2"):
        chase.cycle(nodes, seed=1)


@pytest.mark.parametrize("huge", [True, False])
def test_a_walk_goes_where_the_cycle_leads(*, huge: bool) -> None:
    """After 48 and then 1600 more hops it stands at node order^1648(0), on nodes of 128 bytes."""
    cycle = chase.cycle(5000, seed=9)
    with chase.Chase(cycle, node_bytes=128, huge=huge) as laid:
        laid.walk(48)
        laid.check()
        laid.walk(1600)
        laid.check()

        assert laid.bytes == 5000 * 128
        assert laid._at == laid._block.address + 128 * follow(cycle.order, 1648)


def test_a_whole_round_ends_at_the_start() -> None:
    """4096 nodes, 4096 hops."""
    with chase.Chase(chase.cycle(4096, seed=2), node_bytes=64, huge=True) as laid:
        laid.walk(4096)

        assert laid._at == laid._block.address
        laid.check()


def test_a_pointer_that_changed_is_found() -> None:
    """One node now leads to where another leads: the walk is ahead or behind from there on."""
    cycle = chase.cycle(64, seed=4)
    with chase.Chase(cycle, node_bytes=64, huge=False) as laid:
        words = laid._block.array("i8", 64 * 8)
        words[8 * follow(cycle.order, 5)] = words[8 * follow(cycle.order, 9)]
        laid.walk(32)

        with pytest.raises(WrongResultError, match="after 32 hops"):
            laid.check()


def test_an_address_outside_is_found() -> None:
    """A pointer with a flipped bit between two nodes."""
    with chase.Chase(chase.cycle(64, seed=4), node_bytes=64, huge=False) as laid:
        laid.walk(16)
        laid._at += 8

        with pytest.raises(WrongResultError, match="stands None hops"):
            laid.check()
