"""What comes of a challenge: evidence, what is listed of the node, and whether it gets work.

Only a proven lie is for good. What is the server's own fault costs nobody anything, and figures only grow old by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qualify.proof.verdict import Outcome
from scheduler.clock import Now
from scheduler.desk import HOUR_MS, MINUTE_MS, Desk
from scheduler.events import Kind
from scheduler.proofs import evidence
from scheduler.proofs.bars import ban, bar, lift
from scheduler.proofs.claims import claimed, listed, proved_figures
from scheduler.proofs.due import failures, in_flight, next_due
from scheduler.proofs.rows import Challenge, ChallengeState, EvidenceEntry, Proof
from scheduler.records import MarketNode, NodeFigure

AGAIN = "a second wrong answer; the first was taken for a fault of its hardware"
#: after a challenge's own time, for what has been answered; later nobody judges it any more
JUDGED_WITHIN_MS = HOUR_MS
GIVEN_WORK = "it was given work"
_TRUE = ("pass", "below_floor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A transcript and what was found in it: what becomes evidence."""

    transcript_sha256: str
    verdict: Mapping[str, object]  #: as the verifier gave it, JSON
    verifier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of a challenge."""

    outcome: Outcome
    why: str = ""
    judged: Judged | None = None  #: None where there is no transcript
    too_few: str = ""  #: why its devices cannot be as many as it says


def settle(desk: Desk, challenge: str, node: int, finding: Finding, now: Now) -> Challenge:
    """End a challenge with what came of it.

    Raises:
        Refused: it has ended already.
    """
    found = in_flight(desk, challenge, node)
    row = desk.node(node)
    entry = None if finding.judged is None else _write_down(desk, found, finding.judged, now)
    outcome, why = finding.outcome, finding.why
    if outcome == "hardware_corruption" and row.proof.was_corrupt:
        outcome, why = "cheat_proven", AGAIN
    done = desk.book.change(
        found, state=ChallengeState.DONE, outcome=outcome, why=why, entry=None if entry is None else entry.seq
    )
    told: dict[str, Any] = {"outcome": outcome, "why": why, "entry": done.entry}
    desk.say(Kind.NODE_JUDGED, now, "server", node=node, challenge=challenge, **told)
    proof = replace(row.proof, challenge=None, outcome=outcome, why=why)
    row = _take_over(desk, row, proof, outcome, entry)
    desk.presence(node).asked_proof_ms = None
    desk.woken.add(node)
    if outcome in _TRUE:
        _go_on(desk, row, done, finding, now)
    else:
        _fail(desk, row, done, found.state, now)
    return done


def tick(desk: Desk, now: Now) -> None:
    """End challenges that are out of time, put off by work, or led by an earlier server; and bars that are over."""
    for id_ in desk.orphans:
        if (left := desk.book.challenges.get(id_)) is not None:
            why = "the server started anew while it ran"
            settle(desk, id_, left.node, Finding(outcome="could_not_run", why=why), now)
    desk.orphans = ()
    for one in list(desk.book.challenges.values()):
        if one.expires_ms <= now.unix_ms:
            _expire(desk, one, now)
        elif one.state < ChallengeState.ASKED and _was_given_work(desk, one):
            _drop(desk, desk.book.nodes[one.node], one, GIVEN_WORK, now)
    for node in list(desk.book.nodes.values()):
        until_ms = node.proof.barred_until_ms
        if until_ms is not None and until_ms <= now.unix_ms:
            lift(desk, node, now)


def _write_down(desk: Desk, challenge: Challenge, judged: Judged, now: Now) -> EvidenceEntry:
    entry = evidence.link(
        EvidenceEntry(
            seq=desk.book.number("evidence"),
            prev_sha256=desk.book.evidence_head,
            sha256="",
            challenge=challenge.id,
            node=challenge.node,
            transcript_sha256=judged.transcript_sha256,
            verdict=judged.verdict,
            verifier=judged.verifier,
            at_ms=now.unix_ms,
        )
    )
    desk.book.add(entry)
    return entry


def _take_over(desk: Desk, node: MarketNode, proof: Proof, outcome: Outcome, entry: EvidenceEntry | None) -> MarketNode:
    """List what is proved now, and remember it as history."""
    found = evidence.read(entry)[1] if entry is not None else {}
    figures = proved_figures(proof.figures, outcome, found)
    row = listed(node, claimed(node), replace(proof, figures=figures))
    if outcome in _TRUE:
        for key in found:
            desk.book.add(NodeFigure(node=node.id, metric=key, figure=row.figures[key]))
    return desk.book.change(
        node, figures=row.figures, vram_bytes=row.vram_bytes, capability=row.capability, proof=row.proof
    )


def _go_on(desk: Desk, node: MarketNode, challenge: Challenge, finding: Finding, now: Now) -> None:
    """A true answer: the check goes on, or is over."""
    proof = replace(node.proof, misses=0, was_forgiven=False)
    check = proof.check
    if check is None or (check.level, check.phase) != (challenge.level, challenge.phase):
        desk.book.change(node, proof=proof)  # a new report began it anew
        return
    if finding.outcome == "below_floor" and not check.repeated and proof.warm_epoch != node.epoch:
        # it may have been cold: once after it registered a challenge is given again
        again = replace(check, repeated=True)
        desk.book.change(node, proof=replace(proof, check=again, warm_epoch=node.epoch))
        return
    entries = (*check.entries, challenge.entry) if challenge.entry is not None else check.entries
    fell_short = check.fell_short or finding.outcome == "below_floor"
    check = replace(check, phase=check.phase + 1, fell_short=fell_short, entries=entries)
    if check.phase < challenge.phases:
        desk.book.change(node, proof=replace(proof, check=check))
        return
    due = next_due(desk, node, check.level, now)
    if finding.too_few:
        proof = replace(proof, check=None, proved_ms=None, why=finding.too_few, **due)
        bar(desk, desk.book.change(node, proof=proof), "count", now)
        return
    proof = replace(proof, check=None, proved_ms=now.unix_ms, warm_epoch=node.epoch, **due)
    desk.say(Kind.NODE_PROVED, now, "server", node=node.id, level=check.level, fell_short=fell_short)
    node = desk.book.change(node, proof=proof)
    if proof.bar in ("corruption", "count"):
        lift(desk, node, now)


def _fail(desk: Desk, node: MarketNode, done: Challenge, at: ChallengeState, now: Now) -> None:
    """Anything but a true answer, given when the challenge was as far as `at`."""
    proof, settings, outcome = node.proof, desk.settings.proving, done.outcome
    if outcome == "cheat_proven":
        ban(desk, node, done.why, now)
        return
    if outcome == "could_not_run":
        desk.book.change(node, proof=replace(proof, not_before_ms=now.unix_ms + settings.retry_ms))
        return
    # who knows which rows were drawn must not get away with nonsense
    if outcome == "protocol_error" and not proof.was_forgiven and at < ChallengeState.ASKED:
        desk.book.change(node, proof=replace(proof, was_forgiven=True))
        return
    proof = replace(proof, failed_ms=(*failures(proof, now), now.unix_ms), misses=proof.misses + 1)
    if outcome == "hardware_corruption":
        node = desk.book.change(node, proof=replace(proof, was_corrupt=True, proved_ms=None, check=None, misses=0))
        node = desk.book.change(node, proof=replace(node.proof, full_due_ms=now.unix_ms))
        bar(desk, node, "corruption", now)
        return
    if proof.misses >= settings.misses:
        node = desk.book.change(node, proof=replace(proof, misses=0, proved_ms=None, check=None))
        bar(desk, node, "bench", now, until_ms=now.unix_ms + settings.bench_ms)
        return
    desk.book.change(node, proof=proof)


def _expire(desk: Desk, challenge: Challenge, now: Now) -> None:
    """Nothing more will be heard. A node that was given work, or went away, is not to blame; one that knew which rows
    were drawn is, whatever else happened."""
    node = desk.book.nodes[challenge.node]
    if challenge.state is ChallengeState.ANSWERED:  # the server's turn: it may have much to judge
        if now.unix_ms >= challenge.expires_ms + JUDGED_WITHIN_MS:
            settle(desk, challenge.id, node.id, Finding(outcome="could_not_run", why="no verdict came of it"), now)
        return
    if challenge.state is not ChallengeState.ASKED:
        why = GIVEN_WORK if _was_given_work(desk, challenge) else ""
        if not node.online or node.epoch != challenge.node_epoch:
            why = "its node went away"
        if why:
            _drop(desk, node, challenge, why, now)
            return
    why = "the rows that were drawn were not opened in time" if challenge.state is ChallengeState.ASKED else ""
    why = why or "it was taken up and not answered in time"
    settle(desk, challenge.id, node.id, Finding(outcome="unreachable", why=why), now)


def _was_given_work(desk: Desk, challenge: Challenge) -> bool:
    """Whether its node was given work since it was issued, which ends what the node does for it."""
    node = challenge.node
    return desk.presence(node).given_ms >= challenge.issued_ms or bool(desk.book.tokens_of_node.get(node))


def _drop(desk: Desk, node: MarketNode, challenge: Challenge, why: str, now: Now) -> None:
    """A challenge that came to nothing, without harm."""
    desk.book.change(challenge, state=ChallengeState.DONE, outcome="could_not_run", why=why)
    told: dict[str, Any] = {"outcome": "could_not_run", "why": why, "entry": None}
    desk.say(Kind.NODE_JUDGED, now, "server", node=node.id, challenge=challenge.id, **told)
    proof = replace(node.proof, challenge=None, outcome="could_not_run", why=why)
    desk.book.change(node, proof=replace(proof, not_before_ms=now.unix_ms + MINUTE_MS))
    desk.presence(node.id).asked_proof_ms = None
