"""What a node claims, cut to what is proved of it.

A proof speaks of all devices together, a report of each; so what is proved is divided by how many devices there are.
What was cut is kept as it was claimed: a better proof lifts it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY, UNITS, Outcome
from qualify.reference import load as load_reference
from scheduler.figure import Figure
from scheduler.proofs.rows import Proof
from scheduler.records import MarketNode

PREFIX = "proved."
#: figure of a report -> what proves it
PROVED_BY: Mapping[str, str] = {
    "matmul.int8": INT8,
    "matmul.bf16": BF16,
    "matmul.fp16": BF16,  #: the same units at the same rate wherever there is bf16
    "memory.read": BANDWIDTH,
    "memory.copy": BANDWIDTH,
    "memory.triad": BANDWIDTH,
}
#: of a GPU's memory, as much as a proof fills; one that fills it leaves nothing of the claim to doubt
FOOTPRINT_PART = 0.92
#: tiles are whole, so that a pool may lack the better part of one
FOOTPRINT_LEAVE = 0.99
#: what a device says it does, at the bf16 that a proof is about
BF16_CLAIM = "matmul.bf16"
#: a proof says what was computed how fast, not where: a relay to another machine looks just like one
LOCALITY: Literal["unproven"] = "unproven"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What the newest report of a node says, nothing cut."""

    figures: Mapping[str, Figure]
    vram_bytes: int
    capability: Mapping[str, float]


def proved_figures(before: Mapping[str, Figure], outcome: Outcome, found: Mapping[str, Figure]) -> dict[str, Figure]:
    """What is proved of a node after a verdict; scores are rebuilt from the evidence by this alone.

    A verdict that an answer was true brings its figures, whether they reach the claim or not; one that a node cheated
    takes everything.
    """
    if outcome == "cheat_proven":
        return {}
    if outcome not in ("pass", "below_floor"):
        return dict(before)
    figures = {**before, **{key: figure for key, figure in sorted(found.items()) if key in UNITS}}
    if BANDWIDTH in found and MEMORY not in found:
        # a run through the memory that does not show how much there is: what was shown before holds no more, and what
        # is read too slowly to be there is none
        figures.pop(MEMORY, None)
        if outcome == "below_floor":
            figures[MEMORY] = replace(found[BANDWIDTH], value=0.0, low=0.0, high=0.0, unit=UNITS[MEMORY])
    return figures


def is_proved(node: MarketNode) -> bool:
    """Whether a node has gone through a check, and nothing that came later takes that back."""
    return node.proof.proved_ms is not None and not node.proof.bar


def claimed(node: MarketNode) -> Claimed:
    """What a node claims, put together again from its row."""
    proof = node.proof
    figures = {key: figure for key, figure in node.figures.items() if not key.startswith(PREFIX)}
    return Claimed(
        figures={**figures, **proof.claims},
        vram_bytes=node.vram_bytes if proof.claimed_vram_bytes is None else proof.claimed_vram_bytes,
        capability={**node.capability, **proof.claimed_capability},
    )


def listed(node: MarketNode, claim: Claimed, proof: Proof) -> MarketNode:
    """The node's row under this claim and proof: what is listed, and what was cut kept aside."""
    if node.device_kind != "cuda":
        proof = replace(proof, claims={}, claimed_vram_bytes=None, claimed_capability={})
        figures = {**claim.figures, **proof.figures}
        return replace(
            node, figures=figures, vram_bytes=claim.vram_bytes, capability=dict(claim.capability), proof=proof
        )
    devices = max(1, len(node.capacity.gpu_milli))
    shown = _within_reach(claim, proof, devices)
    cut = {key: _cut(figure, limit) for key, figure, limit in _above(claim.figures, shown, devices)}
    vram_bytes = _footprint(claim.vram_bytes, proof.figures, devices)
    capability = _capability(claim, cut)
    proof = replace(
        proof,
        claims={key: claim.figures[key] for key in cut},
        claimed_vram_bytes=None if vram_bytes == claim.vram_bytes else claim.vram_bytes,
        claimed_capability={name: claim.capability[name] for name in capability},
    )
    return replace(
        node,
        figures={**claim.figures, **cut, **shown},
        vram_bytes=vram_bytes,
        capability={**claim.capability, **capability},
        proof=proof,
    )


def _within_reach(claim: Claimed, proof: Proof, devices: int) -> Mapping[str, Figure]:
    """What is proved, as far as the devices are said to do it.

    bf16 in the ranges of the chain can be made of two products of int8, which on parts whose int8 is four times as fast
    is twice as fast as their bf16. So bf16 counts up to what the node claims, and to what its part can do.
    """
    figure, claimed_by_one = proof.figures.get(BF16), claim.figures.get(BF16_CLAIM)
    limits = [claimed_by_one.value] if claimed_by_one is not None else []
    limits += [proof.bf16_most_flops] if proof.bf16_most_flops is not None else []
    if figure is None or not limits or figure.value <= devices * min(limits):
        return proof.figures
    return {**proof.figures, BF16: _cut(figure, devices * min(limits))}


def _above(
    figures: Mapping[str, Figure], proved: Mapping[str, Figure], devices: int
) -> list[tuple[str, Figure, float]]:
    """Claims above what is proved, each with what is proved of one device."""
    found = []
    for key, by in PROVED_BY.items():
        figure, proof = figures.get(key), proved.get(by)
        if key == "matmul.fp16" and "matmul.bf16" not in figures:
            continue  # a part without bf16 makes it up at a fraction of its speed
        if figure is not None and proof is not None and figure.value > proof.value / devices:
            found.append((key, figure, proof.value / devices))
    return found


def _cut(figure: Figure, limit: float) -> Figure:
    low = None if figure.low is None else min(figure.low, limit)
    high = None if figure.high is None else min(figure.high, limit)
    return replace(figure, value=limit, low=low, high=high)


def _footprint(claimed_bytes: int, proved: Mapping[str, Figure], devices: int) -> int:
    figure = proved.get(MEMORY)
    if figure is None:
        return claimed_bytes
    each = figure.value / devices
    enough = each >= FOOTPRINT_LEAVE * FOOTPRINT_PART * claimed_bytes
    return claimed_bytes if enough else min(claimed_bytes, math.floor(each))


def _capability(claim: Claimed, cut: Mapping[str, Figure]) -> dict[str, float]:
    """What a node can do per kind of work with the cut figures: a product of powers, as qualify/score.py has it."""
    found = {}
    for name, weights in _weights().items():
        touched = {key: weight for key, weight in weights.items() if key in cut and claim.figures[key].value > 0}
        if touched and name in claim.capability:
            falls = math.fsum(
                weight * math.log(cut[key].value / claim.figures[key].value) for key, weight in touched.items()
            )
            found[name] = claim.capability[name] * math.exp(falls)
    return found


@cache
def _weights() -> Mapping[str, Mapping[str, float]]:
    """Of the workloads that GPUs are for."""
    return {one.name: one.weights for one in load_reference().workloads if one.device_kind == "cuda"}
