"""What attackers have and what they say they have: real cards in small, and how long work takes on them.

Rates of arithmetic are divided by 2,000,000, memory and its bandwidth by 250,000. Tiles here are an eighth as wide as
those of real pools, so making one anew, beside reading it, costs what it does on the real card. No attacker's speed is
that of the machine the tests run on: the seconds it would need are reckoned and the server's clock is moved by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernels.chain.params import Params
from qualify.proof.sizing import Scale
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY

ARITHMETIC, MEMORIES = 5e-7, 4e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An accelerator, in small."""

    name: str
    int8_ops_per_s: float
    bf16_flops: float
    memory_bytes: int
    memory_bytes_per_s: float

    def proves(self, count: int = 1) -> dict[str, float]:
        """The most that so many of them can prove truly."""
        return {
            INT8: count * self.int8_ops_per_s,
            BF16: count * self.bf16_flops,
            MEMORY: float(count * self.memory_bytes),
            BANDWIDTH: count * self.memory_bytes_per_s,
        }

    def seconds(self, params: Params) -> float:
        """That a segment takes: whichever of arithmetic and memory takes longer."""
        if params.kind == "memory":
            arithmetic_s = params.ops_per_segment / self.int8_ops_per_s
            return max(arithmetic_s, params.read_bytes_per_segment / self.memory_bytes_per_s)
        rate = self.int8_ops_per_s if params.arithmetic == "int8" else self.bf16_flops
        return params.ops_per_segment / rate


def _card(name: str, int8: float, bf16: float, memory_gb: float, gb_per_s: float) -> Card:
    """From a data sheet: dense TOP/s and TFLOP/s, GB, GB/s."""
    return Card(
        name=name,
        int8_ops_per_s=int8 * 1e12 * ARITHMETIC,
        bf16_flops=bf16 * 1e12 * ARITHMETIC,
        memory_bytes=int(memory_gb * 1e9 * MEMORIES),
        memory_bytes_per_s=gb_per_s * 1e9 * MEMORIES,
    )


H100 = _card("NVIDIA H100 80GB HBM3", 1639, 800, 80, 3350)
RTX4090 = _card("NVIDIA GeForce RTX 4090", 660, 165, 24, 1008)
RTX5090 = _card("NVIDIA GeForce RTX 5090", 838, 210, 32, 1790)
#: 16 cores with AVX-512
CPU = _card("AMD EPYC 9474F", 6, 3, 64, 150)

Pace = Callable[[Params, int], float]  #: seconds that one segment of each of so many devices takes, all at once


def side_by_side(card: Card) -> Pace:
    """Each device is a card of its own."""
    return lambda params, _: card.seconds(params)


def one_after_another(card: Card) -> Pace:
    """One card does the work of all."""
    return lambda params, devices: devices * card.seconds(params)


#: of checks: tiles of 64, 8 segments at least, 64 openings; a second of the small cards' time
SCALE = Scale(
    light_compute_s=0.06,
    light_memory_s=0.08,
    light_segments=8,
    light_samples=16,
    full_compute_s=0.06,
    full_memory_s=0.16,
    full_segments=8,
    full_samples=64,
    solo_s=0.03,
    epoch_s=0.01,
    segment_s=0.01,
    round_trips=1,
    largest_n=64,
    units_most=64,
    rounds_most=8,
    best_ops_per_s=5e15 * ARITHMETIC,
)
