"""What the market remembers of proofs: where each node stands, the challenges it was given, and the evidence.

A *check* of a node is several challenges, one after another; a *challenge* is one run of the chain (kernels/chain),
answered once. A verdict over its transcript is evidence, which is only ever added to.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from qualify.proof.verdict import Outcome
from scheduler.figure import Figure

Level = Literal["light", "full"]
Kind = Literal["compute", "memory"]
#: why a node gets no work: silent too often, a fault of its hardware, fewer devices than it says, a proven lie
Bar = Literal["", "bench", "corruption", "count", "cheat"]
#: `prev_sha256` of the first entry
NO_ENTRY = "0" * 64


class ChallengeState(enum.IntEnum):
    """How far a challenge is; it only goes on, and below DONE it is in flight."""

    ISSUED = 1  #: written down before it was sent
    USED = 2  #: answered to for the first time: it can never be begun again
    ASKED = 3  #: its rows are drawn: whoever falls silent now has seen them
    ANSWERED = 4  #: its transcript is whole and is being judged
    DONE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge. A row of `challenge`."""

    id: str  #: 32 hexadecimal digits
    node: int
    node_epoch: int  #: when it was issued
    level: Level
    kind: Kind
    phase: int  #: of the check's, from 0
    phases: int
    document: str  #: the challenge itself, as JSON (qualify/proof/challenge.py)
    state: ChallengeState = ChallengeState.ISSUED
    issued_ms: int
    expires_ms: int
    outcome: Outcome | None = None
    why: str = ""
    entry: int | None = None  #: of its evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceEntry:
    """That a transcript was judged. A row of `evidence`: a link of a chain, never changed."""

    seq: int
    prev_sha256: str  #: of the entry before; NO_ENTRY for the first
    sha256: str  #: of this entry
    challenge: str
    node: int
    transcript_sha256: str  #: the transcript itself is a file
    verdict: Mapping[str, object]
    verifier: str  #: the version that judged
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check under way."""

    level: Level
    began_ms: int
    phase: int = 0  #: the one that comes next
    repeated: bool = False  #: one challenge was given again after a cold start
    fell_short: bool = False  #: one of them was below its floor
    entries: tuple[int, ...] = ()  #: numbers of its evidence so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What a barred node would stand as."""

    standing: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Where a node stands with its proofs; a part of its row."""

    figures: Mapping[str, Figure] = field(default_factory=dict)  #: what is proved, by its key: "proved.bf16_flops" …
    proved_ms: int | None = None  #: when a check was last gone through, all its answers true
    outcome: Outcome | None = None  #: of the newest challenge
    why: str = ""
    devices: tuple[str, ...] = ()  #: who its devices say they are
    claims: Mapping[str, Figure] = field(default_factory=dict)  #: figures that are cut, as its report claims them
    bf16_most_flops: float | None = None  #: of a part that calls itself as its devices do; None = unknown
    claimed_vram_bytes: int | None = None  #: likewise
    claimed_capability: Mapping[str, float] = field(default_factory=dict)  #: likewise
    light_due_ms: int | None = None
    full_due_ms: int | None = None
    check: Check | None = None
    challenge: str | None = None  #: in flight
    not_before_ms: int = 0  #: no challenge earlier
    failed_ms: tuple[int, ...] = ()  #: attempts that failed within a day
    misses: int = 0  #: attempts that failed since one was answered as it should be
    was_forgiven: bool = False  #: a protocol error; any other counts until an answer is true
    warm_epoch: int | None = None  #: the registration for which the one free measurement after a cold start was used
    was_corrupt: bool = False  #: a wrong answer was taken for a fault of its hardware, once for good
    bar: Bar = ""  #: why it gets no work
    barred_until_ms: int | None = None
    aside: Aside | None = None
