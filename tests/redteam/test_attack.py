"""The collection: large enough, told apart, and with every published hole in it."""

from __future__ import annotations

import pytest

from qualify.proof.verdict import OUTCOMES
from tests.redteam.attack import NOT_ASKED, REFUSED, found

ATTACKS = found()


def test_there_are_enough() -> None:
    """Thirty at least, each with a name of its own and a sentence on what it does."""
    assert len(ATTACKS) >= 30
    assert len({attack.does for attack in ATTACKS.values()}) == len(ATTACKS)


@pytest.mark.parametrize("peer", ["SN27", "Prime Intellect", "lium", "gittensor", "basilica", "io.net"])
def test_every_published_hole_is_tried_on_us(peer: str) -> None:
    """Those whose proofs or listings were broken in public."""
    assert [attack.name for attack in ATTACKS.values() if peer in attack.against]


def test_they_end_in_words_that_there_are() -> None:
    """An ending that no server ever gives would make its test one that cannot fail."""
    known = {*OUTCOMES, REFUSED, NOT_ASKED}

    assert {ending for attack in ATTACKS.values() for ending in attack.ends} <= known


#: what an attack is known to gain beyond a twentieth: as the README says of it
KNOWN = {"bf16-by-int8-claimed": 0.21, "bf16-by-int8-unnamed": 1.0}


def test_who_passes_has_what_it_passes_with() -> None:
    """No attack that may pass is without a truth to hold its figures against; what it gains is small, or known."""
    passing = [attack for attack in ATTACKS.values() if "pass" in attack.ends]

    assert all(attack.truth for attack in passing)
    assert {name: attack.gains for name, attack in ATTACKS.items() if attack.gains > 0.06} == KNOWN
