"""A verdict with all it rests on in one file, so that anybody can judge again what a server judged."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from qualify.proof import evidence, strict, verdict
from qualify.proof import transcript as transcripts
from qualify.proof.challenge import DIGEST_BYTES
from qualify.proof.evidence import KEY_BYTES, SIGNATURE_BYTES, Entry, Head
from qualify.proof.strict import ProtocolError
from qualify.proof.verdict import Verdict
from qualify.records import Json

MOST_LINKS = 1 << 16  #: entries between the one shown and the head that vouches for it
MOST_BYTES = transcripts.MOST_BYTES + 2 * verdict.MOST_BYTES + MOST_LINKS * 67


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What `gridmark verify-evidence` reads."""

    entry: Entry
    transcript: bytes  #: the canonical text
    head: Head  #: of the chain, at the entry or after it
    signature: bytes
    public_key: bytes  #: raw Ed25519
    links: tuple[bytes, ...]  #: content digests of the entries after this one, up to the head's


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a bundle."""

    checks: tuple[Check, ...]
    entry: Entry
    verdict: Verdict  #: as it comes out here

    @property
    def holds(self) -> bool:
        """Whether nothing was found amiss."""
        return all(check.holds for check in self.checks)


def to_bytes(bundle: Bundle) -> bytes:
    """A bundle as canonical JSON."""
    document: dict[str, Json] = {
        "entry": evidence.entry_to_json(bundle.entry),
        "transcript": bundle.transcript.decode("ascii"),
        "head": evidence.head_to_json(bundle.head),
        "signature": bundle.signature.hex(),
        "public_key": bundle.public_key.hex(),
        "links": [content.hex() for content in bundle.links],
    }
    return strict.canonical(document)


def from_bytes(data: bytes) -> Bundle:
    """Read a bundle.

    Raises:
        ProtocolError: it is none.
    """
    names = ("entry", "transcript", "head", "signature", "public_key", "links")
    found = strict.members(strict.parse(data, most_bytes=MOST_BYTES), names, "bundle")
    links = strict.entries(found["links"], "bundle.links", most=MOST_LINKS)
    transcript = strict.text(found["transcript"], transcripts.MOST_BYTES, "bundle.transcript")
    return Bundle(
        entry=evidence.entry_from_json(found["entry"]),
        transcript=transcript.encode("ascii"),
        head=evidence.head_from_json(found["head"]),
        signature=strict.hexed(found["signature"], SIGNATURE_BYTES, "bundle.signature"),
        public_key=strict.hexed(found["public_key"], KEY_BYTES, "bundle.public_key"),
        links=tuple([strict.hexed(content, DIGEST_BYTES, "bundle.links") for content in links]),
    )


def verify_bundle(data: bytes, judge: Callable[[bytes], Verdict], *, public_key: bytes | None = None) -> Result:
    """Check everything a bundle claims, the verdict by judging the transcript again.

    Args:
        judge: from a transcript's text to its verdict: `verify.verify_bytes`, or `worker.run_worker` under limits.
        public_key: the server's key, known from elsewhere; None = the bundle's own is believed.

    Raises:
        ProtocolError: it is no bundle.
    """
    bundle = from_bytes(data)
    entry, found = bundle.entry, judge(bundle.transcript)
    signed = evidence.verify_head(bundle.head, bundle.signature, bundle.public_key)
    sha256 = hashlib.sha256(bundle.transcript).digest()
    same_rules = entry.verifier == found.verifier
    again = f"judged again: {found.outcome}" + (f" ({found.why})" if found.why else "")
    if not same_rules:
        again += f"; the entry was judged by {entry.verifier}, this is {found.verifier}"
    checks = [
        _check("transcript", hmac.compare_digest(sha256, entry.transcript_sha256), "its digest is the entry's"),
        _check("names", _named(bundle), "the transcript is of the entry's challenge and node"),
        _check("membership", evidence.reaches(entry, bundle.links, bundle.head), f"head {bundle.head.seq} vouches"),
        _check("signature", signed, f"key {bundle.public_key.hex()[:16]} signed the head"),
        _check("verdict", found == entry.verdict, again),
    ]
    if public_key is not None:
        known = hmac.compare_digest(public_key, bundle.public_key)
        checks.append(_check("key", known, "the key is the server's as known here"))
    return Result(checks=tuple(checks), entry=entry, verdict=found)


def _check(name: str, holds: bool, text: str) -> Check:
    return Check(name=name, holds=holds, text=text)


def _named(bundle: Bundle) -> bool:
    try:
        challenge = transcripts.from_bytes(bundle.transcript).challenge
    except ProtocolError:
        return False
    return (challenge.id, challenge.node) == (bundle.entry.challenge, bundle.entry.node)
