"""Offers as they are shown, and why a query finds nothing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from server.schemas.base import View, example
from server.schemas.nodes import FigureView

_PROVED = {
    "value": 6.42e14,
    "low": 6.38e14,
    "high": 6.44e14,
    "n": 58,
    "at_ms": 1_767_228_000_000,
    "unit": "FLOP/s",
}
_OFFER: dict[str, Any] = {
    "node": 3,
    "name": "rack-7",
    "device_kind": "cuda",
    "model": "H100 SXM",
    "count": 8,
    "free": 6,
    "vram_bytes": 85_899_345_920,
    "cpus": 192.0,
    "cpus_free": 144.0,
    "memory_bytes": 2_199_023_255_552,
    "memory_free_bytes": 1_649_267_441_664,
    "disk_bytes": 7_696_581_394_432,
    "disk_free_bytes": 7_696_581_394_432,
    "price_uh": 16_000_000,
    "region": "eu-north",
    "standing": "ready",
    "why": "",
    "is_fresh": True,
    "shares_gpus": False,
    "executors": ["container"],
    "health": 0.98,
    "capability": {"training": 101.5},
    "figures": {
        "matmul.bf16": {
            "value": 6.91e14,
            "low": 6.88e14,
            "high": 6.93e14,
            "n": 90,
            "at_ms": 1_767_225_600_000,
            "unit": "FLOP/s",
        }
    },
    "age_s": 3600.0,
    "proved": {"bf16_flops": {**_PROVED, "age_s": 1200.0}},
    "proof_age_s": 1200.0,
    "locality": "unproven",
    "ages_s": {"matmul.bf16": 3610.5},
}


class ProvedView(FigureView):
    """A figure that the server checked itself."""

    model_config = View.model_config | example(**_PROVED, age_s=1200.0)

    age_s: float


class OfferView(View):
    """A node as renters see it."""

    model_config = View.model_config | example(**_OFFER)

    node: int
    name: str
    device_kind: Literal["cpu", "cuda"]
    model: str
    count: int = Field(description="GPUs")
    free: int = Field(description="GPUs of which nothing is in use")
    vram_bytes: int
    cpus: float
    cpus_free: float
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    price_uh: int = Field(description="micro-dollars per hour of the whole node")
    region: str
    standing: str
    why: str
    is_fresh: bool
    shares_gpus: bool
    executors: list[str]
    health: float | None
    capability: dict[str, float]
    figures: dict[str, FigureView]
    age_s: float | None = Field(description="of its newest report")
    proved: dict[str, ProvedView] = Field(
        description="int8_ops_per_s, bf16_flops, memory_bytes, memory_bandwidth of the whole node, as far as they were "
        "proved; what it claims is cut to them. Empty: unproved"
    )
    proof_age_s: float | None = Field(description="since its proofs were last gone through")
    locality: Literal["unproven"] = Field(description="a proof says what was computed how fast, not where")
    ages_s: dict[str, float] = Field(
        description="of what is proved, and of the figures that the query or the order names"
    )


class RejectionView(View):
    """What one condition rejects by itself."""

    model_config = View.model_config | example(condition="price < 2.50 $/h", nodes=12, unknown=0)

    condition: str
    nodes: int
    unknown: int


class RelaxationView(View):
    """One condition changed, and how many nodes the whole query then finds."""

    model_config = View.model_config | example(
        before="price < 2.50 $/h", after="price < 2.61 $/h", matches=3, change=0.044
    )

    before: str
    after: str | None = Field(description="None: left out altogether")
    matches: int
    change: float | None = Field(description="of the bound, relative to itself; None where there is no bound to move")


class ExplanationView(View):
    """Why a query finds what it finds."""

    model_config = View.model_config | example(
        sentence="price < 2.50 $/h -> price < 2.61 $/h gives 3 nodes",
        among=40,
        matches=0,
        rejections=[],
        relaxations=[],
        together=[],
        together_matches=0,
    )

    sentence: str
    among: int = Field(description="nodes that were asked")
    matches: int
    rejections: list[RejectionView]
    relaxations: list[RelaxationView] = Field(description="of one condition each, the smallest change first")
    together: list[str] = Field(description="where none of these helps: conditions that all have to give way")
    together_matches: int


class OfferPageView(View):
    """Offers in the order asked for."""

    model_config = View.model_config | example(
        items=[_OFFER], next_cursor=None, count=1, at_ms=1_767_229_200_000, named=["matmul.bf16"], explanation=None
    )

    items: list[OfferView]
    next_cursor: str | None
    count: int = Field(description="found in all")
    at_ms: int
    named: list[str] = Field(description="figures that the query or the order names")
    explanation: ExplanationView | None = Field(description="of a query that found nothing, or on request")


class FieldView(View):
    """Something a query may name."""

    model_config = View.model_config | example(
        name="matmul.bf16", kind="number", about="measured, in FLOP/s", unit="FLOP/s", is_figure=True
    )

    name: str
    kind: Literal["number", "text", "truth"]
    about: str
    unit: str
    is_figure: bool


class FieldsView(View):
    """Everything a query may name now."""

    model_config = View.model_config | example(items=[], functions={"p05": "a figure's pessimistic end"})

    items: list[FieldView]
    functions: dict[str, str]
