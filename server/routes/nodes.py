"""Nodes: enrolled, looked at, measured, drained, taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from scheduler import codec
from scheduler.clock import Now
from scheduler.control import Control
from scheduler.records import MarketNode
from server import bodies, nodes, views
from server.bodies import accepts, accepts_bytes
from server.deps import Supplier, TheRuntime, Viewer, verify
from server.problems import ProblemError
from server.routes.described import Cursor, Id, Limit, Whole, answers, number, refusals
from server.runtime import Runtime
from server.schemas.base import TIME_MS_MAX
from server.schemas.nodes import EnrolDocument, EnrolledView, HistoryView, NodePage, NodeView, ReportPage

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])
_SIGNED = ("bad-signature", "server-restarted")
Metric = Annotated[str, Query(max_length=120, pattern=r"^[a-z][a-z0-9_]*\.[A-Za-z0-9_.-]+$")]


@router.post(
    "",
    status_code=201,
    response_model=EnrolledView,
    responses=refusals("forbidden", *_SIGNED, "too-large", "unsupported-media-type"),
    openapi_extra=accepts(EnrolDocument),
)
async def enrol(runtime: TheRuntime, account: Supplier, request: Request) -> Response:
    """List a node under its key. The same key again changes the terms and keeps the number.

    The request is also signed with the node's key, over the text of an agent's request with node and epoch 0.
    """
    bodies.expect_type(request, bodies.JSON)
    content = await bodies.read(request, runtime.settings.limits.document_bytes)
    document = bodies.validated(EnrolDocument, bodies.parse(content))
    nodes.prove_key(request, runtime, document, content)

    def command(control: Control, now: Now) -> MarketNode:
        return control.enrol(
            account.id,
            name=document.name,
            public_key=document.public_key,
            price_uh=document.price,
            region=document.region,
            executors=tuple(document.executors),
            shares_gpus=document.shares_gpus,
            now=now,
        )

    node = await runtime.do(command)
    return views.answer({"id": node.id, "epoch": node.epoch, "server_boot": runtime.server_boot}, 201)


@router.get("", response_model=NodePage, responses=refusals("forbidden"))
async def listed(runtime: TheRuntime, account: Supplier, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Your nodes by number; an operator's list is all nodes."""
    after = number(cursor) or 0

    def collect(control: Control, now: Now) -> list[tuple[MarketNode, tuple[int, ...]]]:
        del now
        book = control.book
        ids = [node.id for node in book.nodes.values() if node.id > after and nodes.owns(account, node)]
        return [(book.nodes[node], tuple(book.tokens_of_node.get(node, ()))) for node in sorted(ids)[:limit]]

    rows = await runtime.do(collect)
    return await runtime.read(
        lambda: views.page(
            [views.of_node(node, live=live) for node, live in rows], rows[-1][0].id if len(rows) == limit else None
        )
    )


@router.get("/{node}", response_model=NodeView, responses=refusals("not-found"))
async def shown(runtime: TheRuntime, account: Viewer, node: Id) -> Response:
    """A node with all its figures; `owners` is for its supplier and for operators."""
    found = nodes.found(runtime, node)
    live = None
    if nodes.owns(account, found):
        live = await runtime.do(lambda control, _: tuple(control.book.tokens_of_node.get(node, ())))
    return views.answer(views.of_node(found, live=live))


