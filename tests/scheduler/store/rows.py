"""Rows with every field filled in, a core that is only a book, and a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from scheduler.book import Book, Counters
from scheduler.clock import Now
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.proofs.rows import Aside, Challenge, ChallengeState, Check, EvidenceEntry, Proof
from scheduler.records import (
    Account,
    Artifact,
    Attempt,
    Blob,
    Capacity,
    Event,
    Figure,
    Input,
    Job,
    JobSpec,
    MarketNode,
    NodeFigure,
    Remark,
    ReportEntry,
    Resources,
    Result,
    Work,
)

GIB = 1 << 30
SHA = "ab" * 32

ACCOUNT = Account(id=1, name="Ada", role="renter", token_sha256="11" * 32, created_ms=1_000)
FIGURE = Figure(value=6e14, low=5.9e14, high=6.1e14, n=40, at_ms=2_000)
NODE = MarketNode(
    id=1,
    name="rig",
    supplier=1,
    public_key="22" * 32,
    machine="m-1",
    epoch=3,
    boot_id="boot-1",
    standing=Standing.READY,
    online=True,
    why="qualified",
    device_kind="cuda",
    model="H100 SXM",
    capacity=Capacity(gpu_milli=(1000, 1000), cpu_milli=16_000, memory_bytes=64 * GIB, disk_bytes=100 * GIB),
    vram_bytes=80 * GIB,
    region="eu",
    price_uh=4_000_000,
    executors=("process", "container"),
    shares_gpus=True,
    figures={"matmul.bf16": FIGURE},
    capability={"training": 98.5},
    health=0.97,
    report_id="r1",
    reported_ms=2_000,
    due_ms=90_000,
    enrolled_ms=1_500,
    lost_jobs=(8, 9),
    proof=Proof(
        figures={"proved.bf16_flops": Figure(value=5e14, low=4e14, high=6e14, n=5, at_ms=3_000, unit="FLOP/s")},
        proved_ms=3_000,
        outcome="pass",
        devices=("GPU-1", "GPU-2"),
        claims={"matmul.bf16": FIGURE},
        claimed_vram_bytes=90 * GIB,
        claimed_capability={"training": 99.5},
        light_due_ms=5_000,
        full_due_ms=6_000,
        check=Check(level="light", began_ms=4_000, phase=1, entries=(1,)),
        challenge=None,
        failed_ms=(1_000, 2_000),
        misses=1,
        bar="corruption",
        aside=Aside(standing=3, why="fine"),
    ),
)
SPEC = JobSpec(
    name="train",
    command=("python", "train.py", "--name", "Grüße"),
    image="python:3.12",
    resources=Resources(gpus=1, cpu_milli=2_000, memory_bytes=8 * GIB, disk_bytes=GIB),
    where="p05(matmul.bf16) >= 500 TFLOP/s",
    region="eu",
    max_price_uh=5_000_000,
    max_duration_s=600,
    deadline_ms=99_000,
    retries=2,
    recover_on_exit_codes=(75,),
    env={"LANG": "C.UTF-8"},
    secrets=("TOKEN",),
    inputs=(Input(to="data.tar", sha256=SHA, size_bytes=10, unpack=True),),
    artifacts=("out/*",),
    checkpoint="state",
    work=Work(metric="matmul.bf16", amount=1e18),
    priority=5,
)
JOB = Job(id=1, owner=1, idempotency_key="key-1", spec=SPEC, reason="waits for a node", created_ms=3_000)
ATTEMPT = Attempt(
    token=1,
    job=1,
    n=1,
    node=1,
    node_epoch=3,
    resources=SPEC.resources,
    gpus=(1,),
    price_uh=2_000_000,
    placed_ms=4_000,
    why={"policy": "finish_cheapest", "others": [["node 2", "dearer"]], "cost": 1.5},
)
RESULT = Result(job=1, token=1, exit_code=0, artifacts=(Artifact(path="out/a", sha256=SHA, size_bytes=3),), at_ms=9_000)
EVENT = Event(seq=1, at_ms=3_000, kind="job.queued", actor="account 1", job=1, data={"key": "key-1"})
BLOB = Blob(owner=1, sha256=SHA, size_bytes=10, created_ms=2_500)
REMARK = Remark(code="CPU_SHARED", severity="warning", text="2 of 16 CPUs are busy", remedy="stop what uses them")
REPORT = ReportEntry(id="r1", node=1, at_ms=2_000, verdict="qualified", profile="quick", remarks=(REMARK,))
CHALLENGE = Challenge(
    id="5f" * 16,
    node=1,
    node_epoch=3,
    level="full",
    kind="memory",
    phase=1,
    phases=3,
    document='{"id":"5f"}',
    issued_ms=4_000,
    expires_ms=9_000,
)
DONE_CHALLENGE = replace(CHALLENGE, state=ChallengeState.DONE, outcome="pass", why="all of it", entry=1)
ENTRY = EvidenceEntry(
    seq=1,
    prev_sha256="0" * 64,
    sha256="cd" * 32,
    challenge=CHALLENGE.id,
    node=1,
    transcript_sha256=SHA,
    verdict={"outcome": "pass", "figures": {}},
    verifier="rsc-1/1",
    at_ms=8_000,
)
NODE_FIGURE = NodeFigure(node=1, metric="matmul.bf16", figure=FIGURE)

#: after the rows above
COUNTERS = Counters(node=2, job=2, token=2, event=2, account=2)


def job(number: int, *, key: str | None = None, secrets: tuple[str, ...] = ()) -> Job:
    """A queued job of account 1."""
    spec = replace(SPEC, secrets=secrets)
    return replace(JOB, id=number, idempotency_key=key or f"key-{number}", spec=spec)


def active(job: Job, token: int) -> Job:
    """The same job with a live attempt."""
    return replace(job, state=JobState.ACTIVE, token=token, attempts=job.attempts + 1, reason="")


def attempt(token: int, job: int, *, n: int = 1, state: AttemptState = AttemptState.RESERVED) -> Attempt:
    """A try of a job on node 1, with GPU 0 or 1 in turn."""
    return replace(ATTEMPT, token=token, job=job, n=n, state=state, gpus=(token % 2,))


class FakeClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = 0

    def now(self) -> Now:
        """The time it was set to."""
        return Now(self.ms, 1_000_000 + self.ms)


class FakeCore:
    """A book with nothing around it; what tick and dispatch do is up to the test."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.on_tick: Callable[[Now], None] = lambda now: None
        self.on_dispatch: Callable[[Now], int] = lambda now: 0
        self.dispatched = 0
        self.ticks: list[int] = []

    def tick(self, now: Now) -> None:
        """Do what the test wants."""
        self.ticks.append(now.mono_ms)
        self.on_tick(now)

    def dispatch(self, now: Now, limit: int = 512) -> int:
        """Do what the test wants."""
        self.dispatched += 1
        return self.on_dispatch(now)

    def touched(self) -> str:
        """A word that the test can recognise."""
        return "touched"
