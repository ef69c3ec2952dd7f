"""The server's side of a challenge: one way through it, and every other way out of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernels.chain.engine import Opening
from qualify.proof.challenge import Challenge
from qualify.proof.messages import Ask, EpochRequest, NextEpoch, Openings
from qualify.proof.referee import PATIENCE, ExpiredError, Now, Referee
from qualify.proof.strict import ProtocolError
from tests.qualify.proof.play import challenge_of, randomness

ROOT = b"r" * 32


def at(seconds: float, unix_ms: int = 2_000) -> Now:
    return Now(int(seconds * 1e9), unix_ms)


def referee_of(challenge: Challenge | None = None) -> Referee:
    return Referee(challenge or challenge_of(), randomness(9))


def roots(epoch: int, count: int = 1, device: int = 0) -> EpochRequest:
    return EpochRequest(epoch, {device: (ROOT,) * count})


def asking(challenge: Challenge | None = None) -> tuple[Referee, Ask]:
    """A referee that has just drawn, after 4 segments in 4 s."""
    referee = referee_of(challenge)
    referee.ready(at(0))
    answer = referee.epoch(roots(0, 4), at(4))
    assert isinstance(answer, Ask)
    return referee, answer


def opened(ask: Ask) -> dict[int, tuple[Opening, ...]]:
    """What fits the places, whatever it holds."""
    return {
        device: tuple(Opening(*place, start=b"", start_path=b"", end=b"", end_path=b"") for place in places)
        for device, places in ask.asked.items()
    }


def test_salts_are_fresh_and_epochs_counted() -> None:
    """A new one after every epoch, until target and least segments are reached: 4 s and 4 segments."""
    referee = referee_of()
    answers = [referee.ready(at(0)), *(referee.epoch(roots(epoch), at(epoch + 1)) for epoch in range(4))]

    salts = [answer.salt for answer in answers if isinstance(answer, NextEpoch)]
    assert [answer.epoch for answer in answers if isinstance(answer, NextEpoch)] == [0, 1, 2, 3]
    assert len(set(salts)) == 4
    assert isinstance(answers[4], Ask)


def test_neither_time_nor_segments_alone_are_enough() -> None:
    """Quick or slow, both are waited for."""
    quick, slow = referee_of(), referee_of()
    quick.ready(at(0))
    slow.ready(at(0))

    assert isinstance(quick.epoch(roots(0, 399), at(3.9)), NextEpoch)
    assert isinstance(slow.epoch(roots(0, 3), at(15.9)), NextEpoch)
    assert isinstance(slow.epoch(roots(1, 1), at(15.95)), Ask)


def test_patience_ends_and_so_does_room() -> None:
    """16 s are four times the target; 400 segments are the most."""
    slow, full = referee_of(), referee_of()
    slow.ready(at(0))
    full.ready(at(0))

    assert PATIENCE == 4
    assert isinstance(slow.epoch(roots(0), at(16)), Ask)
    assert isinstance(full.epoch(roots(0, 400), at(1)), Ask)


def test_thousands_of_tiny_epochs_are_no_way_to_an_early_end() -> None:
    """After 4096 of them, in less than the target, the challenge is over and nothing was asked."""
    referee = referee_of(replace(challenge_of(), most_segments=1 << 20))
    referee.ready(at(0))
    answers = [referee.epoch(roots(epoch), at(epoch / 4096)) for epoch in range(4096)]

    assert all(isinstance(answer, NextEpoch) for answer in answers)
    with pytest.raises(ProtocolError, match="at most 4096"):
        referee.epoch(roots(4096), at(2))


def test_a_transcript_holds_the_server_s_own_stamps() -> None:
    """From salt to roots, whatever the node's clock says; released again at the moment of receipt."""
    referee = referee_of()
    referee.ready(at(10))
    referee.epoch(roots(0, 3), at(11.5))
    ask = referee.epoch(roots(1, 3), at(14))
    assert isinstance(ask, Ask)

    transcript = referee.openings(Openings(opened(ask)), at(15))

    stamps = [(epoch.released_ns / 1e9, epoch.received_ns / 1e9) for epoch in transcript.epochs]
    assert stamps == [(10.0, 11.5), (11.5, 14.0)]
    assert (transcript.asked, referee.state) == (ask.asked, "done")


def test_a_clock_that_stands_still_divides_by_nothing() -> None:
    """Every epoch lasts a nanosecond at least."""
    referee = referee_of(replace(challenge_of(), most_segments=8))
    referee.ready(at(1))
    ask = referee.epoch(roots(0, 8), at(1))
    assert isinstance(ask, Ask)

    (epoch,) = referee.openings(Openings(opened(ask)), at(1)).epochs

    assert epoch.received_ns - epoch.released_ns == 1


