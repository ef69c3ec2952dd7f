"""Nodes and offers: what a supplier sends to list one, and how they are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from qualify.proof.verdict import Outcome
from server.schemas.base import Document, Name, PriceUh, Region, View, example

ExecutorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
StandingName = Literal["new", "qualifying", "ready", "degraded", "quarantined", "retired"]
_FIGURE: dict[str, Any] = {
    "value": 3.11e12,
    "low": 3.09e12,
    "high": 3.13e12,
    "n": 90,
    "at_ms": 1_767_225_600_000,
    "unit": "FLOP/s",
}
_NODE: dict[str, Any] = {
    "id": 3,
    "name": "rack-7",
    "supplier": 2,
    "state": "ready",
    "standing": "ready",
    "online": True,
    "draining": False,
    "why": "",
    "device_kind": "cuda",
    "model": "H100 SXM",
    "capacity": {"gpu_milli": [1000] * 8, "cpu_milli": 192_000, "memory_bytes": 2 << 40, "disk_bytes": 7 << 40},
    "vram_bytes": 85_899_345_920,
    "region": "eu-north",
    "price_uh": 16_000_000,
    "executors": ["container"],
    "shares_gpus": False,
    "figures": {"matmul.bf16": _FIGURE},
    "capability": {"training": 101.5},
    "health": 0.98,
    "report_id": "a1b2c3d4e5f60718",
    "reported_ms": 1_767_225_600_000,
    "due_ms": 1_767_312_000_000,
    "enrolled_ms": 1_767_139_200_000,
    "proof": {
        "proved": True,
        "proved_ms": 1_767_225_700_000,
        "outcome": "pass",
        "why": "",
        "bar": None,
        "barred_until_ms": None,
        "claims": {},
        "claimed_vram_bytes": None,
        "locality": "unproven",
    },
}


class EnrolDocument(Document):
    """A supplier's node and the terms it is listed on; the request is signed with the node's key, which proves it."""

    model_config = Document.model_config | example(
        name="rack-7", public_key="d7" * 32, region="eu-north", price="2.10 $/h", executors=["container"]
    )

    name: Name
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$", description="Ed25519, hex")
    region: Region | Literal[""] = ""
    price: PriceUh = Field(description="of the whole node, $/h or with its unit")
    executors: Annotated[list[ExecutorName], Field(min_length=1, max_length=16)]
    shares_gpus: bool = False


class EnrolledView(View):
    """The node's number here, and what its next request is signed with."""

    model_config = View.model_config | example(id=3, epoch=0, server_boot=12)

    id: int
    epoch: int
    server_boot: int


class CapacityView(View):
    """What a node has."""

    model_config = View.model_config | example(
        gpu_milli=[1000], cpu_milli=16000, memory_bytes=1 << 36, disk_bytes=1 << 40
    )

    gpu_milli: list[int]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


class FigureView(View):
    """A measured figure."""

    model_config = View.model_config | example(**_FIGURE)

    value: float
    low: float | None
    high: float | None
    n: int
    at_ms: int
    unit: str


class OwnersView(View):
    """What only its supplier and operators see of a node."""

    model_config = View.model_config | example(
        public_key="d7" * 32, machine="3f2a", epoch=4, boot_id="f00d", lost_jobs=[], attempts=[]
    )

    public_key: str
    machine: str
    epoch: int
    boot_id: str
    lost_jobs: list[int]
    attempts: list[int] = Field(description="tokens of its live attempts")


class ProofView(View):
    """What its proofs say of a node."""

    model_config = View.model_config | example(**_NODE["proof"])

    proved: bool
    proved_ms: int | None = Field(description="when a check was last gone through, all its answers true")
    outcome: Outcome | None = Field(description="of the newest challenge")
    why: str
    bar: Literal["bench", "corruption", "count", "cheat"] | None = Field(description="why it gets no work")
    barred_until_ms: int | None
    claims: dict[str, FigureView] = Field(description="figures that are cut to what is proved, as its report has them")
    claimed_vram_bytes: int | None = Field(description="where less is proved")
    locality: Literal["unproven"] = Field(description="a proof says what was computed how fast, not where")


class NodeView(View):
    """A node as the market knows it."""

    model_config = View.model_config | example(**_NODE, owners=None)

    id: int
    name: str
    supplier: int
    state: str = Field(description="the one word for people: its standing, or offline, or draining")
    standing: StandingName
    online: bool
    draining: bool
    why: str
    device_kind: Literal["cpu", "cuda"]
    model: str
    capacity: CapacityView
    vram_bytes: int
    region: str
    price_uh: int
    executors: list[str]
    shares_gpus: bool
    figures: dict[str, FigureView]
    capability: dict[str, float]
    health: float | None
    report_id: str
    reported_ms: int | None
    due_ms: int | None
    enrolled_ms: int
    proof: ProofView
    owners: OwnersView | None


class NodePage(View):
    """Nodes by number: a supplier's own, an operator's all."""

    model_config = View.model_config | example(items=[], next_cursor=None)

    items: list[NodeView]
    next_cursor: str | None


class HistoryView(View):
    """The course of a figure, oldest first."""

    model_config = View.model_config | example(node=3, metric="matmul.bf16", items=[_FIGURE])

    node: int
    metric: str
    items: list[FigureView]


class RemarkView(View):
    """A finding in short."""

    model_config = View.model_config | example(
        code="memory.slow", severity="warning", text="12 % below expectation", remedy="seat the DIMMs"
    )

    code: str
    severity: Literal["info", "warning", "failure"]
    text: str
    remedy: str


class ReportView(View):
    """That a node was measured."""

    model_config = View.model_config | example(
        id="a1b2c3d4e5f60718", node=3, at_ms=1_767_225_600_000, verdict="qualified", profile="quick", remarks=[]
    )

    id: str
    node: int
    at_ms: int
    verdict: Literal["qualified", "not_qualified", "unknown"]
    profile: str
    remarks: list[RemarkView]


class ReportPage(View):
    """Reports, newest first."""

    model_config = View.model_config | example(items=[], next_cursor=None)

    items: list[ReportView]
    next_cursor: str | None


class DueView(View):
    """A node whose figures are stale, or soon will be."""

    model_config = View.model_config | example(
        id=3, name="rack-7", state="degraded", reported_ms=1_767_225_600_000, due_ms=1_767_312_000_000
    )

    id: int
    name: str
    state: str
    reported_ms: int | None
    due_ms: int | None


class DuePage(View):
    """Nodes that are due, the longest overdue first."""

    model_config = View.model_config | example(items=[])

    items: list[DueView]
