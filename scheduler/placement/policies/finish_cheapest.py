"""The node on which the work costs least in the end: price x work / measured rate; a dear node may be the cheap one.

A job that does not say how much it has to do goes where an hour's money buys the most capability.
"""

from __future__ import annotations

from scheduler.placement.policy import S_PER_H, TOLERANCE, Candidates, Policy, Term, ratio


def rank(candidates: Candidates) -> tuple[Term, ...]:
    """Cost to finish, or price per capability; then price."""
    price = candidates.price_usd_per_h
    seconds = candidates.seconds
    if seconds is not None:
        cost = Term("cost_usd", price * seconds / S_PER_H, tolerance=TOLERANCE)
    else:
        cost = Term("price_usd_per_h_per_capability", ratio(price, candidates.capability), tolerance=TOLERANCE)
    return cost, Term("price_usd_per_h", price)


POLICY = Policy(name="finish_cheapest", about="the lowest cost to finish the work", rank=rank)
