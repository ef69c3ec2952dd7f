"""The node that is left with least (best fit), so that large jobs still find whole nodes."""

from __future__ import annotations

from scheduler.placement.policy import Candidates, Policy, Term, Values, ratio


def rank(candidates: Candidates) -> tuple[Term, ...]:
    """GPUs left over, then CPUs and memory left over; a job without GPUs so keeps off nodes that have some."""
    resources = candidates.spec.resources
    taken_milli = resources.gpu_milli or resources.gpus * 1000
    gpus = (candidates.column("gpu_milli_free") - taken_milli) / 1000
    cpus = _left(candidates, "cpu_milli", resources.cpu_milli)
    memory = _left(candidates, "memory_bytes", resources.memory_bytes)
    return (
        Term("gpus_left", gpus),
        Term("cpu_and_memory_left_ratio", (cpus + memory) / 2),
        Term("price_usd_per_h", candidates.price_usd_per_h),
    )


def _left(candidates: Candidates, column: str, taken: int) -> Values:
    """The part of a node's whole that would be free."""
    return ratio(candidates.column(f"{column}_free") - taken, candidates.column(column))


POLICY = Policy(name="pack", about="best fit: the least left over", rank=rank)
