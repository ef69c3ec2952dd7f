"""What is proved of a node can be asked for, sorted by, and stands in its offer with interval and age."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qualify.proof.verdict import BF16, MEMORY
from scheduler.figure import Figure
from scheduler.market.offers import search
from scheduler.proofs.claims import claimed, listed
from scheduler.proofs.rows import Proof
from scheduler.records import MarketNode
from tests.scheduler.nodes import GB, HOUR_MS, NOW_MS, gpu_node, market


def proven(number: int, memory_gb: float, *, age_ms: int = HOUR_MS, **changes: Any) -> MarketNode:
    """Eight GPUs that claim 80 GB and 600 TFLOP/s each, with what they have proved together."""
    figures = {
        MEMORY: Figure(value=memory_gb * GB, low=None, high=None, n=5, at_ms=NOW_MS - age_ms, unit="B"),
        BF16: Figure(value=4e15, low=3.9e15, high=4.1e15, n=9, at_ms=NOW_MS - age_ms, unit="FLOP/s"),
    }
    node = gpu_node(number)
    proof = Proof(figures=figures, **{"proved_ms": NOW_MS - age_ms, **changes})
    return listed(node, claimed(node), proof)


NODES = (
    proven(1, 8 * 74),
    proven(2, 8 * 23),
    proven(3, 8 * 74, age_ms=3 * HOUR_MS),
    proven(4, 8 * 74, bar="bench", proved_ms=None),
    gpu_node(5),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("proved", [1, 2, 3]),
        ("not proved", [4, 5]),
        ("proved.memory_bytes >= 70 GB and age(proved) < 2h", [1, 2]),
        ("proved.memory_bytes / count >= 70 GB and age(proved) < 2h", [1]),
        ("proved and age(proved.bf16_flops) > 2 h", [3]),
        ("p05(proved.bf16_flops) >= 3.9 PFLOP/s and proved", [1, 2, 3]),
        ("vram < 80 GB", [2]),
        ('locality = "unproven" and count = 8', [1, 2, 3, 4, 5]),
        ("matmul.bf16 > 500 TFLOP/s", [5]),
    ],
)
def test_the_language_asks_for_what_is_proved(text: str, found: list[int]) -> None:
    """A claim above what is proved is cut to it; who has proved nothing keeps its own word."""
    assert [offer.node for offer in search(market(*NODES), text=text, sort="price", now_ms=NOW_MS).offers] == found


def test_an_offer_carries_what_is_proved_with_interval_and_age() -> None:
    """And says when, and that nobody knows where."""
    (offer,) = search(market(NODES[1]), now_ms=NOW_MS).offers

    assert offer.is_proved
    assert offer.proof_age_s == 3600
    assert offer.ages_s == {BF16: 3600, MEMORY: 3600}
    assert (offer.figures[BF16].low, offer.figures[BF16].high) == (3.9e15, 4.1e15)
    assert (offer.vram_bytes, offer.figures["matmul.bf16"].value) == (23 * GB, 500e12)
    assert offer.locality == "unproven"


def test_a_barred_node_is_not_proved_whatever_it_has_proved() -> None:
    """Its figures are still shown, with their age."""
    (offer,) = search(market(replace(NODES[3])), now_ms=NOW_MS).offers

    assert not offer.is_proved
    assert BF16 in offer.figures
