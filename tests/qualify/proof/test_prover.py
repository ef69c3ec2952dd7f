"""The node's side: epochs on several devices at once, and what goes wrong on one of them."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from kernels.chain.params import Params
from kernels.spec import UnsupportedError
from qualify.proof.prover import Prover
from tests.qualify.proof.play import FakeClock, Ledger, Paced, challenge_of

SALT = b"s" * 32


def test_an_epoch_ends_with_the_segment_that_fills_it() -> None:
    """Segments of 0.25 s in epochs of 1 s: four, then four more."""
    clock = FakeClock()
    prover = Prover(challenge_of(), [Paced(Ledger(), clock)], clock.seconds)
    prover.ready()

    requests = [prover.epoch(SALT), prover.epoch(SALT)]

    assert [(one.epoch, len(one.roots[0])) for one in requests] == [(0, 4), (1, 4)]


def test_every_epoch_has_a_segment_and_no_run_more_than_its_most() -> None:
    """Slow segments come one by one; after the last allowed one an epoch is empty."""
    clock = FakeClock(segment_ns=9_000_000_000)
    prover = Prover(replace(challenge_of(), least_segments=1, most_segments=2), [Paced(Ledger(), clock)], clock.seconds)
    prover.ready()

    assert [len(prover.epoch(SALT).roots[0]) for _ in range(3)] == [1, 1, 0]


class Meeting(Ledger):
    """Goes on with its segment only when the other device is in its own."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self._barrier = barrier

    def advance(self, salt: bytes) -> bytes:
        self._barrier.wait(timeout=10)
        return super().advance(salt)


def test_devices_work_at_the_same_time() -> None:
    """Each waits for the other in the middle of its work; one after the other they never would meet."""
    barrier = threading.Barrier(2)
    challenge = replace(challenge_of(devices=2), least_segments=1, most_segments=3)
    prover = Prover(challenge, [Meeting(barrier), Meeting(barrier)], lambda: 0.0)
    prover.ready()

    request = prover.epoch(SALT)
    prover.close()

    assert {device: len(roots) for device, roots in request.roots.items()} == {0: 3, 1: 3}
    assert request.roots[0] != request.roots[1]


class Broken(Ledger):
    """A device that cannot."""

    closed = False

    def prepare(self, params: Params, *, seed: bytes, challenge: bytes, device: int) -> None:
        raise UnsupportedError("GPU 1 has no room")

    def close(self) -> None:
        self.closed = True


def test_one_device_that_cannot_is_heard() -> None:
    """Its reason, not a hang; all are given back."""
    broken = Broken()
    prover = Prover(challenge_of(devices=2), [Ledger(), broken], lambda: 0.0)

    with pytest.raises(UnsupportedError, match="GPU 1 has no room"):
        prover.ready()
    prover.close()

    assert broken.closed


def test_each_device_needs_an_engine() -> None:
    """No more, no fewer."""
    with pytest.raises(ValueError, match="2 devices need as many engines, found 1"):
        Prover(challenge_of(devices=2), [Ledger()], lambda: 0.0)
