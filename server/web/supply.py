"""The supplier's view: what is wrong with each node, and what mending it would be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from scheduler.lifecycle import Standing
from scheduler.records import MarketNode, Remark, ReportEntry
from server import views
from server.deps import Supplier
from server.web import words
from server.web.demand import Market
from server.web.fleet import owned
from server.web.inventory import hardware
from server.web.nodes import last_report
from server.web.site import Site
from server.web.worth import Worth, silence, worth

#: of one page
MOST_SECTIONS = 50
#: what jobs are placed on while it is online and not draining
TAKING = (Standing.READY, Standing.DEGRADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One node of the supplier."""

    id: int
    name: str
    hardware: str
    state: str
    tone: str
    why: str
    price: str
    measured: str
    findings: Sequence[Remark]
    findings_none: str
    worth: Sequence[Worth]
    worth_none: str


def routes(site: Site, router: APIRouter) -> None:
    """Serve /supply."""
    runtime = site.runtime

    @router.get("/supply")
    async def supply_page(request: Request, account: Supplier) -> Response:
        mine = [node for node in await owned(runtime, account) if node.standing is not Standing.RETIRED]
        wrong_first = sorted(mine, key=lambda node: (views.state_of(node) == "ready", node.name))[:MOST_SECTIONS]
        market = await runtime.do(lambda control, _: Market.of(control))
        sections = [await section(site, node, market) for node in wrong_first]
        well = sum(views.state_of(node) == "ready" for node in mine)
        left_out = f" The first {MOST_SECTIONS} are shown." if len(mine) > MOST_SECTIONS else ""
        return await site.page(
            request,
            "supply.html",
            here="/supply",
            lead=f"{words.count(len(mine), 'node')}, {well} ready. The others first.{left_out}",
            nodes=sections,
            origin=str(request.base_url).rstrip("/"),
        )


def no_findings(node: MarketNode, report: ReportEntry | None) -> str:
    """What is said where no finding is shown."""
    if report is not None:
        return "Nothing: its last report raised no warning."
    return "It was never measured." if node.reported_ms is None else "Its last report is no longer kept."


async def section(site: Site, node: MarketNode, market: Market) -> Section:
    """A node, what is wrong with it, and the worth of mending it."""
    now_ms = site.runtime.now().unix_ms
    report = await last_report(site.runtime, node.id)
    takes_jobs = node.online and not node.draining and node.standing in TAKING
    demand = () if takes_jobs else await site.runtime.read(market.demand, node, now_ms)
    ratios = await site.report_pages.ratios(node.id)
    remarks = [one for one in report.remarks if one.severity != "info"] if report else []
    state = views.state_of(node)
    return Section(
        id=node.id,
        name=node.name,
        hardware=hardware(node.device_kind, len(node.capacity.gpu_milli), node.model),
        state=state,
        tone=words.standing_tone(state),
        why=node.why,
        price=words.money(node.price_uh),
        measured=words.ago(node.reported_ms, now_ms) if node.reported_ms is not None else "never",
        findings=remarks,
        findings_none=no_findings(node, report),
        worth=worth(node, takes_jobs=takes_jobs, demand=demand, nodes=market.nodes, ratios=ratios),
        worth_none=silence(node, takes_jobs=takes_jobs),
    )
