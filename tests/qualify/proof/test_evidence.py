"""Evidence: nothing in it can be changed, left out or put in without being found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qualify.proof import bundle as bundles
from qualify.proof import transcript as transcripts
from qualify.proof.bundle import Bundle, verify_bundle
from qualify.proof.evidence import (
    NO_ENTRY,
    Entry,
    Head,
    check_chain,
    content_digest,
    digest,
    reaches,
    sign_head,
    verify_head,
)
from qualify.proof.strict import ProtocolError
from qualify.proof.verdict import Verdict
from qualify.proof.verify import verify, verify_bytes
from tests.qualify.proof.play import challenge_of, good, honest, play

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
TRANSCRIPT = good("int8")
TEXT = transcripts.to_bytes(TRANSCRIPT)


def entry(seq: int, prev: bytes, **changes: Any) -> Entry:
    found = Entry(
        seq=seq,
        prev=prev,
        challenge=TRANSCRIPT.challenge.id,
        node=7,
        transcript_sha256=hashlib.sha256(TEXT).digest(),
        verdict=verify(TRANSCRIPT),
        verifier="rsc-1/1",
        at_ms=1_000 + seq,
    )
    return replace(found, **changes)


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        entries.append(entry(seq, digest(entries[-1]) if entries else NO_ENTRY))
    return entries


def bundle(index: int = 1, length: int = 5) -> Bundle:
    """Of the entry at `index` of a chain whose last entry is the head."""
    entries = chain(length)
    head = Head(seq=entries[-1].seq, digest=digest(entries[-1]), at_ms=9_000)
    return Bundle(
        entry=entries[index],
        transcript=TEXT,
        head=head,
        signature=sign_head(head, KEY),
        public_key=PUBLIC,
        links=tuple(content_digest(one) for one in entries[index + 1 :]),
    )


def failed(changed: Bundle, *, public_key: bytes | None = None) -> set[str]:
    result = verify_bundle(bundles.to_bytes(changed), verify_bytes, public_key=public_key)
    return {check.name for check in result.checks if not check.holds}


def kept(entries: Sequence[Entry]) -> list[tuple[Entry, bytes]]:
    """As they were written."""
    return [(one, digest(one)) for one in entries]


def test_a_chain_holds_from_its_first_entry() -> None:
    """And from any later one, of what follows."""
    entries = kept(chain(5))

    assert list(check_chain(entries, after=(0, NO_ENTRY))) == []
    assert list(check_chain(entries[2:])) == []
    assert list(check_chain(entries[2:], after=(2, entries[1][1]))) == []
    assert list(check_chain([])) == []


CHANGES: dict[str, dict[str, Any]] = {
    "node": {"node": 8},
    "challenge": {"challenge": b"o" * 16},
    "transcript": {"transcript_sha256": bytes(32)},
    "outcome": {"verdict": Verdict(outcome="cheat_proven", why="")},
    "figures": {"verdict": Verdict(outcome="pass", why="")},
    "verifier": {"verifier": "rsc-1/2"},
    "time": {"at_ms": 5},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("at", [3, 5])
def test_an_entry_that_was_changed_is_found(name: str, at: int) -> None:
    """Whatever was changed in it, the last one's content too; whoever changes its digest with it breaks the chain."""
    entries = kept(chain(5))
    changed = replace(entries[at - 1][0], **CHANGES[name])
    entries[at - 1] = changed, entries[at - 1][1]

    assert list(check_chain(entries, after=(0, NO_ENTRY))) == [
        f"entry {at} of the evidence was changed: it is not what its digest says"
    ]
    entries[2] = replace(entries[2][0], node=8), digest(replace(entries[2][0], node=8))
    assert "entry 4 of the evidence does not follow from the one before it" in check_chain(entries)


def test_an_entry_left_out_put_in_or_moved_is_found() -> None:
    """By its number or by its digest."""
    entries = chain(5)
    forged = entry(3, digest(entries[0]))

    def faults(found: Sequence[Entry], after: tuple[int, bytes] | None = None) -> list[str]:
        return list(check_chain(kept(found), after=after))

    astray = "entry {} of the evidence does not follow from the one before it"
    assert faults(entries[:1] + entries[2:]) == ["after entry 1 of the evidence comes 3"]
    assert astray.format(2) in faults([entries[0], replace(entries[2], seq=2), *entries[3:]])
    assert faults([*entries[:2], forged, *entries[3:]]) == [astray.format(3), astray.format(4)]
    assert faults([entries[1], entries[0]]) == ["after entry 2 of the evidence comes 1"]
    assert faults(entries, (0, b"x" * 32)) == [astray.format(1)]


