"""A node's page: what was measured on it, how that changed, what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse

from reports import meanings, units
from scheduler.lifecycle import Standing
from scheduler.proofs.claims import LOCALITY
from scheduler.records import MarketNode, ReportEntry
from server import nodes, views
from server.deps import Supplier, Viewer
from server.routes import nodes as api
from server.routes.described import Id
from server.runtime import Runtime
from server.web import figures, render, words
from server.web.history import MOST_DOTS, History, history
from server.web.inventory import hardware
from server.web.login import local
from server.web.site import Site, to

#: plots on one page; those of the usual figures come first
MOST_HISTORIES = 12
Verb = Literal["drain", "undrain", "qualify"]
_VERBS = {"drain": api.drain, "undrain": api.undrain, "qualify": api.qualify}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A card: a name, a value, what explains it."""

    name: str
    value: str
    gloss: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something whoever is logged in may ask of a node."""

    address: str
    name: str


def routes(site: Site, router: APIRouter) -> None:
    """Serve /nodes/{id} and what can be done there."""
    runtime = site.runtime

    @router.get("/nodes/{node}")
    async def node_page(request: Request, node: Id, account: Viewer) -> Response:
        found = nodes.found(runtime, node)
        mine = nodes.owns(account, found)
        report = await last_report(runtime, node) if mine else None
        courses = await runtime.read(_courses, runtime, found)
        return await site.page(
            request,
            "node.html",
            here="/",
            **_shown(found, runtime.now().unix_ms),
            mine=mine,
            actions=actions(found) if mine else [],
            findings=report.remarks if report else (),
            findings_none="Nothing: its last report raised no finding." if report else "It was never measured.",
            report_href=f"/nodes/{node}/report" if report else "",
            histories=courses,
        )

    @router.get("/nodes/{node}/report")
    async def report_page(node: Id, account: Supplier) -> Response:
        nodes.own(runtime, account, node)
        text = await site.report_pages.page(node)
        return HTMLResponse(text, headers={**render.HEADERS, "Content-Security-Policy": render.REPORT_POLICY})

    @router.post("/nodes/{node}/{verb}")
    async def act(request: Request, node: Id, verb: Verb, account: Supplier) -> Response:
        fields = await site.form(request)
        await _VERBS[verb](runtime, account, node)
        return to(local(fields.get("next") or f"/nodes/{node}"))


async def last_report(runtime: Runtime, node: int) -> ReportEntry | None:
    """The newest report of a node."""
    found = await runtime.read(runtime.reader.reports, node, limit=1)
    return found[0] if found else None


def _courses(runtime: Runtime, node: MarketNode) -> list[History]:
    """How the node's figures went, the usual ones first; waits for the disk."""
    with runtime.reader.snapshot():
        known = [key for key in runtime.reader.metrics(node.id) if key in node.figures]
        usual = [key for key in figures.USUAL if key in known]
        drawn = []
        for key in [*usual, *(key for key in known if key not in figures.USUAL)]:
            course = runtime.reader.figures(node.id, key, limit=MOST_DOTS)
            one = history(key, node.figures[key].unit, course)
            if one is not None:
                drawn.append(one)
            if len(drawn) == MOST_HISTORIES:
                break
        return drawn


def _shown(node: MarketNode, now_ms: int) -> Mapping[str, Any]:
    """What of a node everybody may see."""
    state = views.state_of(node)
    cells = {key: figures.cell(key, figure, now_ms) for key, figure in node.figures.items()}
    return {
        "node": node,
        "hardware": hardware(node.device_kind, len(node.capacity.gpu_milli), node.model),
        "state": state,
        "tone": words.standing_tone(state),
        "why": node.why,
        "facts": facts(node, now_ms),
        "groups": [(meanings.title(b), [cells[key] for key in keys]) for b, keys in figures.by_bench(sorted(cells))],
    }


def facts(node: MarketNode, now_ms: int) -> list[Fact]:
    """What a renter asks first."""
    capacity = node.capacity
    found = [
        Fact(name="Price", value=f"{words.money(node.price_uh)}/h", gloss="of the whole node"),
        Fact(
            name="Health",
            value=units.percent(node.health),
            gloss="of what its kind can do" if node.health is not None else "nothing to compare with yet",
        ),
        *(
            Fact(name=name.capitalize(), value=_capability(value), gloss="reference node = 100")
            for name, value in node.capability.items()
        ),
        Fact(name="CPUs", value=f"{capacity.cpu_milli / 1000:g}"),
        Fact(name="Memory", value=units.size(capacity.memory_bytes)),
        Fact(name="Disk", value=units.size(capacity.disk_bytes)),
        Fact(
            name="Measured",
            value=words.ago(node.reported_ms, now_ms) if node.reported_ms is not None else "never",
            gloss=f"again {words.until(node.due_ms, now_ms)}" if node.due_ms is not None else "",
        ),
        proved(node, now_ms),
        Fact(name="Runs", value=", ".join(node.executors) or "nothing", gloss=node.region),
    ]
    if capacity.gpu_milli:
        gloss = "in shares too" if node.shares_gpus else "whole only"
        gpus = f"{len(capacity.gpu_milli)} × {units.size(node.vram_bytes or None)}"
        found.insert(1, Fact(name="GPUs", value=gpus, gloss=gloss))
    return found


def proved(node: MarketNode, now_ms: int) -> Fact:
    """Whether its figures are more than its word; where it stands nobody can prove."""
    proof = node.proof
    if proof.bar:
        return Fact(name="Proved", value="barred", gloss=proof.why)
    if proof.proved_ms is None:
        return Fact(name="Proved", value="not yet", gloss="its figures are its own word")
    cut = f"{words.count(len(proof.claims), 'claim')} cut to it; " if proof.claims else ""
    return Fact(name="Proved", value=words.ago(proof.proved_ms, now_ms), gloss=f"{cut}locality: {LOCALITY}")


def _capability(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}"


def actions(node: MarketNode) -> list[Action]:
    """The buttons for whoever may do it."""
    if node.standing is Standing.RETIRED:
        return []
    drain = Action(address=f"/nodes/{node.id}/undrain", name="Stop draining") if node.draining else None
    return [
        drain or Action(address=f"/nodes/{node.id}/drain", name="Drain"),
        Action(address=f"/nodes/{node.id}/qualify", name="Measure again"),
    ]
