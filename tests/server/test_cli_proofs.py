"""What the tables and pages say of proofs: since when, what was cut, and that nobody knows where."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.figure import Figure
from scheduler.proofs.rows import Proof
from scheduler.records import MarketNode
from server import cli_operator, cli_words
from server.views import of_node
from server.web.nodes import proved

NOW_MS = 10_000_000
CLAIM = Figure(value=9e14, low=None, high=None, n=3, at_ms=1, unit="FLOP/s")
DONE = Proof(proved_ms=NOW_MS - 300_000, outcome="pass")
CUT = Proof(
    proved_ms=NOW_MS - 300_000,
    outcome="below_floor",
    why="slower",
    claims={"matmul.bf16": CLAIM},
    claimed_vram_bytes=80 << 30,
)
BARRED = Proof(outcome="hardware_corruption", why="1 of 64 openings is wrong", bar="corruption")


def node(proof: Proof) -> MarketNode:
    """A node that stands so."""
    return MarketNode(id=1, name="n", supplier=1, public_key="", machine="m", proof=proof)


def shown(proof: Proof) -> dict[str, Any]:
    """What clients get of it."""
    found: dict[str, Any] = of_node(node(proof), live=None)["proof"]
    return found


@pytest.mark.parametrize(
    ("proof", "cell"),
    [(Proof(), ("unproven", "warn")), (DONE, ("5 min ago", "good")), (BARRED, ("barred: corruption", "bad"))],
    ids=["never", "proved", "barred"],
)
def test_the_table_of_nodes_says_where_each_stands(proof: Proof, cell: tuple[str, str]) -> None:
    """With the colour of it."""
    assert cli_words.proof(shown(proof), NOW_MS) == cell


def test_a_node_in_full_says_what_came_of_its_newest_challenge() -> None:
    """In words, with the reason; nothing where there was none."""
    assert cli_operator._outcome(shown(Proof())) == ""
    assert cli_operator._outcome(shown(DONE)) == "newest challenge: pass"
    assert cli_operator._outcome(shown(BARRED)) == "newest challenge: hardware corruption: 1 of 64 openings is wrong"


def test_what_was_cut_is_listed_as_it_was_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures, and the memory."""
    cli_operator._claims(shown(DONE))
    nothing = capsys.readouterr().out
    cli_operator._claims(shown(CUT))
    lines = capsys.readouterr().out.split()

    assert nothing == ""
    assert {"matmul.bf16", "900", "TFLOP/s", "vram", "80", "GiB"} <= set(lines)


def test_clients_are_not_told_when_the_next_check_is_due() -> None:
    """Else a node could be ready for it."""
    assert not [key for key in shown(DONE) if "due" in key]


@pytest.mark.parametrize(
    ("proof", "value", "gloss"),
    [
        (Proof(), "not yet", "its figures are its own word"),
        (DONE, "5 min ago", "locality: unproven"),
        (CUT, "5 min ago", "1 claim cut to it; locality: unproven"),
        (BARRED, "barred", "1 of 64 openings is wrong"),
    ],
)
def test_a_node_s_page_says_the_same(proof: Proof, value: str, gloss: str) -> None:
    """As a card among the others."""
    fact = proved(node(proof), NOW_MS)

    assert (fact.name, fact.value, fact.gloss) == ("Proved", value, gloss)
