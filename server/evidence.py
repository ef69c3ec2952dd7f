"""The chain of evidence as the server vouches for it: a signed head, and bundles that anybody can judge again."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from qualify.proof import bundle as bundles
from qualify.proof.bundle import MOST_LINKS, Bundle
from qualify.proof.evidence import NO_ENTRY, Head, content_digest, sign_head
from scheduler.proofs.evidence import plain
from scheduler.proofs.rows import EvidenceEntry
from scheduler.store.reader import LIMIT_MAX
from server.problems import ProblemError
from server.runtime import Runtime

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A head under the server's signature."""

    head: Head
    signature: bytes
    public_key: bytes


def sign(runtime: Runtime, newest: EvidenceEntry | None) -> Signed:
    """The chain as it ends with an entry, vouched for now."""
    key = Ed25519PrivateKey.from_private_bytes(runtime.evidence_key)
    head = Head(
        seq=0 if newest is None else newest.seq,
        digest=NO_ENTRY if newest is None else bytes.fromhex(newest.sha256),
        at_ms=runtime.now().unix_ms,
    )
    public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Signed(head=head, signature=sign_head(head, key), public_key=public_key)


def page(runtime: Runtime, after: int, limit: int) -> tuple[tuple[EvidenceEntry, ...], Signed]:
    """Entries after a number, and the head of the whole chain, of one moment."""
    reader = runtime.reader
    with reader.snapshot():
        return reader.evidence(after=after, limit=limit), sign(runtime, reader.newest_evidence())


def bundle(runtime: Runtime, challenge: str) -> bytes:
    """The evidence about a challenge, as `gridmark verify-evidence` reads it.

    Raises:
        ProblemError: there is none.
    """
    entry = runtime.reader.evidence_of(challenge)
    if entry is None:
        raise ProblemError("not-found", f"there is no evidence about challenge {challenge}")
    text = runtime.files.transcript(entry.transcript_sha256)
    if text is None:
        raise ProblemError("not-found", _gone(runtime, entry))
    links: list[bytes] = []
    last = entry
    while len(links) < MOST_LINKS:
        more = runtime.reader.evidence(after=last.seq, limit=min(LIMIT_MAX, MOST_LINKS - len(links)))
        if not more:
            break
        links += [content_digest(plain(one)) for one in more]
        last = more[-1]
    signed = sign(runtime, last)
    return bundles.to_bytes(
        Bundle(
            entry=plain(entry),
            transcript=text,
            head=signed.head,
            signature=signed.signature,
            public_key=signed.public_key,
            links=tuple(links),
        )
    )


def _gone(runtime: Runtime, entry: EvidenceEntry) -> str:
    days = runtime.settings.retention.transcripts_days
    is_old = entry.at_ms <= runtime.now().unix_ms - days * DAY_MS
    why = f"is kept no more, {days} days after it was judged" if is_old else "is missing on the server's disk"
    left = f"its digest and the verdict are entry {entry.seq} of the chain"
    return f"the transcript of challenge {entry.challenge} {why}, so it cannot be judged again; {left}"
