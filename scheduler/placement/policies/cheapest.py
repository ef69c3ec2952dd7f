"""The lowest price for the share the job takes; among equals the healthier node."""

from __future__ import annotations

from scheduler.placement.policy import TOLERANCE, Candidates, Policy, Term


def rank(candidates: Candidates) -> tuple[Term, ...]:
    """Price, then health."""
    return (
        Term("price_usd_per_h", candidates.price_usd_per_h),
        Term("health", candidates.column("health"), more_is_better=True, tolerance=TOLERANCE),
    )


POLICY = Policy(name="cheapest", about="the lowest price per hour of the share", rank=rank)
