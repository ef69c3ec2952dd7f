"""Who may call: for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from scheduler.admission import Terms
from server import auth, views
from server.bodies import accepts
from server.deps import Caller, Operator, TheRuntime, body
from server.problems import ProblemError
from server.routes.described import Cursor, Id, Limit, number, refusals
from server.schemas.accounts import AccountDocument, TermsDocument
from server.schemas.views import AccountCreatedView, AccountPage, AccountView

router = APIRouter(prefix="/v1/accounts", tags=["operators"])


@router.get("", response_model=AccountPage, responses=refusals("forbidden"))
async def listed(runtime: TheRuntime, account: Operator, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """All accounts by number, revoked ones too."""
    del account
    found = await runtime.read(runtime.reader.accounts, after=number(cursor) or 0, limit=limit)
    return views.page([views.of_account(one) for one in found], found[-1].id if len(found) == limit else None)


@router.get("/me", response_model=AccountView, responses=refusals())
async def me(account: Caller) -> Response:
    """Whose token this is."""
    return views.answer(views.of_account(account))


@router.post(
    "",
    status_code=201,
    response_model=AccountCreatedView,
    responses=refusals("forbidden", "conflict", "too-large", "unsupported-media-type"),
    openapi_extra=accepts(AccountDocument),
)
async def create(
    runtime: TheRuntime, account: Operator, document: Annotated[AccountDocument, Depends(body(AccountDocument))]
) -> Response:
    """Let somebody in. The token is in this answer and nowhere else."""
    token = auth.new_token(runtime.sources.random_bytes)
    actor, digest = f"account {account.id}", auth.digest(token)
    made = await runtime.do(
        lambda control, now: control.create_account(document.name, document.role, digest, now, actor=actor)
    )
    runtime.directory.put(made)
    return views.answer({**views.of_account(made), "token": token}, 201)


@router.post("/{who}/revoke", response_model=AccountView, responses=refusals("forbidden", "not-found", "conflict"))
async def revoke(runtime: TheRuntime, account: Operator, who: Id) -> Response:
    """Let an account in no more; its jobs and nodes stay."""
    if who == account.id:
        raise ProblemError("conflict", "an operator does not shut itself out; let another do it")
    actor = f"account {account.id}"
    gone = await runtime.do(lambda control, now: control.revoke_account(who, now, actor=actor))
    runtime.directory.put(gone)
    return views.answer(views.of_account(gone))


@router.post(
    "/{who}/terms",
    response_model=AccountView,
    responses=refusals("forbidden", "not-found", "too-large", "unsupported-media-type"),
    openapi_extra=accepts(TermsDocument),
)
async def terms(
    runtime: TheRuntime, account: Operator, who: Id, document: Annotated[TermsDocument, Depends(body(TermsDocument))]
) -> Response:
    """Say what an account may take; it holds at once for what waits, and what runs runs on."""
    wanted = Terms(
        weight_milli=round(document.weight * 1000),
        jobs_max=document.max_jobs,
        gpu_milli_max=None if document.max_gpus is None else round(document.max_gpus * 1000),
        cpu_milli_max=None if document.max_cpus is None else round(document.max_cpus * 1000),
    )
    actor = f"account {account.id}"
    changed = await runtime.do(lambda control, now: control.set_terms(who, wanted, now, actor=actor))
    runtime.directory.put(changed)
    return views.answer(views.of_account(changed))
