"""What routes ask for by type: the runtime, who calls, and a body that was read after that was known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.types import Scope

from scheduler.records import Account, MarketNode, Role
from server import auth, bodies, signing
from server.problems import ProblemError
from server.runtime import Runtime
from server.schemas.base import Document

D = TypeVar("D", bound=Document)
LONG_BYTES = 256 << 10  #: of a document

#: only for the OpenAPI document; the header is read below, where refusals are problem documents
_BEARER = HTTPBearer(auto_error=False, description="gm_…", scheme_name="token")


async def runtime_of(request: Request) -> Runtime:
    """What the server holds; async, because FastAPI hands what is not to a thread."""
    runtime: Runtime = request.app.state.runtime
    return runtime


TheRuntime = Annotated[Runtime, Depends(runtime_of)]


async def caller(request: Request, runtime: TheRuntime, _: Annotated[object, Depends(_BEARER)]) -> Account:
    """The account whose token the request carries."""
    return account_of(request.scope, runtime, request.headers.get("authorization"))


def account_of(scope: Scope, runtime: Runtime, authorization: str | None) -> Account:
    """The account that a request's header names; noted in the scope, and counted.

    Raises:
        ProblemError: it names none, or the account asks too often.
    """
    account = runtime.directory.whose(auth.bearer(authorization))
    scope["state"]["account"] = account.id
    runtime.callers.take(account.id)
    return account


async def viewer(request: Request, runtime: TheRuntime, _: Annotated[object, Depends(_BEARER)]) -> Account | None:
    """The same, where a stranger may look too; a token that is no account's is still refused."""
    if "authorization" not in request.headers:
        return None
    return await caller(request, runtime, None)


def _of_role(*roles: Role) -> Callable[..., Awaitable[Account]]:
    async def check(account: Annotated[Account, Depends(caller)]) -> Account:
        if account.role not in roles:
            wanted = " or ".join(roles)
            raise ProblemError("forbidden", f"this needs the role {wanted}; the token's is {account.role}")
        return account

    return check


Caller = Annotated[Account, Depends(caller)]
Viewer = Annotated[Account | None, Depends(viewer)]
Renter = Annotated[Account, Depends(_of_role("renter", "operator"))]
Supplier = Annotated[Account, Depends(_of_role("supplier", "operator"))]
Operator = Annotated[Account, Depends(_of_role("operator"))]


def body(model: type[D]) -> Callable[..., Awaitable[D]]:
    """A dependency that reads a JSON document; to be named after the one that says who calls."""

    async def read(request: Request, runtime: TheRuntime) -> D:
        return await bodies.document(request, model, runtime.settings.limits.document_bytes)

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A request that a node signed, for this run of the server, once."""

    node: MarketNode
    epoch: int
    body: bytes


def target_of(scope: Scope) -> str:
    """Path and query as they were sent."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def verify(request: Request, runtime: Runtime, *, body_sha256: str, body: bytes = b"") -> Signed:
    """Who signed the request.

    Raises:
        ProblemError: nobody we know; or it was meant for an earlier run of the server, or an earlier registration of
            the node, or it was here before.
    """
    return verified(request.scope, signing.claimed(request.headers), runtime, body_sha256=body_sha256, body=body)


def verified(scope: Scope, claim: signing.Claimed, runtime: Runtime, *, body_sha256: str, body: bytes = b"") -> Signed:
    """The same, of a request whose headers were read."""
    if claim.server_boot != runtime.server_boot:  # not verified: anybody may know it, and a whole fleet asks at once
        text = "the server has started anew; sign again with its boot number"
        raise ProblemError("server-restarted", text, more={"server_boot": runtime.server_boot})
    node = runtime.book.nodes.get(claim.node)
    if node is None or not signing.holds(
        node.public_key, claim, method=scope["method"], target=target_of(scope), body_sha256=body_sha256
    ):
        raise ProblemError("bad-signature", "the signature is not the node's over this request")
    scope["state"]["node"] = node.id
    if claim.epoch != node.epoch:
        raise ProblemError("stale-epoch", "the node has registered anew; register again", more={"epoch": node.epoch})
    if not runtime.replays.admit(node.id, claim.epoch, claim.seq):
        raise ProblemError("replayed", "a request of this number was here before; count on")
    runtime.callers.take(("node", node.id))
    return Signed(node=node, epoch=claim.epoch, body=body)


async def signed(request: Request, runtime: TheRuntime) -> Signed:
    """A node's request with a body of the usual size, or none."""
    known = signing.claimed(request.headers).node in runtime.book.nodes
    content = await bodies.read(request, runtime.settings.limits.sync_bytes) if known else b""
    return verify(request, runtime, body_sha256=bodies.digest(content), body=content)


SignedRequest = Annotated[Signed, Depends(signed)]


def told(model: type[D]) -> Callable[..., Awaitable[D]]:
    """A dependency that parses the body of a signed request."""

    def parsed(content: bytes) -> D:
        return bodies.validated(model, bodies.parse(content))

    async def parse(request: Request, runtime: TheRuntime, what: SignedRequest) -> D:
        bodies.expect_type(request, bodies.JSON)
        # what takes longer than a few milliseconds is not for the event loop
        return parsed(what.body) if len(what.body) <= LONG_BYTES else await runtime.read(parsed, what.body)

    return parse
