"""From messages to measurements."""

from __future__ import annotations

from dataclasses import replace

from qualify import wire
from qualify.assemble import Collected, measurements_of
from qualify.process import Outcome
from tests.fake_child import figure
from tests.fake_machine import fake_bench

BENCH = fake_bench("alpha", "one", "two", "three")
KEYS = BENCH.keys["cpu"]


def collected(*messages: wire.Message) -> Collected:
    clock = iter(range(100))
    found = Collected(BENCH, lambda: float(next(clock)))
    for message in messages:
        found.take(message)
    return found


def test_points_of_one_key_become_a_series_whose_largest_is_the_headline() -> None:
    """Sizes may come in any order."""
    large = replace(figure("alpha.one", 9e9), at=64.0, axis="size_bytes")
    small = replace(figure("alpha.one", 1e9), at=8.0, axis="size_bytes")

    found = measurements_of(collected(large, small), ("alpha.one",))["alpha.one"]

    assert [point.at for point in found.series] == [8.0, 64.0]
    assert found.value == 9e9
    assert found.axis == "size_bytes"
    assert found.lasted_s == 0.02


def test_a_key_begins_when_it_was_first_started() -> None:
    """The second point of a series does not move its beginning."""
    started = wire.Started(keys=("alpha.one",))

    found = measurements_of(collected(started, started, figure("alpha.one", 1e9)), ("alpha.one",))

    assert found["alpha.one"].started_s == 0.0


def test_half_a_series_is_a_failure() -> None:
    """A crash at the third size leaves no headline, whatever the first two gave."""
    so_far = collected(replace(figure("alpha.one", 1e9), at=8.0, axis="size_bytes"))

    left = so_far.settle(
        KEYS, Outcome(end="crash", reason="ended by SIGSEGV", signal="SIGSEGV", pending=("alpha.one",))
    )

    assert left == ("alpha.two", "alpha.three")
    lost = measurements_of(so_far, KEYS)["alpha.one"]
    assert (lost.status, lost.reason, lost.value) == ("failed", "ended by SIGSEGV", None)
    assert lost.context == {"error": "crash", "signal": "SIGSEGV"}


def test_after_a_timeout_nothing_is_started_again() -> None:
    """The time is gone: what it had not come to failed with it."""
    so_far = collected(figure("alpha.one", 1e9))

    left = so_far.settle(KEYS, Outcome(end="timeout", reason="no result within 3 s", pending=("alpha.two",)))

    assert left == ()
    found = measurements_of(so_far, KEYS)
    assert [found[key].status for key in KEYS] == ["ok", "failed", "failed"]
    assert found["alpha.three"].reason == "the benchmark before it used up the time"


def test_a_child_that_is_done_owes_every_key() -> None:
    """Silence about a key is a failure, not a gap."""
    so_far = collected(figure("alpha.one", 1e9), figure("alpha.two", 1e9))

    assert so_far.settle(KEYS, Outcome(end="done", reason="")) == ()
    assert measurements_of(so_far, KEYS)["alpha.three"].reason == "the benchmark ended without measuring it"
