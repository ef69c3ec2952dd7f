"""Jobs: handed over, listed, looked at, stopped."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from server import jobs, views
from server.bodies import accepts
from server.deps import Caller, Renter, TheRuntime, body
from server.routes.described import Cursor, Id, Limit, answers, number, refusals
from server.schemas.job import JobDocument
from server.schemas.views import EventPage, JobDetailView, JobPage, JobView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_KEY = r"^[!-~]{1,128}$"


@router.post(
    "",
    status_code=201,
    response_model=JobView,
    responses=answers("The job that this key was given to before", model=JobView)
    | refusals("forbidden", "conflict", "key-reused", "too-large", "unsupported-media-type"),
    openapi_extra=accepts(JobDocument),
)
async def submit(
    runtime: TheRuntime,
    account: Renter,
    document: Annotated[JobDocument, Depends(body(JobDocument))],
    idempotency_key: Annotated[str | None, Header(pattern=_KEY)] = None,
) -> Response:
    """Hand over a job. The same `Idempotency-Key` with the same body is the same job."""
    job, created = await jobs.submit(runtime, account, document, idempotency_key)
    return views.answer(views.of_job(job), 201 if created else 200, {"Location": f"/v1/jobs/{job.id}"})


@router.get("", response_model=JobPage, responses=refusals())
async def listed(
    runtime: TheRuntime,
    account: Caller,
    state: Annotated[str | None, Query(max_length=100, pattern=r"^[a-z]+(,[a-z]+)*$")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Your jobs, newest first; an operator's list is everybody's. `state`: names with commas between them."""
    owner = None if account.role == "operator" else account.id
    states = jobs.states(state)
    found = await runtime.read(runtime.reader.jobs, owner, states=states, before=number(cursor), limit=limit)
    return views.page([views.of_job(job) for job in found], found[-1].id if len(found) == limit else None)


@router.get("/{job}", response_model=JobDetailView, responses=refusals("not-found"))
async def shown(runtime: TheRuntime, account: Caller, job: Id) -> Response:
    """A job in full: its specification, its attempts and why each node was chosen, its result."""
    found = await jobs.visible(runtime, account, job)
    tries = await runtime.read(runtime.reader.attempts, job)
    result = await runtime.read(runtime.reader.result, job)
    own = found.owner == account.id
    return views.answer(views.of_job_in_full(found, reversed(tries), result, for_owner=own))


@router.post("/{job}/cancel", status_code=202, response_model=JobView, responses=refusals("not-found", "conflict"))
async def cancel(runtime: TheRuntime, account: Caller, job: Id) -> Response:
    """Ask a job to end; asking again changes nothing."""
    await jobs.visible(runtime, account, job)
    ended = await runtime.do(lambda control, now: control.cancel(job, f"account {account.id}", now))
    return views.answer(views.of_job(ended), 202)


@router.get("/{job}/events", response_model=EventPage, responses=refusals("not-found"))
async def events(runtime: TheRuntime, account: Caller, job: Id, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """What happened to a job, oldest first."""
    await jobs.visible(runtime, account, job)
    found = await runtime.read(runtime.reader.events, after=number(cursor) or 0, limit=limit, job=job)
    return views.page([views.of_event(event) for event in found], found[-1].seq if len(found) == limit else None)
