"""What is listed of a node is never more than it has proved."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY, UNITS, Outcome
from qualify.reference import load as load_reference
from scheduler.figure import Figure
from scheduler.proofs.claims import Claimed, claimed, is_proved, listed, proved_figures
from scheduler.proofs.rows import Proof
from scheduler.records import Capacity, MarketNode
from tests.scheduler.proofs.floor import CLAIMS, GB, claims

WHOLE = Capacity(gpu_milli=(1000, 1000))
NODE = MarketNode(id=1, name="n", supplier=1, public_key="", machine="m", device_kind="cuda", capacity=WHOLE)


def proved(**values: float) -> dict[str, Figure]:
    """What two GPUs together have proved."""
    names = {"int8": INT8, "bf16": BF16, "memory": MEMORY, "bandwidth": BANDWIDTH}
    return {
        names[key]: Figure(value=one, low=0.9 * one, high=1.1 * one, n=5, at_ms=7, unit=UNITS[names[key]])
        for key, one in values.items()
    }


def claim(**more: object) -> Claimed:
    """A GPU of 80 GB, and what it is good for."""
    return Claimed(**{"figures": claims(), "vram_bytes": 80 * GB, "capability": {"prefill": 100.0}, **more})  # type: ignore[arg-type]


def under(figures: dict[str, Figure], told: Claimed | None = None, node: MarketNode = NODE) -> MarketNode:
    """The node's row with these proofs."""
    return listed(node, told or claim(), Proof(figures=figures))


def test_without_a_proof_nothing_is_cut() -> None:
    """An unproved node is listed with what it claims, and as unproved."""
    row = under({})

    assert {key: one.value for key, one in row.figures.items()} == CLAIMS
    assert not is_proved(row)


def test_each_claim_is_cut_to_what_one_device_has_proved() -> None:
    """A proof is of both GPUs, a claim of each."""
    row = under(proved(int8=1200e12, bf16=2000e12, bandwidth=5000e9))

    assert row.figures["matmul.int8"].value == 600e12
    assert row.figures["matmul.int8"].low == row.figures["matmul.int8"].high == 600e12
    assert row.figures["matmul.bf16"] == claims()["matmul.bf16"]
    assert (row.figures["memory.read"].value, row.figures["memory.triad"].value) == (2500e9, 2500e9)
    assert row.figures[INT8].value == 1200e12
    assert set(row.proof.claims) == {"matmul.int8", "memory.read", "memory.triad"}


def test_half_precision_is_cut_with_bf16_where_there_is_bf16() -> None:
    """The same units do both; a part without bf16 makes it up, and proves nothing about fp16."""
    both = under(proved(bf16=800e12), claim(figures=claims(matmul_fp16=900e12)))
    old = under(proved(bf16=800e12), claim(figures={"matmul.fp16": claims(matmul_fp16=900e12)["matmul.fp16"]}))

    assert both.figures["matmul.fp16"].value == 400e12
    assert old.figures["matmul.fp16"].value == 900e12


@pytest.mark.parametrize(
    ("each_gb", "listed_gb"),
    [(80 * 0.92, 80), (80 * 0.92 * 0.995, 80), (60, 60), (23.5, 23.5), (0, 0)],
    ids=["filled", "less than a tile short", "less", "a smaller card", "read too slowly to be there"],
)
def test_memory_is_what_a_pool_of_it_proved(each_gb: float, listed_gb: float) -> None:
    """92 % filled leaves nothing to doubt."""
    row = under(proved(memory=2 * each_gb * GB))

    assert row.vram_bytes == listed_gb * GB
    assert row.proof.claimed_vram_bytes == (None if listed_gb == 80 else 80 * GB)


