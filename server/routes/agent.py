"""What agents call: hello, register, sync, and the bytes of their attempts. Every request but the first is signed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, Response

from scheduler.records import Stream
from scheduler.store.errors import StoreError
from scheduler.store.logs import OffsetError
from server import agents, bodies, uploads, views
from server.bodies import accepts, accepts_bytes
from server.deps import SignedRequest, TheRuntime, told, verify
from server.problems import ProblemError
from server.routes.described import Id, Sha256, Whole, answers, refusals
from server.schemas.agent import HelloView, LogSizeView, RegisterDocument, StoredView, SyncDocument, SyncView
from server.schemas.base import ID_MAX

router = APIRouter(prefix="/v1/agent", tags=["agents"])
_SIGNED = ("bad-signature", "server-restarted", "stale-epoch", "replayed")


@router.get("/hello", response_model=HelloView, responses=refusals("not-found"))
async def hello(
    runtime: TheRuntime, node: Annotated[Whole, Query(ge=0, le=ID_MAX, description="0: not enrolled yet")] = 0
) -> Response:
    """What a request has to be signed with."""
    found = runtime.book.nodes.get(node)
    if node and found is None:
        raise ProblemError("not-found", f"there is no node {node}")
    return views.answer({"server_boot": runtime.server_boot, "epoch": found.epoch if found else 0})


@router.post(
    "/register",
    response_model=HelloView,
    responses=refusals(*_SIGNED, "forbidden", "too-large", "unsupported-media-type"),
    openapi_extra=accepts(RegisterDocument),
)
async def register(
    runtime: TheRuntime,
    what: SignedRequest,
    document: Annotated[RegisterDocument, Depends(told(RegisterDocument))],
) -> Response:
    """Begin anew: the epoch rises, and whatever carries an older one is refused."""
    node = await runtime.do(lambda control, now: control.register(what.node.id, what.epoch, document.boot_id, now))
    return views.answer({"server_boot": runtime.server_boot, "epoch": node.epoch})


@router.post(
    "/sync",
    response_model=SyncView,
    responses=refusals(*_SIGNED, "forbidden", "conflict", "too-large", "unsupported-media-type"),
    openapi_extra=accepts(SyncDocument),
)
async def sync(
    runtime: TheRuntime, what: SignedRequest, document: Annotated[SyncDocument, Depends(told(SyncDocument))]
) -> Response:
    """State in, wishes out; held back while there is nothing to say, if `wait` allows it."""
    return views.packed(views.of_sync(await agents.sync(runtime, what, document.record())))


@router.post(
    "/attempts/{token}/logs/{stream}",
    response_model=LogSizeView,
    responses=refusals(*_SIGNED, "superseded", "wrong-offset", "too-large"),
    openapi_extra=accepts_bytes(),
)
async def append(
    runtime: TheRuntime, token: Id, stream: Stream, offset: Annotated[Whole, Query(ge=0, le=ID_MAX)], request: Request
) -> Response:
    """What an attempt printed from `offset` on; 409 says where to go on when that is elsewhere."""
    content = await bodies.read(request, runtime.settings.limits.log_append_bytes)
    what = verify(request, runtime, body_sha256=bodies.digest(content), body=content)
    _, job = await agents.newest(runtime, what, token)
    logs = runtime.files.logs
    try:
        found = await runtime.read(logs.append, token, stream, offset, content, quota_bytes=job.spec.log_quota_bytes)
    except OffsetError as error:
        text = f"the stream has {error.size} bytes: go on from there"
        raise ProblemError("wrong-offset", text, more={"offset": error.size}) from None
    except StoreError as error:
        raise ProblemError("unavailable", "the output could not be stored", headers={"Retry-After": "2"}) from error
    runtime.jobs.ring((job.id,))
    runtime.metrics.log_bytes.inc(len(content))
    return views.answer({"size_bytes": found.size, "full": found.full})


@router.put(
    "/attempts/{token}/artifacts/{sha256}",
    status_code=201,
    response_model=StoredView,
    responses=refusals(*_SIGNED, "superseded", "length-required", "too-large", "unsupported-media-type"),
    openapi_extra=accepts_bytes(),
)
async def artifact(runtime: TheRuntime, token: Id, sha256: Sha256, request: Request) -> Response:
    """A file that an attempt leaves; it becomes the job's with the sync that names it."""
    what = verify(request, runtime, body_sha256=sha256)  # before a byte is taken; the bytes must have this digest
    _, job = agents.live(runtime, what, token)
    blob = await uploads.counted(request, runtime, job.owner, sha256)
    return views.answer({"sha256": blob.sha256, "size_bytes": blob.size_bytes}, 201)


@router.put(
    "/attempts/{token}/checkpoint/{sha256}",
    status_code=201,
    response_model=StoredView,
    responses=refusals(*_SIGNED, "superseded", "conflict", "too-large", "unsupported-media-type"),
    openapi_extra=accepts_bytes(),
)
async def checkpoint(runtime: TheRuntime, token: Id, sha256: Sha256, request: Request) -> Response:
    """What the job's next attempt begins from; it counts only while the token is the job's current one."""
    what = verify(request, runtime, body_sha256=sha256)
    agents.live(runtime, what, token)
    stored = await uploads.take(request, runtime, sha256, runtime.settings.limits.blob_bytes)
    await runtime.do(lambda control, now: control.save_checkpoint(token, sha256, now, node=what.node.id))
    return views.answer({"sha256": stored.sha256, "size_bytes": stored.size_bytes}, 201)


@router.get(
    "/blobs/{sha256}",
    response_class=Response,
    responses=answers("The content", "application/octet-stream") | refusals(*_SIGNED, "superseded", "not-found"),
)
async def blob(
    runtime: TheRuntime, what: SignedRequest, sha256: Sha256, token: Annotated[Whole, Query(ge=1, le=ID_MAX)]
) -> Response:
    """An input, or the checkpoint, of the job whose attempt this node runs; ranges are honoured."""
    _, job = agents.live(runtime, what, token)
    named = {one.sha256 for one in job.spec.inputs if one.url is None} | {job.checkpoint_sha256}
    place = await runtime.read(runtime.files.blob_path, sha256) if sha256 in named else None
    if place is None:
        raise ProblemError("not-found", f"job {job.id} names no such content")
    return FileResponse(place, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})
