"""What the server answers people: jobs, attempts, results, events, accounts, blobs and problems."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from server.schemas.base import View, example

JobStateName = Literal["queued", "backoff", "active", "done", "failed", "cancelled", "expired"]
AttemptStateName = Literal[
    "reserved",
    "preparing",
    "starting",
    "running",
    "frozen",
    "stopping",
    "succeeded",
    "app_failed",
    "lost",
    "preempted",
    "prepare_failed",
    "supplier_fault",
    "cancelled",
    "timeout",
]
RoleName = Literal["renter", "supplier", "operator"]
_ATTEMPT: dict[str, Any] = {
    "token": 4711,
    "n": 1,
    "node": 3,
    "state": "running",
    "gpus": [0],
    "price_uh": 2_100_000,
    "placed_ms": 1_767_225_600_000,
    "started_ms": 1_767_225_600_180,
    "ended_ms": None,
    "exit_code": None,
    "reason": "",
    "why": {"policy": "finish_cheapest"},
}
_JOB: dict[str, Any] = {
    "id": 7,
    "owner": 3,
    "name": "train",
    "command": ["python", "train.py"],
    "image": None,
    "state": "active",
    "reason": "",
    "exit_code": None,
    "attempts": 1,
    "retries_used": 0,
    "replacements": 0,
    "priority": 0,
    "created_ms": 1_767_225_600_000,
    "next_at_ms": 0,
    "ended_ms": None,
    "cancelled": False,
    "checkpoint_sha256": None,
}


class ProblemView(View):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow", frozen=True) | example(
        type="/problems/not-found",
        title="There is no such thing, or not for this caller",
        status=404,
        detail="there is no job 12",
        request_id="5f0c6d3b9e8a4c1d",
    )

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FaultView] = Field(default_factory=list)


class FaultView(View):
    """One thing wrong with what was sent."""

    model_config = View.model_config | example(
        at="body.resources.gpus", text="Input should be less than or equal to 64"
    )

    at: str
    text: str


class JobView(View):
    """A job as lists show it."""

    model_config = View.model_config | example(**_JOB)

    id: int
    owner: int
    name: str
    command: list[str]
    image: str | None
    state: JobStateName
    reason: str = Field(description="why it is where it is; of a queued one, what stops it and the nearest miss")
    exit_code: int | None
    attempts: int
    retries_used: int
    replacements: int
    priority: int
    created_ms: int
    next_at_ms: int
    ended_ms: int | None
    cancelled: bool = Field(description="asked for; its attempt may still have to end")
    checkpoint_sha256: str | None


class AttemptView(View):
    """One try of a job on one node."""

    model_config = View.model_config | example(**_ATTEMPT)

    token: int
    n: int
    node: int
    state: AttemptStateName
    gpus: list[int]
    price_uh: int = Field(description="micro-dollars per hour of the share it takes")
    placed_ms: int
    started_ms: int | None
    ended_ms: int | None
    exit_code: int | None
    reason: str
    why: dict[str, Any] = Field(description="why this node, and why not the others")


class ArtifactView(View):
    """A file a job left behind."""

    model_config = View.model_config | example(path="model/weights.safetensors", sha256="9f" * 32, size_bytes=1048576)

    path: str
    sha256: str
    size_bytes: int


class ResultView(View):
    """The one committed outcome of a job."""

    model_config = View.model_config | example(token=4711, exit_code=0, artifacts=[], at_ms=1_767_225_660_000)

    token: int
    exit_code: int
    artifacts: list[ArtifactView]
    at_ms: int


class JobDetailView(JobView):
    """A job in full."""

    model_config = JobView.model_config | example(**_JOB, spec={"name": "train"}, tries=[_ATTEMPT], result=None)

    spec: dict[str, Any] = Field(description="as checked, with every default; of secrets the names only")
    tries: list[AttemptView] = Field(description="oldest first")
    result: ResultView | None


class JobPage(View):
    """Jobs, newest first."""

    model_config = View.model_config | example(items=[_JOB], next_cursor=None)

    items: list[JobView]
    next_cursor: str | None


class ManifestView(View):
    """What a job left behind; empty until its result is committed."""

    model_config = View.model_config | example(job=7, complete=True, artifacts=[])

    job: int
    complete: bool = Field(description="whether the result is committed; nothing is added any more then")
    artifacts: list[ArtifactView]


class EventView(View):
    """Who did what, when, why."""

    model_config = View.model_config | example(
        seq=42,
        at_ms=1_767_225_600_000,
        kind="job.queued",
        actor="account 3",
        job=7,
        token=None,
        node=None,
        data={},
    )

    seq: int
    at_ms: int
    kind: str
    actor: str
    job: int | None
    token: int | None
    node: int | None
    data: dict[str, Any]


class EventPage(View):
    """Events, oldest first."""

    model_config = View.model_config | example(items=[], next_cursor=None)

    items: list[EventView]
    next_cursor: str | None = Field(description="None: these are the newest; ask again with the last seq as `after`")


class BlobView(View):
    """Content of an account that its jobs may name."""

    model_config = View.model_config | example(sha256="9f" * 32, size_bytes=1048576, created_ms=1_767_225_600_000)

    sha256: str
    size_bytes: int
    created_ms: int


class AccountView(View):
    """Somebody who may call."""

    model_config = View.model_config | example(
        id=3, name="alice", role="renter", created_ms=1_767_225_600_000, revoked_ms=None,
        weight_milli=1000, jobs_max=None, gpu_milli_max=None, cpu_milli_max=None,
    )  # fmt: skip

    id: int
    name: str
    role: RoleName
    created_ms: int
    revoked_ms: int | None
    weight_milli: int = Field(description="of its turn, where jobs of several accounts wait")
    jobs_max: int | None = Field(description="not yet ended; None: as many as the server lets anybody have")
    gpu_milli_max: int | None = Field(description="held at once")
    cpu_milli_max: int | None = Field(description="held at once")


class AccountCreatedView(AccountView):
    """A new account; its token is shown this once."""

    model_config = AccountView.model_config | example(
        id=3,
        name="alice",
        role="renter",
        created_ms=1_767_225_600_000,
        revoked_ms=None,
        weight_milli=1000,
        jobs_max=None,
        gpu_milli_max=None,
        cpu_milli_max=None,
        token="gm_" + "A" * 43,
    )

    token: str


class AccountPage(View):
    """Accounts, oldest first."""

    model_config = View.model_config | example(items=[], next_cursor=None)

    items: list[AccountView]
    next_cursor: str | None


class BackupView(View):
    """Where a consistent copy of the database was put."""

    model_config = View.model_config | example(file="gridmark-20260101T000000Z.db", size_bytes=1048576)

    file: str = Field(description="inside the folder `backups` of the server's data folder")
    size_bytes: int


class HealthView(View):
    """Whether the server can do its work."""

    model_config = View.model_config | example(status="ok")

    status: Literal["ok"]