def test_places_are_drawn_for_each_device_over_all_it_ran() -> None:
    """As many as the challenge says, each within bounds, and with other randomness others."""
    challenge = challenge_of(devices=2, samples=64)
    draws = []
    for seed in (1, 2):
        referee = Referee(challenge, randomness(seed))
        referee.ready(at(0))
        ask = referee.epoch(EpochRequest(0, {0: (ROOT,) * 4, 1: (ROOT,) * 20}), at(4))
        assert isinstance(ask, Ask)
        draws.append(ask.asked)

    for asked in draws:
        assert {device: len(places) for device, places in asked.items()} == {0: 64, 1: 64}
        assert {place[0] for place in asked[0]} == set(range(4))
        assert 15 < max(place[0] for place in asked[1]) < 20
        assert {place[1:] for place in asked[1]} == {(unit, 0) for unit in range(4)}
    assert draws[0] != draws[1]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (roots(1), "expected number 0, found 1"),
        (EpochRequest(0, {}), "one list for each device"),
        (roots(0, 1, device=1), "one list for each device"),
        (EpochRequest(0, {0: (ROOT,), 1: (ROOT,)}), "one list for each device"),
        (roots(0, 0), "a segment at least"),
        (roots(0, 401), "at most 400"),
    ],
)
def test_roots_that_do_not_fit_end_the_challenge(request_: EpochRequest, problem: str) -> None:
    """Another epoch's, another device's, none, too many; a second try is none."""
    referee = referee_of()
    referee.ready(at(0))

    with pytest.raises(ProtocolError, match=problem):
        referee.epoch(request_, at(1))
    with pytest.raises(ProtocolError, match="burned"):
        referee.epoch(roots(0), at(1))


def test_the_same_epoch_twice_ends_the_challenge() -> None:
    """A race for the salt has no winner."""
    referee = referee_of()
    referee.ready(at(0))
    referee.epoch(roots(0), at(1))

    with pytest.raises(ProtocolError, match="expected number 1, found 0"):
        referee.epoch(roots(0), at(1))
    assert referee.state == "burned"


def test_calls_out_of_order_end_the_challenge() -> None:
    """Every call in every state but its own."""
    issued, running, asked = referee_of(), referee_of(), asking()[0]
    running.ready(at(0))
    done, ask = asking()
    done.openings(Openings(opened(ask)), at(5))

    for referee in (running, asked, done):
        with pytest.raises(ProtocolError, match="takes no such call"):
            referee.ready(at(6))
    for referee in (issued, asking()[0]):
        with pytest.raises(ProtocolError, match="takes no such call"):
            referee.epoch(roots(0), at(6))
    for referee in (referee_of(), running):
        with pytest.raises(ProtocolError, match="takes no such call"):
            referee.openings(Openings({}), at(6))
    assert (issued.state, running.state, asked.state, done.state) == ("burned", "burned", "burned", "done")


def test_only_the_places_that_were_drawn_are_taken() -> None:
    """Others, fewer, more, in another order, none at all; and no second try."""
    for spoil in (
        lambda one: one[:-1],
        lambda one: (*one, one[0]),
        lambda one: one[::-1],
        lambda one: (),
        lambda one: (replace(one[0], unit=one[0].unit ^ 1), *one[1:]),
        lambda one: (replace(one[0], segment=one[0].segment ^ 1), *one[1:]),
    ):
        referee, ask = asking()
        with pytest.raises(ProtocolError, match="places that were asked"):
            referee.openings(Openings({0: spoil(opened(ask)[0])}), at(5))
        with pytest.raises(ProtocolError, match="burned"):
            referee.openings(Openings(opened(ask)), at(5))


def test_devices_that_were_not_asked_are_not_taken() -> None:
    """Nor is one left out."""
    for devices in ((), (0, 1), (1,)):
        referee, ask = asking()
        with pytest.raises(ProtocolError, match="each device that was asked"):
            referee.openings(Openings(dict.fromkeys(devices, opened(ask)[0])), at(5))


def test_a_late_call_finds_an_expired_challenge() -> None:
    """By the server's calendar, in any state; the call that comes is refused as late."""
    late = 1_000_000
    running = referee_of()
    running.ready(at(0))

    with pytest.raises(ExpiredError):
        referee_of().ready(at(0, late))
    with pytest.raises(ExpiredError):
        running.epoch(roots(0), at(1, late))
    referee, ask = asking()
    with pytest.raises(ExpiredError):
        referee.openings(Openings(opened(ask)), at(5, late))


def test_silence_is_noticed_once() -> None:
    """Not before its time, and never of a challenge that has ended."""
    referee, (done, ask) = referee_of(), asking()
    done.openings(Openings(opened(ask)), at(5))

    assert [referee.expired(at(0, unix_ms)) for unix_ms in (999_999, 1_000_000, 1_000_001)] == [False, True, False]
    assert done.expired(at(9, 2_000_000)) is False
