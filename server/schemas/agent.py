"""What a node's agent says: the records of scheduler/wire.py with bounds on everything, for nobody is trusted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from scheduler import records, wire
from server.schemas.base import Document, Id, Path, Sha256, View, example

LocalStateName = Literal[
    "preparing",
    "prepared",
    "starting",
    "running",
    "frozen",
    "stopping",
    "exited",
    "timeout",
    "prepare_failed",
    "vanished",
]
BootId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class ArtifactDocument(Document):
    """A file that was uploaded already."""

    model_config = Document.model_config | example(
        path="model/weights.safetensors", sha256="9f" * 32, size_bytes=1 << 20
    )

    path: Path
    sha256: Sha256
    size_bytes: int = Field(ge=0, le=1 << 50)


class HeldDocument(Document):
    """One attempt as its agent sees it."""

    model_config = Document.model_config | example(token=4711, state="running")

    token: Id
    state: LocalStateName
    exit_code: int | None = Field(default=None, ge=0, le=255, description="as a shell shows it: 128 + n for signal n")
    reason: str = Field(default="", max_length=4000)
    artifacts: Annotated[list[ArtifactDocument], Field(max_length=10_000)] = Field(default_factory=list)
    frozen_ms: int = Field(default=0, ge=0, le=1 << 45)

    def record(self) -> wire.Held:
        """The same as the rules know it."""
        artifacts = [records.Artifact(path=a.path, sha256=a.sha256, size_bytes=a.size_bytes) for a in self.artifacts]
        return wire.Held(
            token=self.token,
            state=self.state,
            exit_code=self.exit_code,
            reason=self.reason,
            artifacts=tuple(artifacts),
            frozen_ms=self.frozen_ms,
        )


class SyncDocument(Document):
    """State in: all that the agent holds."""

    model_config = Document.model_config | example(
        boot_id="5e0c9a52-9f0e-4a7e-8f5f-0c5f1a2b3c4d", held=[{"token": 4711, "state": "running"}], wait=True
    )

    boot_id: BootId
    held: Annotated[list[HeldDocument], Field(max_length=16_384)]
    wait: bool = True
    qualifying: bool = False
    load_busy_ratio: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)

    def record(self) -> wire.SyncRequest:
        """The same as the rules know it."""
        return wire.SyncRequest(
            boot_id=self.boot_id,
            held=tuple(held.record() for held in self.held),
            wait=self.wait,
            qualifying=self.qualifying,
            load_busy_ratio=self.load_busy_ratio,
        )


class RegisterDocument(Document):
    """An agent that starts: what it runs on."""

    model_config = Document.model_config | example(boot_id="5e0c9a52-9f0e-4a7e-8f5f-0c5f1a2b3c4d")

    boot_id: BootId


class HelloView(View):
    """What the next request is signed with."""

    model_config = View.model_config | example(server_boot=12, epoch=4)

    server_boot: int
    epoch: int


class WishView(View):
    """What the server wants of one attempt."""

    model_config = View.model_config | example(token=4711, desired="run", assignment=None, reason="")

    token: int
    desired: Literal["prepare", "start", "run", "stop", "forget"]
    assignment: dict[str, Any] | None = Field(
        description="all a node needs to run it, while the agent does not hold it"
    )
    reason: str


class SyncView(View):
    """Wishes out; an attempt that is held and not named is superseded."""

    model_config = View.model_config | example(
        wishes=[], lease_ms=10_000, next_sync_ms=3000, qualify=False, prove=False
    )

    wishes: list[WishView]
    lease_ms: int
    next_sync_ms: int
    qualify: bool
    prove: bool


class LogSizeView(View):
    """How long the stream is now: where the next append begins, unless it is full and takes nothing more."""

    model_config = View.model_config | example(size_bytes=8192, full=False)

    size_bytes: int
    full: bool


class StoredView(View):
    """Content that is kept now."""

    model_config = View.model_config | example(sha256="9f" * 32, size_bytes=1048576)

    sha256: str
    size_bytes: int
