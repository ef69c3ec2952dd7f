"""Challenges and evidence as they are shown; what nodes answer is read by qualify/proof itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from qualify.proof.verdict import Outcome
from server.schemas.base import View, example

_CHALLENGE = "5f" * 16
_ENTRY: dict[str, Any] = {
    "seq": 17,
    "prev": "00" * 32,
    "challenge": _CHALLENGE,
    "node": 3,
    "transcript_sha256": "9f" * 32,
    "verdict": {"outcome": "pass", "why": "", "figures": {}, "devices": {}, "verifier": "rsc-1/1"},
    "verifier": "rsc-1/1",
    "at_ms": 1_767_225_600_000,
}
_HEAD: dict[str, Any] = {"seq": 17, "digest": "ab" * 32, "at_ms": 1_767_225_600_000}


class IssuedView(View):
    """A challenge as a node gets it: protocol rsc-1, qualify/proof/challenge.py."""

    model_config = View.model_config | example(challenge={"id": _CHALLENGE}, device_kind="cpu")

    challenge: dict[str, Any]
    device_kind: Literal["cpu", "cuda"]


class EpochAnswerView(View):
    """The next salt, or the places that are to be opened: device -> [segment, unit, commit]."""

    model_config = View.model_config | example(epoch=0, salt="ab" * 32)

    epoch: int | None = None
    salt: str | None = None
    open: dict[str, list[list[int]]] | None = None


class AcceptedView(View):
    """The answer is whole; its verdict comes later."""

    model_config = View.model_config | example(challenge=_CHALLENGE, state="answered")

    challenge: str
    state: Literal["answered"]


class ChallengeView(View):
    """A challenge as its node's supplier sees it."""

    model_config = View.model_config | example(
        id=_CHALLENGE, node=3, level="light", kind="compute", phase=0, phases=2, state="done",
        issued_ms=1_767_225_600_000, expires_ms=1_767_225_660_000, outcome="pass", why="", entry=17,
    )  # fmt: skip

    id: str
    node: int
    level: Literal["light", "full"]
    kind: Literal["compute", "memory"]
    phase: int = Field(description="of the check, from 0")
    phases: int
    state: Literal["issued", "used", "asked", "answered", "done"]
    issued_ms: int
    expires_ms: int
    outcome: Outcome | None
    why: str
    entry: int | None = Field(description="of its evidence")


class EntryView(View):
    """A link of the chain of evidence; each is bound to the one before by its digest."""

    model_config = View.model_config | example(**_ENTRY)

    seq: int
    prev: str
    challenge: str
    node: int
    transcript_sha256: str
    verdict: dict[str, Any]
    verifier: str
    at_ms: int


class HeadView(View):
    """The chain as it stands."""

    model_config = View.model_config | example(**_HEAD)

    seq: int = Field(description="of the newest entry; 0 before the first")
    digest: str
    at_ms: int


class EvidencePage(View):
    """Some of the chain, oldest first, and the server's word for the whole of it."""

    model_config = View.model_config | example(
        items=[_ENTRY], next_cursor=None, head=_HEAD, signature="cd" * 64, public_key="ef" * 32
    )

    items: list[EntryView]
    next_cursor: str | None
    head: HeadView
    signature: str = Field(description="Ed25519, of the head")
    public_key: str


class BundleView(View):
    """A verdict with all it rests on: `gridmark verify-evidence` judges it again."""

    model_config = View.model_config | example(
        entry=_ENTRY, transcript="{}", head=_HEAD, signature="cd" * 64, public_key="ef" * 32, links=[]
    )

    entry: EntryView
    transcript: str
    head: HeadView
    signature: str
    public_key: str
    links: list[str]