@pytest.mark.parametrize(
    ("claims_tflops", "most_tflops", "listed_tflops"),
    [
        (165, 198, 165),  # honest about the card: by its int8 units it would prove twice that
        (165, None, 165),
        (330, 198, 198),  # what it says is what it proved, and more than such a card has
        (330, None, 330),  # nobody knows the card
        (None, 198, 198),
        (None, None, 330),
        (400, 450, 330),  # an honest proof is left as it is
    ],
)
def test_bf16_made_of_int8_counts_up_to_what_the_card_is_said_to_do(
    claims_tflops: float | None, most_tflops: float | None, listed_tflops: float
) -> None:
    """Two GPUs prove 330 TFLOP/s each; the claim of each and the most that such a part does cut it."""
    told = claims() if claims_tflops is None else claims(matmul_bf16=claims_tflops * 1e12)
    if claims_tflops is None:
        del told["matmul.bf16"]
    most = None if most_tflops is None else most_tflops * 1e12
    proof = Proof(figures=proved(bf16=660e12), bf16_most_flops=most)
    row = listed(NODE, claim(figures=told), proof)
    figure = row.figures[BF16]

    assert figure.value == 2 * listed_tflops * 1e12
    assert figure.high is not None
    assert figure.low is not None
    assert figure.low <= figure.value <= figure.high
    assert row.proof.figures == proof.figures  # what the evidence says
    if claims_tflops is not None:
        assert row.figures["matmul.bf16"].value == min(claims_tflops, listed_tflops) * 1e12
        again = listed(row, claimed(row), row.proof)
        assert again == row


def test_what_a_node_is_good_for_falls_with_its_figures() -> None:
    """A product of powers: a figure at half its claim with the weight w leaves 2^-w."""
    row = under(proved(int8=1000e12))
    (weights,) = [one.weights for one in load_reference().workloads if one.name == "prefill"]

    assert row.capability["prefill"] == pytest.approx(100 * 0.5 ** weights["matmul.int8"])
    assert claimed(row).capability == {"prefill": 100.0}


def test_what_was_claimed_comes_back_with_a_better_proof() -> None:
    """However often it was cut; the row is then as if it never was."""
    row = under(proved(int8=1200e12, memory=40.0 * GB, bandwidth=2000e9))
    again = listed(row, claimed(row), replace(row.proof, figures=proved(int8=1000e12, bandwidth=1000e9)))
    better = proved(int8=2000e12, memory=160.0 * GB, bandwidth=6000e9)

    assert claimed(row) == claim()
    assert again.figures["matmul.int8"].value == 500e12
    assert listed(again, claimed(again), replace(again.proof, figures=better)) == under(better)


def test_a_cpu_s_claims_are_left_as_they_are() -> None:
    """Its proof is small, and says so by its size."""
    row = under(proved(int8=1e9), node=replace(NODE, device_kind="cpu", capacity=Capacity(cpu_milli=1000)))

    assert row.figures["matmul.int8"].value == CLAIMS["matmul.int8"]
    assert row.figures[INT8].value == 1e9


@pytest.mark.parametrize(
    ("outcome", "found", "left"),
    [
        ("pass", {"bf16": 3.0}, {"int8": 1.0, "bf16": 3.0, "memory": 9.0}),
        ("below_floor", {"bf16": 3.0}, {"int8": 1.0, "bf16": 3.0, "memory": 9.0}),
        ("pass", {"bandwidth": 4.0}, {"int8": 1.0, "bf16": 2.0, "bandwidth": 4.0}),
        ("below_floor", {"bandwidth": 4.0}, {"int8": 1.0, "bf16": 2.0, "bandwidth": 4.0, "memory": 0.0}),
        ("pass", {"bandwidth": 4.0, "memory": 8.0}, {"int8": 1.0, "bf16": 2.0, "bandwidth": 4.0, "memory": 8.0}),
        ("cheat_proven", {}, {}),
        *((one, {}, {"int8": 1.0, "bf16": 2.0, "memory": 9.0}) for one in ("hardware_corruption", "protocol_error")),
    ],
)
def test_what_each_verdict_does_to_what_is_proved(
    outcome: Outcome, found: dict[str, float], left: dict[str, float]
) -> None:
    """The newest figure counts; a look at the memory that does not show it takes back what was shown."""
    before = proved(int8=1.0, bf16=2.0, memory=9.0)
    after = proved_figures(before, outcome, proved(**found))

    assert {key: one.value for key, one in after.items()} == {key: one.value for key, one in proved(**left).items()}
    assert all(math.isfinite(one.value) and one.unit == UNITS[key] for key, one in after.items())
