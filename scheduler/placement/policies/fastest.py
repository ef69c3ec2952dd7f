"""The node on which the work ends first, whatever it costs; among equals the cheaper one."""

from __future__ import annotations

from scheduler.placement.policy import TOLERANCE, Candidates, Policy, Term


def rank(candidates: Candidates) -> tuple[Term, ...]:
    """Time to finish by the measured rate; of a job that does not say how much it has to do, capability."""
    seconds = candidates.seconds
    if seconds is None:
        speed = Term("capability", candidates.capability, more_is_better=True, tolerance=TOLERANCE)
    else:
        speed = Term("finish_s", seconds, tolerance=TOLERANCE)
    return speed, Term("price_usd_per_h", candidates.price_usd_per_h)


POLICY = Policy(name="fastest", about="the shortest time to finish", rank=rank)
