"""The operator's page: every node, what is due, and who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from scheduler.clock import Now
from scheduler.control import Control
from scheduler.lifecycle import Standing
from scheduler.records import Account, MarketNode
from server import nodes, views
from server.deps import Operator
from server.runtime import Runtime
from server.schemas.base import TIME_MS_MAX as NEVER_MS
from server.web import events, words
from server.web.inventory import hardware
from server.web.jobs import Before
from server.web.nodes import Action, actions
from server.web.site import Site

EVENTS = 100
MOST_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A node as a line of the table."""

    id: int
    name: str
    hardware: str
    state: str
    tone: str
    why: str
    measured: str
    due: str
    is_due: bool
    actions: Sequence[Action]


def routes(site: Site, router: APIRouter) -> None:
    """Serve /operator."""
    runtime = site.runtime

    @router.get("/operator")
    async def operator_page(request: Request, account: Operator, before: Before = None) -> Response:
        now_ms = runtime.now().unix_ms
        rows = [row(node, now_ms) for node in await owned(runtime, account)]
        found = await runtime.read(runtime.reader.latest_events, before=before, limit=EVENTS + 1)
        return await site.page(
            request,
            "operator.html",
            here="/operator",
            lead=f"{words.count(len(rows), 'node')}, {sum(one.state == 'ready' for one in rows)} ready.",
            alarms=[(alarm.text, words.ago(alarm.since_ms, now_ms)) for alarm in runtime.alarms.now()],
            nodes=rows[:MOST_ROWS],
            due_words=f"{words.count(sum(one.is_due for one in rows), 'node')} due to be measured again. "
            f"{'' if len(rows) <= MOST_ROWS else f'The first {MOST_ROWS} are shown, those due before the others.'}",
            events=[events.line(one) for one in found[:EVENTS]],
            first_href="/operator" if before else "",
            next_href=f"/operator?before={found[EVENTS - 1].seq}" if len(found) > EVENTS else "",
        )


async def owned(runtime: Runtime, account: Account) -> list[MarketNode]:
    """Nodes of a supplier, or all for an operator; those longest due first, then by number."""

    def collect(control: Control, now: Now) -> list[MarketNode]:
        del now
        return [node for node in control.book.nodes.values() if nodes.owns(account, node)]

    found = await runtime.do(collect)
    return sorted(found, key=lambda node: (node.standing is Standing.RETIRED, node.due_ms or NEVER_MS, node.id))


def row(node: MarketNode, now_ms: int) -> Row:
    """A node with what an operator may do to it."""
    state = views.state_of(node)
    due = node.standing is not Standing.RETIRED and node.due_ms is not None and node.due_ms <= now_ms
    return Row(
        id=node.id,
        name=node.name,
        hardware=hardware(node.device_kind, len(node.capacity.gpu_milli), node.model),
        state=state,
        tone=words.standing_tone(state),
        why=node.why,
        measured=words.ago(node.reported_ms, now_ms),
        due=words.until(node.due_ms, now_ms),
        is_due=due,
        actions=actions(node),
    )
