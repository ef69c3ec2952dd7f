"""The node that the job fragments least, so that large jobs and those that insist on a model still find theirs.

How well a job packs is worked out in packing.py; between nodes on which it packs alike, the cheaper one.
"""

from __future__ import annotations

from scheduler.placement.policy import Candidates, Policy, Term


def rank(candidates: Candidates) -> tuple[Term, ...]:
    """Price, after the packing."""
    return (Term("price_usd_per_h", candidates.price_usd_per_h),)


POLICY = Policy(name="pack", about="the least fragmentation: large jobs still find whole nodes", rank=rank, packs=True)
