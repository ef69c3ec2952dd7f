"""When a node has to prove its figures: which challenge it is given, and how far that is.

A check is several challenges, of which every one has to be answered truly; how many there are is fixed beforehand by
what the node claims. The gaps between light checks are exponential, so that a check just over tells nothing of the
next; they grow with what a check takes, so that proofs never take more than half a percent of a node's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scheduler.clock import Now
from scheduler.desk import HOUR_MS, MINUTE_MS, Desk, Presence, Refused
from scheduler.events import Kind
from scheduler.proofs import plan
from scheduler.proofs.bars import works
from scheduler.proofs.claims import Claimed, listed
from scheduler.proofs.rows import Challenge, ChallengeState, Check, Level, Proof
from scheduler.records import MarketNode

if TYPE_CHECKING:
    from scheduler.market.listing import ReportSummary

DAY_MS = 24 * HOUR_MS
#: no gap between light checks is longer than so many times their mean
LONGEST_GAP = 4.0


def should_ask(desk: Desk, node: MarketNode, presence: Presence, now: Now) -> bool:
    """Whether to have an idle node fetch a challenge; remembered, so that it is not asked at every call."""
    if presence.qualifying or not is_due(desk, node, now):
        return False
    if presence.asked_proof_ms is not None and now.mono_ms - presence.asked_proof_ms < MINUTE_MS:
        return False
    presence.asked_proof_ms = now.mono_ms
    return True


def is_due(desk: Desk, node: MarketNode, now: Now) -> bool:
    """Whether a node has to prove itself now: it works, has nothing to do, and none of the brakes holds."""
    proof, settings = node.proof, desk.settings.proving
    if not settings.on or proof.challenge is not None or not works(node) or node.draining:
        return False
    if not node.online or desk.book.tokens_of_node.get(node.id) or now.unix_ms < proof.not_before_ms:
        return False
    if proof.barred_until_ms is not None or len(failures(proof, now)) >= settings.attempts:
        return False
    return proof.check is not None or _level(proof, now) is not None


def failures(proof: Proof, now: Now) -> tuple[int, ...]:
    """When attempts failed within the last day."""
    return tuple(at_ms for at_ms in proof.failed_ms if now.unix_ms - at_ms < DAY_MS)


def _level(proof: Proof, now: Now) -> Level | None:
    """The check that is due; a full one makes a light one needless."""
    if proof.full_due_ms is not None and proof.full_due_ms <= now.unix_ms:
        return "full"
    return "light" if proof.light_due_ms is not None and proof.light_due_ms <= now.unix_ms else None


def issue(desk: Desk, id_: int, now: Now, draw: Callable[[int], bytes]) -> Challenge | None:
    """A fresh challenge for a node that is due, else None; it is committed before anybody hears of it.

    Args:
        draw: as many bytes as asked for, that nobody can guess.
    """
    node = desk.node(id_)
    if not is_due(desk, node, now):
        return None
    check = node.proof.check
    if check is None or now.unix_ms - check.began_ms > desk.settings.proving.check_ms:
        check = Check(level=_level(node.proof, now) or "full", began_ms=now.unix_ms)
    phases = plan.phases(node, check.level, desk.settings.proving.scale_of(node.device_kind))
    if not phases:  # it claims nothing that could be proved; its next report may
        desk.book.change(node, proof=replace(node.proof, check=None, light_due_ms=None, full_due_ms=None))
        return None
    if check.phase >= len(phases):  # it claims less than when the check began
        check = Check(level=check.level, began_ms=now.unix_ms)
    found = plan.challenge(node, check.level, phases[check.phase], now.unix_ms, draw)
    row = Challenge(
        id=found.id.hex(),
        node=node.id,
        node_epoch=node.epoch,
        level=check.level,
        kind=found.params.kind,
        phase=check.phase,
        phases=len(phases),
        document=plan.text(found),
        issued_ms=now.unix_ms,
        expires_ms=found.expires_ms,
    )
    desk.book.add(row)
    desk.book.change(node, proof=replace(node.proof, check=check, challenge=row.id))
    told: dict[str, Any] = {"level": row.level, "chain": row.kind, "phase": row.phase, "phases": row.phases}
    desk.say(Kind.NODE_CHALLENGED, now, "server", node=node.id, challenge=row.id, **told)
    return row


def advance(desk: Desk, challenge: str, node: int, state: ChallengeState, now: Now) -> Challenge:
    """A challenge goes on: its first answer burns it, its last root draws the rows.

    Raises:
        Refused: it is another node's, further already, or out of time.
    """
    found = in_flight(desk, challenge, node)
    if found.state + 1 != state:
        raise Refused("conflict", f"challenge {challenge} is answered once, and was")
    if now.unix_ms >= found.expires_ms:
        raise Refused("conflict", f"challenge {challenge} has expired")
    return desk.book.change(found, state=state)


def in_flight(desk: Desk, challenge: str, node: int) -> Challenge:
    """A challenge of a node that has not ended.

    Raises:
        Refused: there is none.
    """
    found = desk.book.challenges.get(challenge)
    if found is None or found.node != node:
        raise Refused("not_found", f"there is no challenge {challenge} under way for node {node}")
    return found


def next_due(desk: Desk, node: MarketNode, level: Level, now: Now) -> dict[str, Any]:
    """When the next checks are due, one of `level` being over."""
    settings = desk.settings.proving
    scale = settings.scale_of(node.device_kind)
    mean_ms = max(settings.light_ms, plan.lasts_ms(node, "light", scale) / settings.light_duty)
    gap_ms = min(LONGEST_GAP * mean_ms, -math.log(1 - desk.random()) * mean_ms)
    due: dict[str, Any] = {"light_due_ms": now.unix_ms + int(gap_ms)}
    if level == "full":
        full_ms = max(settings.full_ms, plan.lasts_ms(node, "full", scale) / settings.full_duty)
        jitter = 1 + settings.jitter * (2 * desk.random() - 1)
        due["full_due_ms"] = now.unix_ms + int(full_ms * jitter)
    return due


def after_report(desk: Desk, proof: Proof, summary: ReportSummary, now: Now, node: MarketNode) -> dict[str, Any]:
    """What of a node's row follows from a new report: its claims, cut to what is proved; a check, when it had none."""
    if proof.full_due_ms is None and desk.settings.proving.on:
        proof = replace(proof, full_due_ms=now.unix_ms)
    proof = replace(proof, devices=summary.devices, bf16_most_flops=summary.bf16_most_flops, check=None)
    claim = Claimed(figures=summary.figures, vram_bytes=summary.vram_bytes, capability=summary.capability)
    told = replace(node, device_kind=summary.device_kind, capacity=summary.capacity)
    row = listed(told, claim, proof)
    return {
        "figures": row.figures,
        "vram_bytes": row.vram_bytes,
        "capability": row.capability,
        "proof": row.proof,
    }
