"""Everything that goes wrong, as RFC 9457 problem documents: one shape, no traceback, nothing of what was sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from scheduler.control import Refused
from server.problem import Fault, ProblemError

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "X-Request-Id"
#: slug -> (status, title); the type of a problem is /problems/<slug>
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not well-formed"),
    "unauthenticated": (401, "Who calls is not known"),
    "bad-signature": (401, "The node's signature does not hold"),
    "forbidden": (403, "The caller's role may not do this"),
    "not-found": (404, "There is no such thing, or not for this caller"),
    "method-not-allowed": (405, "The method is none of this place"),
    "not-acceptable": (406, "None of the forms asked for exists"),
    "conflict": (409, "The state of things is another one"),
    "wrong-offset": (409, "The bytes do not continue what is there"),
    "stale-epoch": (409, "The node has registered anew since"),
    "server-restarted": (409, "The server has started anew since"),
    "replayed": (409, "The request was seen before"),
    "superseded": (409, "The attempt is not this node's any more"),
    "key-reused": (409, "The idempotency key belongs to another job"),
    "length-required": (411, "The length must be said beforehand"),
    "too-large": (413, "More was sent than is taken"),
    "unsupported-media-type": (415, "The body is of another type than this place takes"),
    "invalid-query": (422, "The query cannot be understood"),
    "invalid": (422, "The content is not valid"),
    "protocol-error": (422, "The answer is none that the protocol allows"),
    "too-many": (429, "More than is taken from one caller"),
    "internal": (500, "The server failed"),
    "unavailable": (503, "The server cannot do it now"),
}
_OF_STATUS = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many",
}
_OF_REFUSAL = {
    "not_found": "not-found",
    "conflict": "conflict",
    "stale_epoch": "stale-epoch",
    "forbidden": "forbidden",
    "invalid": "invalid",
    "too_many": "too-many",
}
ERRORS_MAX = 20
PLACE_CHARS = 120


def document(problem: ProblemError, request_id: str) -> dict[str, object]:
    """The members of the problem document."""
    status, title = KINDS[problem.slug]
    found: dict[str, object] = {
        "type": f"/problems/{problem.slug}",
        "title": title,
        "status": status,
        "detail": problem.text,
        "request_id": request_id,
    }
    if problem.faults:
        found["errors"] = [{"at": fault.at, "text": fault.text} for fault in problem.faults[:ERRORS_MAX]]
    return found | dict(problem.more)


def respond(problem: ProblemError, request_id: str) -> Response:
    """The response; its text is plain ASCII, whatever the detail quotes."""
    status = KINDS[problem.slug][0]
    content = json.dumps(document(problem, request_id)).encode("ascii")
    headers = {**problem.headers, REQUEST_ID: request_id, "Cache-Control": "no-store"}
    return Response(content, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every way to fail with a problem document."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _internal)


def request_id(request: Request) -> str:
    """The id the request came with or was given."""
    found: str = request.scope.get("state", {}).get("request_id", "")
    return found


def faults_of(errors: Sequence[Mapping[str, object]], *, place: str = "") -> list[Fault]:
    """What a validation found, without the values that were sent: a secret may be among them."""
    found = []
    for error in errors[:ERRORS_MAX]:
        loc = error.get("loc", ())
        parts = [str(part) for part in loc] if isinstance(loc, tuple | list) else []
        at = ".".join([place, *parts] if place else parts)
        text = str(error.get("msg", "is not valid")).removeprefix("Value error, ")
        found.append(Fault(printable(at)[:PLACE_CHARS], printable(text)))
    return found


def printable(text: str) -> str:
    """`text` with what a terminal or a log would choke on replaced."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for nothing else
    return _noted(request, error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - registered for nothing else
    return _noted(request, of_refusal(error))


def of_refusal(error: Refused) -> ProblemError:
    """What the rules refused, in the words of HTTP."""
    headers = {"Retry-After": "30"} if error.kind == "too_many" else {}
    return ProblemError(_OF_REFUSAL[error.kind], error.text, headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    faults = faults_of(error.errors())
    text = "; ".join(f"{fault.at}: {fault.text}" for fault in faults[:3])
    return _noted(request, ProblemError("invalid", text, faults))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    slug = _OF_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return _noted(request, ProblemError(slug, KINDS[slug][1], headers=headers))


async def _internal(request: Request, error: Exception) -> Response:
    del error  # it is logged by its type and place; its text may hold what was sent
    return _noted(request, unforeseen())


def unforeseen() -> ProblemError:
    """What is said of a fault of our own."""
    return ProblemError("internal", "an error nobody foresaw; the server's log has it under this request id")


def _noted(request: Request, problem: ProblemError) -> Response:
    """The response, and its kind for the log."""
    request.scope.setdefault("state", {})["problem"] = problem.slug
    return respond(problem, request_id(request))


__all__ = [
    "Fault",
    "ProblemError",
    "document",
    "faults_of",
    "install",
    "of_refusal",
    "printable",
    "request_id",
    "respond",
    "unforeseen",
]
