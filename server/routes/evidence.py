"""Evidence: the chain of verdicts, open to anybody, and each with all it rests on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from qualify.proof.evidence import entry_to_json, head_to_json
from scheduler.proofs.evidence import plain
from server import evidence, views
from server.deps import TheRuntime
from server.routes.challenges import ChallengeId
from server.routes.described import Limit, Whole, refusals
from server.schemas.base import ID_MAX
from server.schemas.proofs import BundleView, EvidencePage

router = APIRouter(prefix="/v1/evidence", tags=["proofs"])


@router.get("", response_model=EvidencePage, responses=refusals())
async def chain(
    runtime: TheRuntime, limit: Limit = 100, after: Annotated[Whole, Query(ge=0, le=ID_MAX)] = 0
) -> Response:
    """Entries after a number, oldest first, and the signed head of the whole chain."""
    found, signed = await runtime.read(evidence.page, runtime, after, limit)
    return views.answer(
        {
            "items": [entry_to_json(plain(entry)) for entry in found],
            "next_cursor": str(found[-1].seq) if len(found) == limit else None,
            "head": head_to_json(signed.head),
            "signature": signed.signature.hex(),
            "public_key": signed.public_key.hex(),
        }
    )


@router.get("/{challenge}", response_model=BundleView, responses=refusals("not-found"))
async def bundle(runtime: TheRuntime, challenge: ChallengeId) -> Response:
    """The evidence about a challenge, whole: what was judged, the verdict, and that it is in the chain."""
    content = await runtime.read(evidence.bundle, runtime, challenge)
    return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})
