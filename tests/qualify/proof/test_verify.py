"""What the verdict on a transcript is, and what it is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.chain.engine import Opening
from qualify.proof import strict
from qualify.proof import transcript as transcripts
from qualify.proof import verdict as verdicts
from qualify.proof.strict import ProtocolError
from qualify.proof.transcript import Transcript
from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY
from qualify.proof.verify import verify, verify_bytes
from tests.qualify.proof.mutants import mutants
from tests.qualify.proof.play import KINDS, FakeClock, Ledger, Paced, challenge_of, good, honest, play, randomness

#: first digits of SHA-256 of a transcript and of its verdict
PINNED = {
    "int8": ("ab802c5b583fe224", "a8b2fba353ae2ae9"),
    "bf16": ("f4c7ef03d2c319d6", "e896d80b06f993f8"),
    "memory": ("b33cb847b396a2bc", "9e026cdeb51de8cb"),
}


def spoilt(transcript: Transcript, part: str, which: Sequence[int], bit: int = 0) -> Transcript:
    """The same with one bit flipped in a part of these openings."""

    def flip(opening: Opening) -> Opening:
        data = bytearray(getattr(opening, part))
        data[bit // 8] ^= 1 << bit % 8
        changed: dict[str, Any] = {part: bytes(data)}
        return replace(opening, **changed)

    opened = transcript.openings[0]
    changed = tuple(flip(one) if number in which else one for number, one in enumerate(opened))
    return replace(transcript, openings={0: changed})


def later(transcript: Transcript) -> list[int]:
    """Openings that have a first state of their own."""
    return [number for number, one in enumerate(transcript.openings[0]) if one.start]


@pytest.mark.parametrize(
    ("kind", "keys"), [("int8", {INT8}), ("bf16", {BF16}), ("memory", {BANDWIDTH, MEMORY})], ids=list(KINDS)
)
def test_an_honest_run_passes(kind: str, keys: set[str]) -> None:
    """Every kind of chain, through all codecs, from the text alone."""
    verdict = verify_bytes(transcripts.to_bytes(good(kind)))

    assert (verdict.outcome, verdict.why, set(verdict.figures)) == ("pass", "", keys)


@pytest.mark.parametrize("kind", KINDS)
def test_the_protocol_s_bytes_are_pinned(kind: str) -> None:
    """Evidence outlives versions: what changes these digests needs a protocol or a verifier of another name."""
    text = transcripts.to_bytes(good(kind))
    judged = strict.canonical(verdicts.to_json(verify_bytes(text)))

    assert (hashlib.sha256(text).hexdigest()[:16], hashlib.sha256(judged).hexdigest()[:16]) == PINNED[kind]


def test_honest_provers_are_never_rejected() -> None:
    """Exactness leaves nothing to chance: other seeds, other draws, the same verdict."""
    verdicts = [
        verify(play(challenge_of(KINDS[kind], seed=seed), seed=seed + 1)).outcome
        for seed in range(12)
        for kind in KINDS
    ]

    assert verdicts == ["pass"] * 36


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), devices=st.integers(1, 3), seed=st.integers(0, 1 << 30))
def test_honest_provers_of_any_shape_pass(data: st.DataObject, kind: str, devices: int, seed: int) -> None:
    """One commitment a segment or many, one tile or many, deep or shallow, on several devices at once."""
    params = replace(KINDS[kind], units=2 ** data.draw(st.integers(1, 4)), tiles=data.draw(st.integers(1, 9)))
    rounds, every = data.draw(st.sampled_from([(1, 1), (3, 3), (4, 1), (6, 3), (8, 2)]))
    if kind == "memory":
        deep = {"rows": 2 ** data.draw(st.integers(0, 3)), "depth": data.draw(st.integers(1, 3)), "commit_every": every}
        params = replace(params, rounds=rounds, **deep)
    else:
        params = replace(params, rounds=rounds, commit_every=rounds)

    verdict = verify(play(challenge_of(params, seed=seed, devices=devices, samples=6), seed=seed + 1))

    assert (verdict.outcome, verdict.why) == ("pass", "")


def test_a_rate_below_the_floor_is_below_it_and_keeps_its_figures() -> None:
    """4 segments a second of 2 * 4 * 64 * 64 * 2 operations are 262144 a second."""
    at, above = (verify(play(challenge_of(floor_per_s=floor), spoil=honest)) for floor in (262_144.0, 262_145.0))

    assert (at.outcome, at.figures[INT8].value) == ("pass", 262_144)
    assert (above.outcome, above.figures[INT8].value) == ("below_floor", 262_144)
    assert "262145" not in above.why
    assert "2.621e+05" in above.why


def test_too_few_segments_are_below_the_floor_even_without_one() -> None:
    """A device that takes 5 s for each of 4 segments is cut after four times the 4 s planned."""
    challenge = replace(challenge_of(), least_segments=5)

    verdict = verify(play(challenge, clock=FakeClock(segment_ns=5_000_000_000), spoil=honest))

    assert (verdict.outcome, verdict.why) == ("below_floor", "device 0 ran 4 segments, at least 5 were expected")


def test_memory_that_is_read_slowly_proves_no_memory() -> None:
    """4 segments a second of 2 * 64 * 64 * 4 bytes: at 131072 B/s it counts, above that it may have been made anew."""
    held, slow, floored = (
        verify(play(challenge_of(KINDS["memory"], resident_per_s=resident, floor_per_s=floor), spoil=honest))
        for resident, floor in ((131_072.0, 0.0), (131_073.0, 0.0), (0.0, 131_073.0))
    )

    assert (held.outcome, held.why, held.figures[MEMORY].value) == ("pass", "", 8 * 64 * 64)
    assert (slow.outcome, set(slow.figures), set(slow.devices[0])) == ("pass", {BANDWIDTH}, {BANDWIDTH})
    assert "1.311e+05" in slow.why
    assert (floored.outcome, set(floored.figures)) == ("below_floor", {BANDWIDTH})


def test_a_part_of_the_devices_says_nothing_of_the_node() -> None:
    """Only what each did by itself."""
    verdict = verify(play(replace(challenge_of(devices=2), whole=False), spoil=honest))

    assert (verdict.figures, set(verdict.devices)) == ({}, {0, 1})


def test_two_devices_prove_twice_as_much_and_each_its_own() -> None:
    """In the same epochs."""
    verdict = verify(play(challenge_of(devices=2, samples=8)))

    assert verdict.outcome == "pass"
    assert verdict.figures[INT8].value == sum(figures[INT8].value for figures in verdict.devices.values())


@pytest.mark.parametrize("part", ["start", "start_path", "end", "end_path"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_opening_of_sixteen_may_be_a_flipped_bit_and_two_are_none(kind: str, part: str) -> None:
    """Whichever part it is in; the first bit and the last."""
    transcript = good(kind)
    first, second, *_ = later(transcript)
    last_bit = 8 * len(getattr(transcript.openings[0][first], part)) - 1

    outcomes = [
        verify(spoilt(transcript, part, which, bit)).outcome
        for which in ([first], [first, second])
        for bit in (0, last_bit)
    ]

    assert outcomes == ["hardware_corruption"] * 2 + ["cheat_proven"] * 2


def test_one_wrong_opening_of_fewer_is_a_cheat() -> None:
    """One of fifteen is more than hardware does."""
    transcript = play(challenge_of(samples=15), spoil=honest)

    assert verify(spoilt(transcript, "end", later(transcript)[:1])).outcome == "cheat_proven"


def test_one_flipped_bit_that_is_drawn_twice_is_still_one() -> None:
    """64 draws out of 32 places: hardware erred once, and is seen several times."""
    challenge = replace(challenge_of(samples=64), target_s=2.0)
    flipped = play(
        challenge, spoil=lambda s, u, c, state: bytes([state[0] ^ 1, *state[1:]]) if (s, u) == (3, 2) else None
    )

    verdict = verify(flipped)

    assert flipped.asked[0].count((3, 2, 0)) > 1
    assert verdict.outcome == "hardware_corruption"


def test_the_first_wrong_opening_is_named() -> None:
    """With its place, so that anybody can look."""
    transcript = good("int8")
    number = later(transcript)[0]
    one = transcript.openings[0][number]

    why = verify(spoilt(transcript, "end", [number])).why

    place = f"device 0, segment {one.segment}, unit {one.unit}, commit {one.commit}"
    assert why == f"1 of 16 openings are wrong; the first: {place}: its last state is not what was committed to"


@pytest.mark.parametrize("number", [256, -256, 32_767, -32_768])
def test_numbers_that_no_round_leaves_are_wrong_even_when_committed_to(number: int) -> None:
    """bf16 sums are exact for numbers up to 255 only; beyond, the verdict would depend on the machine."""
    beyond = number.to_bytes(2, "little", signed=True) * 64

    verdict = verify(play(challenge_of(KINDS["bf16"]), spoil=lambda s, u, c, state: beyond))

    assert verdict.outcome == "cheat_proven"
    assert "numbers that no round leaves" in verdict.why


def test_a_state_of_one_s_own_choice_is_a_cheat() -> None:
    """Committed to and opened properly, it does not follow from the state before."""
    zero = bytes(64)

    verdict = verify(play(challenge_of(), spoil=lambda s, u, c, state: zero))

    assert verdict.outcome == "cheat_proven"
    assert "its rounds do not lead" in verdict.why


def wrong_places(engine: Ledger, transcript: Transcript) -> set[tuple[int, int, int]]:
    """All places of a run that a verifier would find wrong, each judged by itself."""
    challenge = replace(transcript.challenge, samples=1)
    return {
        place
        for place in engine.kept
        if verify(
            replace(transcript, challenge=challenge, asked={0: (place,)}, openings={0: (engine.open(*place),)})
        ).outcome
        != "pass"
    }


def test_skipped_rows_are_caught_at_the_rate_of_the_draw() -> None:
    """An eighth of 16 units in 8 segments skipped: just that is wrong, and missed (7/8)^16 = 11.8 % of times.

    Over 3000 draws the standard deviation is 0.59 %.
    """
    params = replace(KINDS["int8"], units=16)
    challenge = replace(challenge_of(params), target_s=2.0, least_segments=8)
    engine = Ledger(lambda segment, unit, commit, state: bytes(64) if (segment + unit) % 8 == 0 else None)
    clock = FakeClock()
    transcript = play(challenge, engines=[Paced(engine, clock)], clock=clock)

    wrong = wrong_places(engine, transcript)
    draw = randomness(5)
    missed = sum(wrong.isdisjoint(transcripts.drawn(challenge, transcript.epochs, draw(32))[0]) for _ in range(3000))

    assert wrong == {place for place in engine.kept if (place[0] + place[1]) % 8 == 0}
    assert len(wrong) * 8 == len(engine.kept) == 16 * transcript.segments(0)
    assert missed / 3000 == pytest.approx((7 / 8) ** 16, abs=4 * 0.0059)


def is_sound(data: bytes, original: Transcript) -> bool:
    """Whether the text is refused, or fails, or is the same; anything else raised is not caught here."""
    try:
        read = transcripts.from_bytes(data)
    except ProtocolError:
        return True
    return verify(read).outcome not in ("pass", "below_floor") or read == original


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    at=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 3),
    put=st.binary(max_size=3) | st.sampled_from([b"0", b"1", b"9", b'"', b",", b"A", b"a", b"]"]),
)
def test_changed_bytes_never_pass(kind: str, at: float, length: int, put: bytes) -> None:
    """Up to three bytes replaced, left out or put in anywhere, the server's clock, names and limits included."""
    data = transcripts.to_bytes(good(kind))
    start = int(at * len(data))

    assert is_sound(data[:start] + put + data[start + length :], good(kind))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(kind=st.sampled_from(sorted(KINDS)), picked=st.randoms(use_true_random=False))
def test_exchanged_parts_never_pass(kind: str, picked: Any) -> None:
    """Two lists, texts or numbers of one transcript in each other's place: roots, salts, openings, devices' seeds."""
    document = json.loads(transcripts.to_bytes(good(kind)))
    places = list(_holders(document))
    (one, i), (two, j) = picked.sample(places, 2)
    one[i], two[j] = two[j], one[i]

    try:
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError):  # a part put into itself
        return
    assert is_sound(data, good(kind))


def _holders(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    keys = list(document) if isinstance(document, dict) else range(len(document))
    for key in keys:
        found.append((document, key))
        if isinstance(document[key], dict | list):
            found += _holders(document[key])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_of_a_transcript_can_be_spoilt_and_pass(kind: str) -> None:
    """Null, NaN, huge numbers, empty and foreign lists, left out, doubled, unknown."""
    original = good(kind)
    document = json.loads(transcripts.to_bytes(original))

    passed = [
        name
        for name, spoiled in mutants(document)
        if not is_sound(json.dumps(spoiled, sort_keys=True, separators=(",", ":")).encode(), original)
    ]

    assert passed == []
