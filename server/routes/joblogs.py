"""What a job printed and what it left behind."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from starlette.responses import FileResponse, Response

from scheduler.lifecycle import is_ended
from scheduler.records import Stream
from server import jobs, views
from server.deps import Caller, TheRuntime
from server.follow import NDJSON, FollowResponse, Output
from server.problems import ProblemError
from server.routes.described import Id, Whole, answers, refusals
from server.schemas.base import ID_MAX
from server.schemas.views import ManifestView

router = APIRouter(prefix="/v1/jobs/{job}", tags=["jobs"])
TEXT_BYTES = 8 << 20
Offset = Annotated[Whole, Query(ge=0, le=ID_MAX)]


@router.get(
    "/logs",
    response_class=Response,
    responses=answers("The output", "text/plain", NDJSON) | refusals("not-found"),
)
async def logs(
    runtime: TheRuntime,
    account: Caller,
    job: Id,
    follow: Annotated[bool, Query()] = False,
    stream: Stream = "out",
    offset: Offset = 0,
    limit: Annotated[Whole, Query(ge=1, le=TEXT_BYTES)] = TEXT_BYTES,
    out: Offset = 0,
    err: Offset = 0,
) -> Response:
    """A job's output.

    Without `follow`: at most `limit` bytes of one `stream` from `offset` on, as they were printed; the header
    `Gridmark-Log-Size` says how many there are by now. With `follow=1`: both streams as lines of JSON from the offsets
    `out` and `err` on, as they grow: `{"stream","offset","attempt","data"}`, or `data64` where it is no UTF-8, and at
    last `{"end":{"state","exit_code","reason"}}`. Offsets count from the job's first byte over all its attempts.
    """
    await jobs.owned(runtime, account, job)
    if follow:
        runtime.follows.take(account.id)
        runtime.metrics.follows.inc()

        def closed() -> None:
            runtime.follows.give_back(account.id)
            runtime.metrics.follows.dec()

        return FollowResponse(Output(runtime, job, {"out": out, "err": err}).lines(), closed=closed)
    reading = Output(runtime, job, {"out": offset, "err": offset})
    found, size = await runtime.read(reading.text, stream, limit)
    headers = {"Gridmark-Log-Size": str(size), "Cache-Control": "no-store"}
    return Response(found, media_type="text/plain", headers=headers)


@router.get("/artifacts", response_model=ManifestView, responses=refusals("not-found"))
async def manifest(runtime: TheRuntime, account: Caller, job: Id) -> Response:
    """What a job left behind: with digests, once its result is committed."""
    found = await jobs.owned(runtime, account, job)
    result = await runtime.read(runtime.reader.result, job)
    artifacts = views.of_result(result)["artifacts"] if result is not None else []
    return views.answer({"job": job, "complete": is_ended(found.state), "artifacts": artifacts})


@router.get(
    "/artifacts/{path:path}",
    response_class=Response,
    responses=answers("The file", "application/octet-stream") | refusals("not-found"),
)
async def artifact(
    runtime: TheRuntime, account: Caller, job: Id, path: Annotated[str, Path(min_length=1, max_length=1024)]
) -> Response:
    """One file that a job left behind; ranges are honoured, the ETag is its SHA-256."""
    await jobs.owned(runtime, account, job)
    result = await runtime.read(runtime.reader.result, job)
    listed = result.artifacts if result is not None else ()
    wanted = next((one for one in listed if one.path == path), None)
    place = None if wanted is None else await runtime.read(runtime.files.blob_path, wanted.sha256)
    if wanted is None or place is None:
        raise ProblemError("not-found", f"job {job} left nothing of that name")
    name = quote(wanted.path.rpartition("/")[2], safe="")
    headers = {
        "ETag": f'"{wanted.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return FileResponse(place, media_type="application/octet-stream", headers=headers)