@router.get("/{node}/history", response_model=HistoryView, responses=refusals("not-found"))
async def history(
    runtime: TheRuntime,
    account: Viewer,
    node: Id,
    metric: Metric,
    since_ms: Annotated[Whole, Query(ge=0, le=TIME_MS_MAX)] = 0,
    limit: Annotated[Whole, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """How a figure of a node went, oldest first: the newest `limit` since a time."""
    del account
    nodes.found(runtime, node)
    figures = await runtime.read(runtime.reader.figures, node, metric, since_ms, limit=limit)
    return views.answer({"node": node, "metric": metric, "items": [codec.encode(figure) for figure in figures]})


@router.post(
    "/{node}/reports",
    status_code=201,
    response_model=NodeView,
    responses=refusals(*_SIGNED, "stale-epoch", "replayed", "conflict", "too-large", "unsupported-media-type"),
    openapi_extra=accepts_bytes(bodies.JSON),
)
async def report(runtime: TheRuntime, node: Id, request: Request) -> Response:
    """Hand in a report: gzipped JSON, signed by the node. It counts when it is recent and can be true."""
    bodies.expect_type(request, bodies.JSON)
    if request.headers.get("content-encoding", "").strip().lower() != "gzip":
        raise ProblemError("unsupported-media-type", "expected Content-Encoding: gzip")
    content = await bodies.read(request, runtime.settings.limits.report_packed_bytes)
    what = verify(request, runtime, body_sha256=bodies.digest(content))
    if what.node.id != node:
        raise ProblemError("bad-signature", f"the request is signed by node {what.node.id}, the report is for {node}")
    counted = await nodes.take_report(runtime, what, content)
    return views.answer(views.of_node(counted, live=()), 201)


@router.get("/{node}/reports", response_model=ReportPage, responses=refusals("forbidden", "not-found"))
async def reports(
    runtime: TheRuntime, account: Supplier, node: Id, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """When a node was measured, and what was found; newest first."""
    nodes.own(runtime, account, node)
    found = await runtime.read(runtime.reader.reports, node, before_ms=number(cursor), limit=limit)
    return views.page([views.of_report(one) for one in found], found[-1].at_ms if len(found) == limit else None)


@router.get(
    "/{node}/reports/{report}",
    response_class=Response,
    responses=answers("The report, whole") | refusals("forbidden", "not-found"),
)
async def whole_report(runtime: TheRuntime, account: Supplier, node: Id, report: str) -> Response:
    """A report as it was handed in."""
    nodes.own(runtime, account, node)
    known = await runtime.read(runtime.reader.reports, node, limit=1000)
    content = None
    if any(one.id == report for one in known):
        content = await runtime.read(runtime.files.report, report)
    if content is None:
        raise ProblemError("not-found", f"node {node} has no such report")
    return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})


_DONE = refusals("forbidden", "not-found", "conflict")


@router.post("/{node}/drain", response_model=NodeView, responses=_DONE)
async def drain(runtime: TheRuntime, account: Supplier, node: Id) -> Response:
    """Give a node no new work; what runs there runs on."""
    nodes.own(runtime, account, node)
    actor = _actor(account.id)
    return await _changed(runtime, node, lambda control, now: control.drain(node, True, actor, now))


@router.post("/{node}/undrain", response_model=NodeView, responses=_DONE)
async def undrain(runtime: TheRuntime, account: Supplier, node: Id) -> Response:
    """Give a node work again."""
    nodes.own(runtime, account, node)
    actor = _actor(account.id)
    return await _changed(runtime, node, lambda control, now: control.drain(node, False, actor, now))


@router.post("/{node}/qualify", response_model=NodeView, responses=_DONE)
async def qualify(runtime: TheRuntime, account: Supplier, node: Id) -> Response:
    """Have a node measured as soon as it is idle."""
    nodes.own(runtime, account, node)
    actor = _actor(account.id)
    return await _changed(runtime, node, lambda control, now: control.ask_qualify(node, actor, now))


@router.post("/{node}/retire", response_model=NodeView, responses=_DONE)
async def retire(runtime: TheRuntime, account: Supplier, node: Id, force: Annotated[bool, Query()] = False) -> Response:
    """Take a node out for good; one that works only with `force`, and its jobs go elsewhere."""
    nodes.own(runtime, account, node)
    actor = _actor(account.id)
    return await _changed(runtime, node, lambda control, now: control.retire(node, actor, now, force=force))


def _actor(account: int) -> str:
    return f"account {account}"


async def _changed(runtime: Runtime, node: int, command: Callable[[Control, Now], MarketNode]) -> Response:
    def change(control: Control, now: Now) -> tuple[MarketNode, tuple[int, ...]]:
        return command(control, now), tuple(control.book.tokens_of_node.get(node, ()))

    found, live = await runtime.do(change)
    return views.answer(views.of_node(found, live=live))
