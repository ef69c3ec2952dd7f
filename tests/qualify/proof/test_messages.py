"""What goes over the wire: read back as it was said, and anything else refused in one way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qualify.proof import challenge as challenges
from qualify.proof import evidence, messages, strict, verdict
from qualify.proof.challenge import Challenge, Device
from qualify.proof.evidence import Entry
from qualify.proof.messages import Ask, EpochRequest, NextEpoch, Openings
from qualify.proof.strict import ProtocolError
from qualify.proof.verify import verify
from tests.qualify.proof.mutants import mutants
from tests.qualify.proof.play import INT8, MEMORY, challenge_of, good

TRANSCRIPT = good("memory")
CHALLENGE = TRANSCRIPT.challenge
ENTRY = Entry(
    seq=3,
    prev=b"p" * 32,
    challenge=CHALLENGE.id,
    node=7,
    transcript_sha256=b"t" * 32,
    verdict=verify(TRANSCRIPT),
    verifier="rsc-1/1",
    at_ms=5,
)
#: name -> a document, and what reads and writes it again
DOCUMENTS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "challenge": (challenges.to_json(CHALLENGE), lambda data: challenges.to_json(challenges.from_json(data))),
    "next epoch": (
        messages.answer_to_json(NextEpoch(1, b"s" * 32)),
        lambda data: messages.answer_to_json(messages.answer_from_json(data, CHALLENGE)),
    ),
    "ask": (
        messages.answer_to_json(Ask(TRANSCRIPT.asked)),
        lambda data: messages.answer_to_json(messages.answer_from_json(data, CHALLENGE)),
    ),
    "epoch": (
        messages.epoch_to_json(EpochRequest(0, TRANSCRIPT.epochs[0].roots)),
        lambda data: messages.epoch_to_json(messages.epoch_from_json(data, CHALLENGE)),
    ),
    "openings": (
        messages.openings_to_json(Openings(TRANSCRIPT.openings)),
        lambda data: messages.openings_to_json(messages.openings_from_json(data, CHALLENGE)),
    ),
    "verdict": (verdict.to_json(ENTRY.verdict), lambda data: verdict.to_json(verdict.from_json(data))),
    "entry": (
        evidence.entry_to_json(ENTRY),
        lambda data: evidence.entry_to_json(evidence.entry_from_json(data)),
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_read_as_it_was_written(name: str) -> None:
    """Through its text."""
    document, again = DOCUMENTS[name]

    assert again(strict.parse(strict.canonical(document), most_bytes=1 << 20)) == document


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_spoilt_document_is_refused_or_means_what_it_says(name: str) -> None:
    """Every place replaced, left out, doubled: ProtocolError and nothing else, or it is read as it stands."""
    document, again = DOCUMENTS[name]
    refused, misread = 0, []
    for where, spoiled in mutants(document):
        try:
            read = again(strict.parse(json.dumps(spoiled).encode(), most_bytes=1 << 20))
        except ProtocolError:
            refused += 1
            continue
        if strict.canonical(read) != strict.canonical(_floats(spoiled, read)):
            misread.append(where)

    assert misread == []
    assert refused > 40


def _floats(spoiled: Any, like: Any) -> Any:
    """The same with 1 written as 1.0 wherever the reader does."""
    if isinstance(spoiled, dict):
        return {key: _floats(value, like.get(key)) for key, value in spoiled.items()}
    return float(spoiled) if type(like) is float and type(spoiled) is int else spoiled


@pytest.mark.parametrize(
    "text",
    [
        b'{"epoch": NaN}',
        b'{"epoch": -Infinity}',
        b'{"epoch": 1, "epoch": 1}',
        b"[" * 5_000,
        b'{"a":' * 5_000,
        b"9" * 5_000,
        b'"\xff"',
        '"ü"'.encode(),
        b"",
        b"{}{}",
        b" " * 1_000_001,
        b"\x80\x04K\x01.",  # a pickle
        b"\x1f\x8b\x08\x00",  # gzip
    ],
    ids=lambda text: repr(text[:12]),
)
def test_text_that_is_no_strict_json_is_refused(text: bytes) -> None:
    """Before anything is made of it."""
    with pytest.raises(ProtocolError):
        strict.parse(text, most_bytes=1_000_000)


@pytest.mark.parametrize("spelling", ["AAB=", "AAA", "AA==", "AAAA", "A A=", "AAA=\n", "aaa!", "-_A=", 5, None])
def test_bytes_have_one_spelling(spelling: object) -> None:
    """Two zero bytes are AAA= and nothing else; stray bits, blanks and the other alphabet are no way around."""
    with pytest.raises(ProtocolError):
        strict.based(spelling, 2, "here")

    assert strict.based("AAA=", 2, "here") == b"\0\0"


@pytest.mark.parametrize("spelling", ["0A", "0", "000", "0x", " 0", "٣٣", b"00", None])
def test_hex_is_lower_case_and_of_its_length(spelling: object) -> None:
    """One byte has one spelling."""
    with pytest.raises(ProtocolError):
        strict.hexed(spelling, 1, "here")


@pytest.mark.parametrize("part", ["start", "start_path", "end", "end_path"])
@pytest.mark.parametrize("change", [b"", b"x"], ids=["short", "long"])
def test_states_and_paths_of_another_length_are_refused(part: str, change: bytes) -> None:
    """A digest less, a byte more: the lengths follow from the challenge."""
    opened = list(TRANSCRIPT.openings[0])
    number = next(number for number, one in enumerate(opened) if one.start)
    data = getattr(opened[number], part)
    other: dict[str, Any] = {part: data + change if change else data[:-32]}
    opened[number] = replace(opened[number], **other)

    with pytest.raises(ProtocolError, match=part):
        messages.openings_from_json(messages.openings_to_json(Openings({0: tuple(opened)})), CHALLENGE)


@pytest.mark.parametrize(
    "devices", [{}, {"1": []}, {"0": [], "1": []}, {"00": []}, {"-0": []}, {"0": []}, {"0": None}], ids=str
)
def test_lists_that_are_empty_foreign_or_doubled_are_refused(devices: object) -> None:
    """An empty list of rows proves nothing: the number of openings is the challenge's."""
    with pytest.raises(ProtocolError):
        messages.openings_from_json({"openings": devices}, CHALLENGE)


