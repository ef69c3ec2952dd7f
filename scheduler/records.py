"""What the market remembers: nodes, jobs and their attempts, as frozen rows with units in their names.

One row = one line of the table of the same name in store/schema.py. Times are milliseconds of Unix time; money is
micro-dollars; a GPU, a CPU or a price share is counted in thousandths ("milli").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scheduler.figure import Figure as Figure
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.proofs.rows import Proof

Role = Literal["renter", "supplier", "operator"]
Stream = Literal["out", "err"]
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a job occupies on its node; either whole GPUs or a share of one."""

    gpus: int = 0
    gpu_milli: int = 0  #: 1..999, of one GPU, where the supplier shares GPUs; 0 with whole GPUs or none
    cpu_milli: int = 1000
    memory_bytes: int = 512 * MIB
    disk_bytes: int = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a node has, or has left."""

    gpu_milli: tuple[int, ...] = ()  #: per GPU; 1000 = whole
    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file, or an archive to unpack, that is in the job's folder when it starts; from a blob or from a URL."""

    to: str  #: relative path inside the job's folder; of an archive, the folder it is unpacked into
    sha256: str  #: of the content; what it is cached by
    url: str | None = None  #: None = a blob that its owner uploaded
    size_bytes: int | None = None
    unpack: bool = False  #: a tar archive, gzipped or not
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much there is to do, in a measured rate's own unit: what `finish_cheapest` and `fastest` count with."""

    metric: str  #: e.g. "matmul.bf16" (FLOP/s), "memory.triad" (B/s)
    amount: float  #: e.g. FLOP, bytes; > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a renter wants run, as checked and with every default filled in."""

    name: str
    command: tuple[str, ...]
    image: str | None = None  #: None = the executor `process`
    resources: Resources = field(default_factory=Resources)
    where: str = ""  #: the offers' language
    region: str | None = None
    max_price_uh: int | None = None  #: micro-dollars per hour of the share it takes
    max_duration_s: int | None = None  #: of one attempt, frozen time left out
    deadline_ms: int | None = None  #: Unix; after it the job expires
    retries: int = 0
    recover_on_exit_codes: tuple[int, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()  #: names only; the values are sealed in the store
    inputs: tuple[Input, ...] = ()
    artifacts: tuple[str, ...] = ()  #: globs relative to the job's folder
    checkpoint: str | None = None  #: a folder that travels to the next attempt
    policy: str = "finish_cheapest"
    work: Work | None = None
    priority: int = 0  #: among the jobs of its own account
    preemptible: bool = False  #: a job that is not may take its place; it is placed again
    network: bool = True  #: containers: whether it has one
    read_only: bool = False  #: containers: the root file system
    stop_grace_s: int = 10
    hold_s: int = 600  #: frozen longer than this without contact, it is killed
    log_quota_bytes: int = 50 * MIB  #: per stream; what comes after is dropped and said


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketNode:
    """A node as the market knows it. A row of `node`."""

    id: int
    name: str
    supplier: int
    public_key: str  #: Ed25519, hex
    machine: str  #: Node.id of its reports: who it says it is; "" until its first report
    epoch: int = 0  #: raised by every registration; what carries an older one is refused
    boot_id: str = ""
    standing: Standing = Standing.NEW
    online: bool = False
    draining: bool = False
    why: str = ""  #: why it stands as it does
    device_kind: Literal["cpu", "cuda"] = "cpu"
    model: str = ""  #: of its GPUs, or of its CPU where it has none
    capacity: Capacity = field(default_factory=Capacity)
    vram_bytes: int = 0  #: per GPU, and no more than is proved
    region: str = ""
    price_uh: int = 0  #: micro-dollars per hour of the whole node
    executors: tuple[str, ...] = ()
    shares_gpus: bool = False
    figures: Mapping[str, Figure] = field(default_factory=dict)  #: measured, cut to what is proved; and what is proved
    capability: Mapping[str, float] = field(default_factory=dict)  #: workload profile -> value
    health: float | None = None
    report_id: str = ""
    reported_ms: int | None = None
    due_ms: int | None = None  #: when it is to be measured again
    enrolled_ms: int = 0
    lost_jobs: tuple[int, ...] = ()  #: different jobs it lost since it was last measured
    proof: Proof = field(default_factory=Proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row of `job`."""

    id: int
    owner: int
    idempotency_key: str
    spec: JobSpec
    state: JobState = JobState.QUEUED
    token: int | None = None  #: of its live attempt, or of its last
    attempts: int = 0
    retries_used: int = 0
    replacements: int = 0
    next_at_ms: int = 0  #: when it may be placed, in BACKOFF
    reason: str = ""  #: why it is where it is; of a queued one, what stops it
    created_ms: int = 0
    ended_ms: int | None = None
    exit_code: int | None = None
    checkpoint_sha256: str | None = None  #: the newest one committed by a current token
    checkpoint_ms: int | None = None  #: when it was
    crash_exit: int | None = None  #: exit code of its program's last failure
    crash_nodes: tuple[int, ...] = ()  #: nodes on which it ended with that code, each once
    lost_nodes: tuple[int, ...] = ()  #: nodes that lost it; avoided while another will do
    cancelled: bool = False  #: asked for; its attempt may still have to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job on one node. A row of `attempt`."""

    token: int  #: the fencing token: from one counter, never used again
    job: int
    n: int  #: 1 for the first
    node: int
    node_epoch: int  #: at placement
    state: AttemptState = AttemptState.RESERVED
    resources: Resources
    gpus: tuple[int, ...] = ()  #: which of the node's
    price_uh: int = 0  #: of the share, at placement
    placed_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    exit_code: int | None = None
    reason: str = ""
    yields_to: int | None = None  #: the job for whose sake it was asked to end
    why: Mapping[str, object] = field(default_factory=dict)  #: why this node, and why not the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file a job left behind."""

    path: str  #: relative to the job's folder
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The one committed outcome of a job. A row of `result`."""

    job: int
    token: int
    exit_code: int
    artifacts: tuple[Artifact, ...]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Who did what, when, why. A row of `event`, which is only ever added to."""

    seq: int
    at_ms: int
    kind: str  #: "job.queued", "attempt.placed", "node.offline" …
    actor: str  #: "account 3", "node 7", "server"
    job: int | None = None
    token: int | None = None
    node: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may call the server. A row of `account`; tokens are kept as digests only."""

    id: int
    name: str
    role: Role
    token_sha256: str  #: hex; a token has 256 random bits, so a plain digest hides it
    created_ms: int
    revoked_ms: int | None = None
    weight_milli: int = 1000  #: of its turn, where jobs of several accounts wait
    jobs_max: int | None = None  #: not yet ended; None = as many as the server lets anybody have, as the two below
    gpu_milli_max: int | None = None  #: held at once
    cpu_milli_max: int | None = None  #: held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Content that an account uploaded and may name in its jobs. A row of `blob`."""

    owner: int
    sha256: str
    size_bytes: int
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A finding of a report in short; evidence stands in the report itself."""

    code: str
    severity: Literal["info", "warning", "failure"]
    text: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEntry:
    """That a node was measured. A row of `report`; the document itself is a file."""

    id: str
    node: int
    at_ms: int
    verdict: Literal["qualified", "not_qualified", "unknown"]
    profile: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigure:
    """A figure as it once was. A row of `figure`: the history behind MarketNode.figures."""

    node: int
    metric: str
    figure: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A secret of a job, readable with the key file only. A row of `secret`, which goes when the job has ended."""

    job: int
    name: str
    sealed: bytes
