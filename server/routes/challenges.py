"""Challenges: fetched, answered and looked at. A node signs what it says, as in every request of its agent."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from qualify.proof import strict
from server import bodies, nodes, signing, views
from server.bodies import accepts_bytes
from server.deps import Signed, SignedRequest, Supplier, TheRuntime, verify
from server.problems import ProblemError
from server.proving import moment
from server.routes.described import refusals
from server.runtime import Runtime
from server.schemas.proofs import AcceptedView, ChallengeView, EpochAnswerView, IssuedView

router = APIRouter(prefix="/v1/challenges", tags=["proofs"])
_SIGNED = ("bad-signature", "server-restarted", "stale-epoch", "replayed")
_ANSWERED = refusals(
    *_SIGNED, "not-found", "conflict", "forbidden", "protocol-error", "too-large", "unsupported-media-type"
)
ChallengeId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


@router.post(
    "",
    status_code=201,
    response_model=IssuedView,
    responses=refusals(*_SIGNED, "forbidden", "too-large") | {204: {"description": "Nothing is to be proved now"}},
)
async def fetch(runtime: TheRuntime, what: SignedRequest) -> Response:
    """A fresh challenge, when the node has to prove itself now; good for one answer."""
    row = await runtime.proofs.issue(runtime, what)
    if row is None:
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    challenge = strict.parse(row.document.encode("ascii"), most_bytes=len(row.document))
    return views.answer({"challenge": challenge, "device_kind": what.node.device_kind}, 201)


@router.post("/{challenge}/ready", response_model=EpochAnswerView, responses=_ANSWERED)
async def ready(runtime: TheRuntime, what: SignedRequest, challenge: ChallengeId) -> Response:
    """All is prepared: burns the challenge, brings the first salt, and the clock runs from here."""
    return views.answer(await runtime.proofs.ready(runtime, what.node.id, challenge))


@router.post(
    "/{challenge}/epochs",
    response_model=EpochAnswerView,
    responses=_ANSWERED,
    openapi_extra=accepts_bytes(bodies.JSON),
)
async def epoch(runtime: TheRuntime, challenge: ChallengeId, request: Request) -> Response:
    """The roots of an epoch; brings the next salt, or what is to be opened."""
    what, at = await _said(runtime, request, challenge, "epochs"), moment(runtime)
    return views.answer(await runtime.proofs.epoch(runtime, what.node.id, challenge, what.body, at))


@router.post(
    "/{challenge}/openings",
    status_code=202,
    response_model=AcceptedView,
    responses=_ANSWERED,
    openapi_extra=accepts_bytes(bodies.JSON),
)
async def openings(runtime: TheRuntime, challenge: ChallengeId, request: Request) -> Response:
    """What was asked for, laid open, gzipped or not; it is judged in its turn."""
    what, at = await _said(runtime, request, challenge, "openings"), moment(runtime)
    content = what.body
    if request.headers.get("content-encoding", "").strip().lower() == "gzip":
        most = runtime.proofs.most_bytes(what.node.id, challenge, "openings")
        content = await runtime.proofs.unpacked(runtime, what.node.id, challenge, content, most)
    await runtime.proofs.openings(runtime, what.node.id, challenge, content, at)
    return views.answer({"challenge": challenge, "state": "answered"}, 202)


@router.get("/{challenge}", response_model=ChallengeView, responses=refusals("forbidden", "not-found"))
async def shown(runtime: TheRuntime, account: Supplier, challenge: ChallengeId) -> Response:
    """How far a challenge of one's node is, what came of it, and why."""
    found = await runtime.read(runtime.reader.challenge, challenge)
    node = None if found is None else runtime.book.nodes.get(found.node)
    if found is None or node is None or not nodes.owns(account, node):
        raise ProblemError("not-found", f"there is no challenge {challenge} of a node of yours")
    return views.answer(views.of_challenge(found))


async def _said(runtime: Runtime, request: Request, challenge: str, what: str) -> Signed:
    """The node's answer, as large as its challenge allows.

    Raises:
        ProblemError: it is too large, not JSON by its type, or not signed as it should be.
    """
    bodies.expect_type(request, bodies.JSON)
    most = runtime.proofs.most_bytes(signing.claimed(request.headers).node, challenge, what)
    content = await bodies.read(request, most)
    return verify(request, runtime, body_sha256=bodies.digest(content), body=content)
