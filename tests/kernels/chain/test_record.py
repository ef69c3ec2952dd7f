"""What a run keeps, and that openings need no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernels.chain import derive, record
from kernels.chain.arithmetic import replay
from kernels.chain.derive import Order, States
from kernels.chain.engine import Engine
from kernels.chain.record import Record
from kernels.chain.tiles import Tiles
from tests.kernels.chain.golden import CHAINS
from tests.kernels.chain.plain import CHALLENGE, DEVICE, SALTS, SEED
from tests.kernels.chain.test_engine import accepted, engine, prepare

__all__ = ["engine"]


def test_when_there_are_too_many_states_every_second_one_goes() -> None:
    """Of 40 segments with room for 4: those whose number 8 divides, so none lies more than 8 behind."""
    kept = Record[int](CHAINS["int8"], seed=SEED, challenge=CHALLENGE, device=DEVICE, checkpoints=4)
    for segment in range(40):
        kept.begin(SALTS[0])
        if kept.wants_state:
            kept.keep(segment)
        kept.end(b"", bytes([segment]) * 32)

    assert kept._states == {8: 8, 16: 16, 24: 24, 32: 32}


@pytest.mark.parametrize("name", CHAINS)
def test_openings_far_from_a_kept_state_are_accepted(
    name: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two states of 23: up to fifteen segments are derived anew."""
    monkeypatch.setattr(record, "CHECKPOINTS", 2)
    monkeypatch.setattr("kernels.chain.cpu.CHECKPOINTS", 2)
    monkeypatch.setattr("kernels.chain.cuda.CHECKPOINTS", 2)
    params = CHAINS[name]
    prepare(engine, params)
    roots = [engine.advance(SALTS[segment % 8]) for segment in range(23)]
    asked = [(7, 1, 0), (15, params.units - 1, params.commits - 1), (16, 0, 0), (17, 2, 0), (22, 3, 0)]

    for one in engine.open_many(asked):
        assert accepted(params, one, roots, [SALTS[segment % 8] for segment in range(23)])


class Erring:
    """Derives anew what a device got wrong the first time; implements Replayer."""

    def part(self, kept: States | None, units: range) -> States:
        return derive.first_states(CHAINS["int8"], SEED, units)

    def run(self, part: States, units: range, order: Order, rounds: range) -> States:
        return replay(CHAINS["int8"], part, order, rounds, Tiles(CHAINS["int8"], SEED), units=units)

    def raw(self, part: States) -> list[bytes]:
        return [derive.to_bytes(state) for state in part]


def test_what_a_device_got_wrong_is_handed_out_and_does_not_fit() -> None:
    """The state is the right one; its path leads to no root that was told."""
    kept = Record[States](CHAINS["int8"], seed=SEED, challenge=CHALLENGE, device=DEVICE)
    kept.begin(SALTS[0])
    kept.end(bytes(32 * 2), bytes(32))

    (opened,) = kept.open([(0, 5, 0)], Erring())

    assert len(opened.end_path) == 32 * CHAINS["int8"].levels
    assert not accepted(CHAINS["int8"], opened, [bytes(32)])
    order = derive.order(CHAINS["int8"], CHALLENGE, DEVICE, 0, derive.start_root(CHALLENGE, DEVICE, SEED), SALTS[0])
    right = Erring().run(derive.first_states(CHAINS["int8"], SEED, [5]), range(5, 6), order, range(4))
    assert opened.end == derive.to_bytes(right[0])


def test_few_units_are_one_group(engine: Engine) -> None:
    """Two units: the level that is kept is the root."""
    params = replace(CHAINS["int8"], units=2)
    prepare(engine, params)
    roots = [engine.advance(salt) for salt in SALTS]

    assert all(accepted(params, one, roots) for one in engine.open_many([(0, 0, 0), (5, 1, 0)]))


def test_one_unit_that_commits_twice_is_a_tree_of_two(engine: Engine) -> None:
    """The smallest memory chain."""
    params = replace(CHAINS["memory"], units=1, commit_every=4)
    prepare(engine, params)
    roots = [engine.advance(salt) for salt in SALTS]

    opened = engine.open_many([(0, 0, 0), (0, 0, 1), (6, 0, 0), (7, 0, 1)])

    assert params.levels == 1
    assert all(accepted(params, one, roots) for one in opened)
    assert len({np.frombuffer(one.end, np.uint8).tobytes() for one in opened}) == 4