def test_a_head_is_the_word_of_one_key() -> None:
    """For one number, digest and time."""
    head = Head(seq=3, digest=b"d" * 32, at_ms=5)
    signature = sign_head(head, KEY)

    assert verify_head(head, signature, PUBLIC)
    assert not verify_head(replace(head, seq=4), signature, PUBLIC)
    assert not verify_head(replace(head, digest=b"e" * 32), signature, PUBLIC)
    assert not verify_head(replace(head, at_ms=6), signature, PUBLIC)
    assert not verify_head(head, signature[::-1], PUBLIC)
    assert not verify_head(head, signature, b"p" * 32)
    assert not verify_head(head, b"", b"")


def test_a_head_vouches_for_every_entry_below_it_and_no_other() -> None:
    """By the links between the two; one link less or another entry, and it does not."""
    entries = chain(5)
    head, links = Head(seq=4, digest=digest(entries[3]), at_ms=5), tuple(map(content_digest, entries))

    assert [reaches(entries[at], links[at + 1 : 4], head) for at in range(4)] == [True] * 4
    assert not reaches(entries[1], links[2:3], head)
    assert not reaches(entries[1], links[2:5], head)
    assert not reaches(entries[4], (), head)
    assert not reaches(replace(entries[1], node=8), links[2:4], head)


@pytest.mark.parametrize("index", range(5))
def test_a_bundle_of_any_entry_holds(index: int) -> None:
    """All that is in it, judged again."""
    result = verify_bundle(bundles.to_bytes(bundle(index)), verify_bytes, public_key=PUBLIC)

    assert result.holds
    assert [check.name for check in result.checks] == [
        "transcript",
        "names",
        "membership",
        "signature",
        "verdict",
        "key",
    ]
    assert result.verdict == verify(TRANSCRIPT)


def test_what_is_wrong_in_a_bundle_is_named() -> None:
    """Each lie by the check that finds it."""
    good_one = bundle()
    other = transcripts.to_bytes(play(challenge_of(seed=3), spoil=honest))
    lie: Callable[..., Bundle] = lambda **changes: replace(good_one, entry=replace(good_one.entry, **changes))  # noqa: E731

    assert failed(replace(good_one, transcript=other)) == {"transcript", "names"}
    assert failed(replace(good_one, transcript=b"{}")) == {"transcript", "names", "verdict"}
    assert failed(lie(verdict=Verdict(outcome="cheat_proven", why=""))) == {"membership", "verdict"}
    assert failed(lie(node=8)) == {"membership", "names"}
    assert failed(replace(good_one, links=good_one.links[1:])) == {"membership"}
    assert failed(replace(good_one, head=replace(good_one.head, at_ms=1))) == {"signature"}
    assert failed(replace(good_one, public_key=b"p" * 32)) == {"signature"}
    assert failed(good_one, public_key=b"p" * 32) == {"key"}


def test_a_server_that_signs_its_own_lie_is_found_by_judging_again() -> None:
    """A chain in order, signed, of a verdict that the transcript does not bear out."""
    lied = entry(1, NO_ENTRY, verdict=Verdict(outcome="cheat_proven", why="so I say"))
    head = Head(seq=1, digest=digest(lied), at_ms=5)
    made = Bundle(entry=lied, transcript=TEXT, head=head, signature=sign_head(head, KEY), public_key=PUBLIC, links=())

    assert failed(made, public_key=PUBLIC) == {"verdict"}


def test_a_verdict_by_other_rules_is_told_apart() -> None:
    """The reader sees which rules judged then and now."""
    result = verify_bundle(bundles.to_bytes(bundle()), lambda text: replace(verify_bytes(text), verifier="rsc-1/9"))

    (check,) = [check for check in result.checks if not check.holds]
    assert check.text == "judged again: pass; the entry was judged by rsc-1/1, this is rsc-1/9"


def never(text: bytes) -> Verdict:
    raise AssertionError("judged what is no bundle")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("signature", "00"),
        ("public_key", 5),
        ("links", ["0"]),
        ("links", {}),
        ("head", {}),
        ("entry", None),
        ("transcript", {"a": 1}),
        ("transcript", "é"),
        ("more", 1),
    ],
)
def test_what_is_no_bundle_is_refused(member: str, value: object) -> None:
    """Before anything in it is judged."""
    document = {**json.loads(bundles.to_bytes(bundle())), member: value}

    with pytest.raises(ProtocolError):
        verify_bundle(json.dumps(document).encode(), never)
