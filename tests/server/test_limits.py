"""Token buckets and slots."""

from __future__ import annotations

import pytest

from server import limits
from server.limits import Buckets, Slots
from server.problems import ProblemError


def test_a_burst_then_a_rate() -> None:
    """Three at once, then one each half second; the answer says how long to wait."""
    now = [100.0]
    buckets = Buckets(2.0, 3.0, lambda: now[0])
    for _ in range(3):
        buckets.take("a")

    with pytest.raises(ProblemError) as refused:
        buckets.take("a")
    now[0] += 0.5
    buckets.take("a")
    with pytest.raises(ProblemError):
        buckets.take("a")

    assert (refused.value.slug, refused.value.headers["Retry-After"]) == ("too-many", "1")


def test_one_caller_does_not_empty_another_s_bucket() -> None:
    """Each has its own."""
    buckets = Buckets(1.0, 1.0, lambda: 0.0)
    buckets.take("a")
    buckets.take("b")

    with pytest.raises(ProblemError):
        buckets.take("a")


def test_buckets_do_not_gather_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one unused longest is dropped."""
    monkeypatch.setattr(limits, "CALLERS_MAX", 2)
    buckets = Buckets(1.0, 1.0, lambda: 0.0)
    for caller in "abc":
        buckets.take(caller)

    buckets.take("a")  # forgotten, hence full again

    with pytest.raises(ProblemError):
        buckets.take("c")


def test_slots_come_back() -> None:
    """Two may be held, and a third once one was given back."""
    slots = Slots(2, "things")
    slots.take("a")
    slots.take("a")

    with pytest.raises(ProblemError, match="2 things are open"):
        slots.take("a")
    slots.give_back("a")
    slots.take("a")
    assert slots.held == 2
