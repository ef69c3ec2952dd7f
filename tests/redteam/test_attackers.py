"""Every attacker in the folder ends as it must, and is listed with nothing that it does not have."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kernels.cpu.blas import set_numpy_threads
from tests.redteam.attack import Attack, found
from tests.redteam.over_http import Contest, contest

ATTACKS = found()


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contest]:
    set_numpy_threads(1)  # products this small only wait for each other's threads
    with contest(tmp_path_factory.mktemp("contest")) as opened:
        yield opened
    set_numpy_threads(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_it_ends_as_it_must(attack: Attack, arena: Contest) -> None:
    """The outcome, its reason, no answer that the server did not mean, and no figure above the truth."""
    bout = arena.bout()
    ending = attack.run(bout)
    whys = [why for _, why in bout.ended]

    assert ending in attack.ends, whys
    assert attack.why in (whys[-1] if whys else ""), whys
    assert [reply for reply in bout.replies if reply.status >= 500] == []
    assert bout.line.listed()["proof"]["locality"] == "unproven"
    for key, value in bout.line.proved().items():
        assert value <= attack.truth.get(key, 0.0) * (1 + attack.gains), key