def test_the_bounds_hold_what_an_honest_node_says() -> None:
    """And little more: the largest openings fill more than nine tenths of theirs."""
    said = strict.canonical(messages.openings_to_json(Openings(TRANSCRIPT.openings)))
    large = replace(CHALLENGE, params=replace(MEMORY, n=512, rows=32))
    state, path = bytes(32 * 512), bytes(32 * large.params.levels)
    one = replace(TRANSCRIPT.openings[0][0], segment=2, start=state, start_path=path, end=state, end_path=path)
    most = strict.canonical(messages.openings_to_json(Openings({0: (one,) * 16})))
    roots = strict.canonical(messages.epoch_to_json(EpochRequest(4096, {0: (b"\xff" * 32,) * 400})))

    assert len(said) <= messages.most_openings_bytes(CHALLENGE)
    assert 0.9 * messages.most_openings_bytes(large) < len(most) <= messages.most_openings_bytes(large)
    assert len(roots) <= messages.most_epoch_bytes(CHALLENGE)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"params": replace(INT8, n=65)}, "power of two"),
        ({"id": b"short"}, "16 bytes"),
        ({"devices": ()}, "1 to 64 devices"),
        ({"devices": (Device(index=0, uuid="", seed=b"s" * 31),)}, "32 bytes"),
        ({"devices": (Device(index=1, uuid="", seed=b"s" * 32), Device(index=0, uuid="", seed=b"t" * 32))}, "rising"),
        ({"devices": (Device(index=0, uuid="", seed=b"s" * 32), Device(index=0, uuid="", seed=b"t" * 32))}, "once"),
        ({"epoch_s": 5.0}, "epoch_s <= target_s"),
        ({"epoch_s": 0.0}, "epoch_s"),
        ({"least_segments": 500}, "least <= most"),
        ({"samples": 0}, "samples"),
        ({"floor_per_s": -1.0}, "floor"),
        ({"expires_ms": 1_000}, "expires"),
    ],
)
def test_a_challenge_that_cannot_be_run_is_none(changes: dict[str, Any], problem: str) -> None:
    """Neither read nor made."""
    with pytest.raises(ProtocolError, match=problem):
        replace(challenge_of(), **changes)


def test_a_challenge_survives_its_text() -> None:
    """Several devices, every field."""
    challenge: Challenge = challenge_of(MEMORY, devices=3, floor_per_s=1.5, resident_per_s=2.0)

    assert challenges.loads(challenges.dumps(challenge)) == challenge
