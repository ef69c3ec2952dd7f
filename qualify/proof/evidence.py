"""Evidence: a chain of entries, each bound to the one before, whose head is signed; and bundles anybody can check.

An entry's digest covers its number, the digest before it and the digest of its content. So a signed head vouches for
every entry below it, and membership is shown by the content digests between the two.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from qualify.proof import strict, verdict
from qualify.proof.challenge import DIGEST_BYTES, ID_BYTES
from qualify.proof.verdict import Verdict
from qualify.records import Json

NO_ENTRY = bytes(DIGEST_BYTES)  #: `prev` of the first entry
KEY_BYTES, SIGNATURE_BYTES = 32, 64
_MOST_INT = (1 << 63) - 1
_ENTRY = b"gridmark evidence 1 entry\0"
_HEAD = b"gridmark evidence 1 head\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """That a challenge ended with a verdict."""

    seq: int  #: without gaps
    prev: bytes  #: digest of the entry before; NO_ENTRY for the first
    challenge: bytes
    node: int
    transcript_sha256: bytes
    verdict: Verdict
    verifier: str  #: the version of the rules that judged
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The server's word for the chain as it stood."""

    seq: int  #: of the newest entry
    digest: bytes  #: of that entry
    at_ms: int


def content_digest(entry: Entry) -> bytes:
    """SHA-256 of what the entry says, its place in the chain left out."""
    document = entry_to_json(entry)
    del document["seq"], document["prev"]
    return hashlib.sha256(strict.canonical(document)).digest()


def digest(entry: Entry) -> bytes:
    """What the next entry binds itself to."""
    return link(entry.seq, entry.prev, content_digest(entry))


def link(seq: int, prev: bytes, content: bytes) -> bytes:
    """The digest of the entry with this number, predecessor and content."""
    return hashlib.sha256(_ENTRY + seq.to_bytes(8, "little") + prev + content).digest()


def check_chain(entries: Iterable[tuple[Entry, bytes]], *, after: tuple[int, bytes] | None = None) -> Iterator[str]:
    """What is wrong with a chain, a sentence for each entry that is.

    Args:
        entries: each with the digest that it is kept with.
        after: number and digest of the entry before the first; None where the first may be any.
    """
    before = after
    for entry, kept in entries:
        if before is not None and entry.seq != before[0] + 1:
            yield f"after entry {before[0]} of the evidence comes {entry.seq}"
        elif before is not None and not hmac.compare_digest(entry.prev, before[1]):
            yield f"entry {entry.seq} of the evidence does not follow from the one before it"
        if not hmac.compare_digest(digest(entry), kept):
            yield f"entry {entry.seq} of the evidence was changed: it is not what its digest says"
        before = entry.seq, kept


def sign_head(head: Head, key: Ed25519PrivateKey) -> bytes:
    """The server's signature under a head."""
    return key.sign(_head_text(head))


def verify_head(head: Head, signature: bytes, public_key: bytes) -> bool:
    """Whether the owner of this raw Ed25519 key signed the head."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _head_text(head))
    except (InvalidSignature, ValueError):
        return False
    return True


def reaches(entry: Entry, links: Sequence[bytes], head: Head) -> bool:
    """Whether the head vouches for the entry, by the content digests of all entries between, the head's included."""
    at, reached = entry.seq, digest(entry)
    for content in links:
        at += 1
        reached = link(at, reached, content)
    return at == head.seq and hmac.compare_digest(reached, head.digest)


def entry_to_json(entry: Entry) -> dict[str, Json]:
    """An entry as JSON."""
    return {
        "seq": entry.seq,
        "prev": entry.prev.hex(),
        "challenge": entry.challenge.hex(),
        "node": entry.node,
        "transcript_sha256": entry.transcript_sha256.hex(),
        "verdict": verdict.to_json(entry.verdict),
        "verifier": entry.verifier,
        "at_ms": entry.at_ms,
    }


def entry_from_json(data: object) -> Entry:
    """Read an entry from parsed JSON.

    Raises:
        ProtocolError: it is none.
    """
    names = ("seq", "prev", "challenge", "node", "transcript_sha256", "verdict", "verifier", "at_ms")
    found = strict.members(data, names, "entry")
    return Entry(
        seq=strict.whole(found["seq"], 0, _MOST_INT, "entry.seq"),
        prev=strict.hexed(found["prev"], DIGEST_BYTES, "entry.prev"),
        challenge=strict.hexed(found["challenge"], ID_BYTES, "entry.challenge"),
        node=strict.whole(found["node"], 0, _MOST_INT, "entry.node"),
        transcript_sha256=strict.hexed(found["transcript_sha256"], DIGEST_BYTES, "entry.transcript_sha256"),
        verdict=verdict.from_json(found["verdict"]),
        verifier=strict.text(found["verifier"], 64, "entry.verifier"),
        at_ms=strict.whole(found["at_ms"], 0, _MOST_INT, "entry.at_ms"),
    )


def head_to_json(head: Head) -> dict[str, Json]:
    """A head as JSON."""
    return {"seq": head.seq, "digest": head.digest.hex(), "at_ms": head.at_ms}


def head_from_json(data: object) -> Head:
    """Read a head from parsed JSON.

    Raises:
        ProtocolError: it is none.
    """
    found = strict.members(data, ("seq", "digest", "at_ms"), "head")
    return Head(
        seq=strict.whole(found["seq"], 0, _MOST_INT, "head.seq"),
        digest=strict.hexed(found["digest"], DIGEST_BYTES, "head.digest"),
        at_ms=strict.whole(found["at_ms"], 0, _MOST_INT, "head.at_ms"),
    )


def _head_text(head: Head) -> bytes:
    return _HEAD + head.seq.to_bytes(8, "little") + head.digest + head.at_ms.to_bytes(8, "little")
