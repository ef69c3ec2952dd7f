"""Signatures of nodes and the window against repetition."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from scheduler import wire
from scheduler.node.identity import Key
from server import signing
from server.problems import ProblemError
from server.signing import WINDOW, Replays, Window

KEY = Key(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ENVELOPE = wire.Envelope(
    method="POST", target="/v1/agent/sync", server_boot=3, node=7, epoch=2, seq=11, body_sha256=wire.digest(b"body")
)


def headers(**changed: str) -> dict[str, str]:
    """Those of a signed request."""
    sent = {
        wire.HEADER_NODE: "7",
        wire.HEADER_EPOCH: "2",
        wire.HEADER_BOOT: "3",
        wire.HEADER_SEQ: "11",
        wire.HEADER_SIGNATURE: KEY.sign(ENVELOPE),
        **changed,
    }
    return {name.lower(): value for name, value in sent.items()}


def holds(found: dict[str, str], **changed: str) -> bool:
    """Whether a request with these headers is KEY's."""
    sent = {"method": "POST", "target": "/v1/agent/sync", "body_sha256": wire.digest(b"body"), **changed}
    return signing.holds(KEY.public, signing.claimed(found), **sent)


def test_a_request_as_it_was_signed_holds() -> None:
    """Method, target, body and numbers."""
    assert holds(headers())


@pytest.mark.parametrize(
    "changed",
    [{"method": "PUT"}, {"target": "/v1/agent/sync?x=1"}, {"body_sha256": wire.digest(b"other")}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_request_does_not(changed: dict[str, str]) -> None:
    """The signature binds what was asked."""
    assert not holds(headers(), **changed)


@pytest.mark.parametrize("name", [wire.HEADER_NODE, wire.HEADER_EPOCH, wire.HEADER_BOOT, wire.HEADER_SEQ])
def test_other_numbers_do_not(name: str) -> None:
    """And who, for which run, and in which place."""
    assert not holds(headers(**{name: "12"}))


def test_another_key_does_not() -> None:
    """Nor what is no key at all."""
    claim = signing.claimed(headers())
    sent = {"method": "POST", "target": "/v1/agent/sync", "body_sha256": wire.digest(b"body")}
    other = Key(Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))).public

    assert not signing.holds(other, claim, **sent)
    assert not signing.holds("ff" * 32, claim, **sent)
    assert not signing.holds("xyz", claim, **sent)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (wire.HEADER_SIGNATURE, ""),
        (wire.HEADER_SIGNATURE, "AB" * 64),
        (wire.HEADER_SIGNATURE, "ab" * 63),
        (wire.HEADER_NODE, ""),
        (wire.HEADER_NODE, "+7"),
        (wire.HEADER_NODE, "07"),
        (wire.HEADER_SEQ, "1e3"),
        (wire.HEADER_SEQ, "٣"),
        (wire.HEADER_EPOCH, "-1"),
        (wire.HEADER_BOOT, "9" * 19),
    ],
)
def test_malformed_headers_are_refused(name: str, value: str) -> None:
    """One form each: what could be read in two ways is not read at all."""
    with pytest.raises(ProblemError, match="bad-signature"):
        signing.claimed(headers(**{name: value}))


def test_a_number_is_admitted_once() -> None:
    """In any order within the window."""
    window = Window()

    assert [window.admit(seq) for seq in (5, 3, 4, 3, 5, 6)] == [True, True, True, False, False, True]


def test_what_is_older_than_the_window_is_refused() -> None:
    """At its edge: the highest less 1023 is still in, less 1024 is out."""
    window = Window()
    window.admit(5000)

    assert window.admit(5000 - WINDOW + 1)
    assert not window.admit(5000 - WINDOW)


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=200))
def test_the_window_is_what_a_set_would_be(numbers: list[int]) -> None:
    """Against the plain way to say it."""
    window, seen, top = Window(), set[int](), -1
    for seq in numbers:
        top = max(top, seq)
        new = seq not in seen and top - seq < WINDOW

        assert window.admit(seq) is new
        seen.add(seq)


def test_each_node_and_epoch_counts_for_itself() -> None:
    """A new epoch begins a new window, and an older one is over."""
    replays = Replays()

    assert replays.admit(1, 1, 10)
    assert replays.admit(2, 1, 10)
    assert not replays.admit(1, 1, 10)
    assert replays.admit(1, 2, 10)
    assert not replays.admit(1, 1, 11)
