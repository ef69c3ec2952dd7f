"""How a node comes into the market and what it stands as: enrolment, registration, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.clock import Now
from scheduler.desk import ControlSettings, Desk, Refused
from scheduler.events import Kind
from scheduler.lifecycle import Standing
from scheduler.outcome import lose
from scheduler.proofs.bars import under_bar
from scheduler.proofs.due import after_report
from scheduler.records import MarketNode, NodeFigure, ReportEntry

if TYPE_CHECKING:
    from scheduler.market.listing import ReportSummary

_WORKS = (Standing.READY, Standing.DEGRADED)


def enrol(desk: Desk, supplier: int, public_key: str, terms: dict[str, Any], now: Now) -> MarketNode:
    """A node under a key of its own; one that is known by its key gets the new terms and keeps its id."""
    actor = f"account {supplier}"
    known = next((node for node in desk.book.nodes.values() if node.public_key == public_key), None)
    if known is None:
        node = MarketNode(
            id=desk.book.number("node"),
            supplier=supplier,
            public_key=public_key,
            machine="",
            enrolled_ms=now.unix_ms,
            due_ms=now.unix_ms,
            **terms,
        )
        desk.book.add(node)
        desk.say(Kind.NODE_ENROLLED, now, actor, node=node.id, name=node.name, supplier=supplier)
        return node
    if known.supplier != supplier:
        raise Refused("forbidden", f"this key belongs to a node of account {known.supplier}")
    if known.proof.bar == "cheat":
        raise Refused("forbidden", f"this key is banned: {known.why}")
    changes = {name: value for name, value in terms.items() if getattr(known, name) != value}
    if known.standing is Standing.RETIRED:
        changes |= {"standing": Standing.NEW, "why": "", "due_ms": now.unix_ms, "draining": False}
        desk.say(Kind.NODE_ENROLLED, now, actor, node=known.id, name=terms["name"], supplier=supplier)
    elif changes:
        told: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()
        }
        desk.say(Kind.NODE_TERMS, now, actor, node=known.id, **told)
    return desk.book.change(known, **changes) if changes else known


def register(desk: Desk, node: int, epoch: int, boot_id: str, now: Now) -> MarketNode:
    """An agent begins: what carries an older epoch is refused from now on."""
    found = desk.node(node)
    check_epoch(found, epoch)
    rebooted = found.boot_id not in ("", boot_id)
    if rebooted:
        for attempt in desk.live_attempts(node):
            lose(desk, attempt, now, "its node started anew")
    presence = desk.presence(node)
    presence.asked_ms = None
    presence.qualifying = False
    if found.online or desk.book.tokens_of_node.get(node):
        presence.renew(now, desk.poll_ms(node))
    found = desk.book.change(desk.node(node), epoch=epoch + 1, boot_id=boot_id)
    desk.say(
        Kind.NODE_REGISTERED, now, f"node {node}", node=node, epoch=found.epoch, boot_id=boot_id, rebooted=rebooted
    )
    return found


def check_epoch(node: MarketNode, epoch: int) -> None:
    """Refuse what an earlier agent of the node says.

    Raises:
        Refused: the epoch is not the node's, or the node is out of the market.
    """
    if epoch != node.epoch:
        raise Refused("stale_epoch", f"node {node.id} is in epoch {node.epoch}, this speaks for epoch {epoch}")


def check_machine(node: MarketNode, machine: str) -> None:
    """Refuse what is said of another machine than the node's earlier reports were of.

    Raises:
        Refused: it is another one.
    """
    if node.machine and machine != node.machine:
        raise Refused("conflict", "the report is another machine's; a machine that changed its parts joins anew")


def accept_report(desk: Desk, node: int, summary: ReportSummary, now: Now) -> MarketNode:
    """Take over what a report says of its node, and keep its figures."""
    found = desk.node(node)
    check_machine(found, summary.machine)
    if found.standing is Standing.RETIRED:
        raise Refused("conflict", f"node {node} is retired; enrol it again first")
    if summary.partial:
        raise Refused("invalid", "a report of a part of the figures says nothing about the whole node")
    if found.report_id == summary.report_id:
        return found
    standing, why, proof = under_bar(found.proof, *_judged(found, summary))
    jitter = 1 + desk.settings.requalify_jitter * (2 * desk.random() - 1)
    due_in_ms = int(_again_ms(desk.settings, found, summary) * jitter)
    desk.presence(node).asked_ms = None
    desk.say(
        Kind.NODE_MEASURED,
        now,
        f"node {node}",
        node=node,
        report=summary.report_id,
        verdict=summary.verdict,
        standing=standing.name.lower(),
        why=why,
        machine=summary.machine,
    )
    _remember(desk, node, summary)
    desk.woken.add(node)  # it may have to prove now what it claims
    return desk.book.change(
        found,
        standing=standing,
        why=why,
        machine=summary.machine,
        device_kind=summary.device_kind,
        model=summary.model,
        capacity=summary.capacity,
        health=summary.health,
        report_id=summary.report_id,
        reported_ms=now.unix_ms,
        due_ms=now.unix_ms + due_in_ms,
        lost_jobs=(),
        **after_report(desk, proof, summary, now, found),
    )


def _remember(desk: Desk, node: int, summary: ReportSummary) -> None:
    """The report and its figures as history."""
    desk.book.add(
        ReportEntry(
            id=summary.report_id,
            node=node,
            at_ms=summary.measured_ms,
            verdict=summary.verdict,
            profile=summary.profile,
            remarks=summary.remarks,
        )
    )
    for metric, figure in summary.figures.items():
        desk.book.add(NodeFigure(node=node, metric=metric, figure=figure))


def disbelieve_report(desk: Desk, node: int, report: str, why: str, now: Now) -> MarketNode:
    """A report that cannot be true: its node gets no work until a later one can be believed."""
    found = desk.node(node)
    if found.standing is Standing.RETIRED:
        return found
    due_ms = now.unix_ms + desk.settings.unsure_ms
    desk.say(Kind.NODE_DISBELIEVED, now, f"node {node}", node=node, report=report, why=why)
    standing, why, proof = under_bar(found.proof, Standing.QUARANTINED, why)
    return desk.book.change(found, standing=standing, why=why, due_ms=due_ms, proof=proof)


def _again_ms(settings: ControlSettings, node: MarketNode, summary: ReportSummary) -> int:
    """From this report to the next measurement."""
    if summary.disturbance:
        waited_ms = node.due_ms - node.reported_ms if node.due_ms is not None and node.reported_ms is not None else 0
        if waited_ms > (1 + settings.requalify_jitter) * settings.unsure_ms:  # the report before was a sure one
            waited_ms = 0
        return min(settings.unsure_ms, max(settings.busy_ms, 2 * waited_ms))
    return settings.unsure_ms if summary.verdict == "unknown" else settings.requalify_ms


def _judged(node: MarketNode, summary: ReportSummary) -> tuple[Standing, str]:
    """What a node stands as after a report, and why."""
    if summary.verdict == "qualified":
        warnings = summary.warnings
        if not warnings:
            return Standing.READY, ""
        return Standing.DEGRADED, "; ".join(remark.text for remark in warnings[:3])
    why = summary.reasons[0] if summary.reasons else "its report does not say why"
    if summary.disturbance:
        why = f"measured while the machine was busy: {summary.disturbance}"
    if summary.verdict == "unknown" and node.standing in _WORKS:
        return Standing.DEGRADED, why
    return Standing.QUARANTINED, why
