"""Content that a renter uploads and names in jobs by its digest."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server import uploads, views
from server.bodies import accepts_bytes
from server.deps import Renter, TheRuntime
from server.problems import ProblemError
from server.routes.described import Sha256, refusals
from server.schemas.views import BlobView

router = APIRouter(prefix="/v1/blobs", tags=["jobs"])


@router.put(
    "/{sha256}",
    status_code=201,
    response_model=BlobView,
    responses=refusals("forbidden", "length-required", "too-large", "unsupported-media-type"),
    openapi_extra=accepts_bytes(),
)
async def put(runtime: TheRuntime, account: Renter, sha256: Sha256, request: Request) -> Response:
    """Upload content under its SHA-256; the same again is no news."""
    blob = await uploads.counted(request, runtime, account.id, sha256)
    return views.answer(views.of_blob(blob), 201)


@router.get("/{sha256}", response_model=BlobView, responses=refusals("forbidden", "not-found"))
async def get(runtime: TheRuntime, account: Renter, sha256: Sha256) -> Response:
    """Whether you uploaded this content, and how much it is."""
    blob = await runtime.read(runtime.reader.blob, account.id, sha256)
    if blob is None:
        raise ProblemError("not-found", "you uploaded no such content")
    return views.answer(views.of_blob(blob))


@router.head("/{sha256}", response_class=Response, responses=refusals("forbidden", "not-found"))
async def head(runtime: TheRuntime, account: Renter, sha256: Sha256) -> Response:
    """The same without a body: 200 or 404."""
    return await get(runtime, account, sha256)
