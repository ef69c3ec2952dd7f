"""What a node's agent and the server say to each other: one call, state in, wishes out.

Every request of an agent is signed with the node's Ed25519 key over `signed_text`. The server's boot number, the
node's epoch and a sequence number are part of it, so a captured request is of no use later or elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scheduler.records import Artifact, JobSpec

#: headers of an agent's request
HEADER_NODE = "Gridmark-Node"
HEADER_EPOCH = "Gridmark-Epoch"
HEADER_BOOT = "Gridmark-Server-Boot"
HEADER_SEQ = "Gridmark-Seq"
HEADER_SIGNATURE = "Gridmark-Signature"
HEADERS = (HEADER_NODE, HEADER_EPOCH, HEADER_BOOT, HEADER_SEQ, HEADER_SIGNATURE)

#: what an agent says of an attempt it holds
LocalState = Literal[
    "preparing",  # fetching image and inputs
    "prepared",  # ready, waits for `start`
    "starting",
    "running",
    "frozen",
    "stopping",
    "exited",  # ended by itself or because it was asked to; `exit_code` says how
    "timeout",  # stopped because it ran longer than its limit
    "prepare_failed",
    "vanished",  # its supervisor is gone and left no exit code
]
#: what the server wants of an attempt
Desired = Literal["prepare", "start", "run", "stop", "forget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One attempt as its agent sees it."""

    token: int
    state: LocalState
    exit_code: int | None = None  #: as a shell shows it: 128 + n for signal n
    reason: str = ""
    artifacts: tuple[Artifact, ...] = ()  #: uploaded already, with `exited`
    frozen_ms: int = 0  #: in all so far; not billed, and not counted against max_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """What the agent tells."""

    boot_id: str  #: of the node's kernel; another one than before means that nothing of before runs
    held: tuple[Held, ...]  #: every attempt it knows of, ended ones until they are told to be forgotten
    wait: bool = True  #: whether the answer may be held back while there is nothing to say
    qualifying: bool = False
    load_busy_ratio: float | None = None  #: of all CPUs, since the sync before


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """All a node needs to run an attempt; sent with the first wish for it and whenever the agent does not hold it."""

    job: int
    n: int
    spec: JobSpec
    gpus: tuple[int, ...]
    checkpoint_sha256: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)  #: name -> value; never written to disk or a log


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the server wants of one attempt."""

    token: int
    desired: Desired
    assignment: Assignment | None = None  #: with prepare and start
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncAnswer:
    """What the server answers.

    An attempt that the agent holds and that is not named is superseded: it is killed and wiped.
    """

    wishes: tuple[Wish, ...]
    lease_ms: int
    next_sync_ms: int  #: after which the agent syncs again at the latest; at once when something changes
    qualify: bool = False  #: the node is due and idle: measure it
    prove: bool = False  #: it is due and idle: fetch a challenge and answer it


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The part of a request that its signature binds."""

    method: str
    target: str  #: path and query, as sent
    server_boot: int
    node: int
    epoch: int
    seq: int
    body_sha256: str


def digest(body: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(body).hexdigest()


def signed_text(envelope: Envelope) -> bytes:
    """The bytes that are signed: one field a line, so that no two envelopes share a text."""
    fields = (
        "gridmark-v1",
        envelope.method.upper(),
        envelope.target,
        str(envelope.server_boot),
        str(envelope.node),
        str(envelope.epoch),
        str(envelope.seq),
        envelope.body_sha256,
    )
    return "\n".join(fields).encode()
