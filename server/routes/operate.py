"""For operators: what happened, which nodes are due, a copy of the database."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.lifecycle import Standing
from scheduler.store.backup import backup as copy
from scheduler.store.errors import StoreError
from server import logs, nodes, views
from server.deps import Operator, Supplier, TheRuntime
from server.problems import ProblemError
from server.routes.described import Cursor, Limit, Whole, number, refusals
from server.runtime import backups
from server.schemas.alarms import AlarmPage
from server.schemas.base import ID_MAX
from server.schemas.nodes import DuePage
from server.schemas.views import BackupView, EventPage

router = APIRouter(prefix="/v1", tags=["operators"])
HOUR_MS = 3_600_000


@router.get("/events", response_model=EventPage, responses=refusals("forbidden"))
async def events(
    runtime: TheRuntime,
    account: Operator,
    limit: Limit = 100,
    cursor: Cursor = None,
    after: Annotated[Whole, Query(ge=0, le=ID_MAX)] = 0,
    node: Annotated[Whole | None, Query(ge=1, le=ID_MAX)] = None,
    job: Annotated[Whole | None, Query(ge=1, le=ID_MAX)] = None,
) -> Response:
    """Who did what, when, why: oldest first, after a number; of one node or one job where given."""
    del account
    begin = max(after, number(cursor) or 0)
    found = await runtime.read(runtime.reader.events, after=begin, limit=limit, job=job, node=node)
    return views.page([views.of_event(event) for event in found], found[-1].seq if len(found) == limit else None)


@router.get("/due", response_model=DuePage, responses=refusals("forbidden"))
async def due(
    runtime: TheRuntime,
    account: Supplier,
    within_ms: Annotated[Whole, Query(ge=0, le=1000 * HOUR_MS, description="also those that will be, so soon")] = 0,
) -> Response:
    """Nodes whose figures are to be measured anew, the longest overdue first: your own, or an operator's all."""

    def collect(control: Control, now: Now) -> list[dict[str, object]]:
        until = now.unix_ms + within_ms
        rows = [
            (node.due_ms, node.id)
            for node in control.book.nodes.values()
            if node.due_ms is not None
            and node.due_ms <= until
            and node.standing is not Standing.RETIRED
            and nodes.owns(account, node)
        ]
        return [views.of_due(control.book.nodes[node]) for _, node in sorted(rows)[:1000]]

    return views.answer({"items": await runtime.do(collect)})


@router.get("/alarms", response_model=AlarmPage, responses=refusals("forbidden"))
async def alarms(runtime: TheRuntime, account: Operator) -> Response:
    """What somebody has to look at now: silent nodes, a full disk, what the nightly check found."""
    del account
    return views.answer({"items": [dataclasses.asdict(alarm) for alarm in runtime.alarms.now()]})


@router.post("/backup", status_code=201, response_model=BackupView, responses=refusals("forbidden"))
async def backup(runtime: TheRuntime, account: Operator) -> Response:
    """Make a consistent copy of the database beside it, while serving."""
    moment = datetime.fromtimestamp(runtime.now().unix_ms / 1000, UTC)
    folder = backups(runtime.settings.data)
    target = folder / f"gridmark-{moment:%Y%m%dT%H%M%S}-{runtime.sources.random_bytes(3).hex()}.db"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        await runtime.read(copy, runtime.database, target)
    except (StoreError, OSError) as error:
        logs.say("backup failed", error=type(error).__name__, account=account.id)
        raise ProblemError("unavailable", "the copy could not be made; the server's log says why") from error
    return views.answer({"file": target.name, "size_bytes": target.stat().st_size}, 201)
