"""Why a node gets no work for what its proofs showed, beside what its reports say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler import admission
from scheduler.clock import Now
from scheduler.desk import Desk
from scheduler.events import Kind
from scheduler.lifecycle import Standing
from scheduler.proofs.rows import Aside, Bar, Proof
from scheduler.records import MarketNode

WORKS = (Standing.READY, Standing.DEGRADED)
#: bars that end; the one after a proven cheat does not
WORDS: Mapping[Bar, str] = {
    "bench": "it took up challenges and left them unanswered",
    "corruption": "one of its answers to a challenge was wrong; no work until it proves itself again",
    "count": "its devices together are slower than each alone; no work until it proves how many there are",
}


def under_bar(proof: Proof, standing: Standing, why: str) -> tuple[Standing, str, Proof]:
    """What a node stands as when its report says `standing`; what the report says comes back with the bar's end."""
    if proof.bar not in WORDS:
        return standing, why, proof
    return Standing.QUARANTINED, WORDS[proof.bar], replace(proof, aside=Aside(standing=int(standing), why=why))


def works(node: MarketNode) -> bool:
    """Whether a node works, or would but for a bar that a proof can lift."""
    if node.proof.bar in ("corruption", "count") and node.standing is Standing.QUARANTINED:
        aside = node.proof.aside
        return aside is not None and aside.standing in WORKS
    return node.standing in WORKS


def bar(desk: Desk, node: MarketNode, kind: Bar, now: Now, *, until_ms: int | None = None) -> MarketNode:
    """Give a node no work from now on, until its bar is lifted; what runs there runs on."""
    desk.say(Kind.NODE_BARRED, now, "server", node=node.id, bar=kind, why=WORDS[kind], until_ms=until_ms)
    proof = replace(node.proof, bar=kind, barred_until_ms=until_ms)
    standing, why = node.standing, node.why
    if node.proof.bar and node.proof.aside is not None:  # one bar takes the other's place
        standing, why = Standing(node.proof.aside.standing), node.proof.aside.why
    if standing is Standing.RETIRED:
        return desk.book.change(node, proof=proof)
    standing, why, proof = under_bar(proof, standing, why)
    return desk.book.change(node, standing=standing, why=why, proof=proof)


def lift(desk: Desk, node: MarketNode, now: Now) -> MarketNode:
    """Let a barred node have work again, as far as its report allows."""
    proof, aside = node.proof, node.proof.aside
    if proof.bar not in WORDS:
        return node
    desk.say(Kind.NODE_READMITTED, now, "server", node=node.id, bar=proof.bar)
    proof = replace(proof, bar="", barred_until_ms=None, aside=None)
    if aside is None or node.standing is not Standing.QUARANTINED:
        return desk.book.change(node, proof=proof)
    return desk.book.change(node, proof=proof, standing=Standing(aside.standing), why=aside.why)


def ban(desk: Desk, node: MarketNode, why: str, now: Now) -> MarketNode:
    """Take out a node that is proven to have cheated, and its key for good."""
    desk.say(Kind.NODE_BARRED, now, "server", node=node.id, bar="cheat", why=why, until_ms=None)
    proof = replace(node.proof, bar="cheat", barred_until_ms=None, aside=None, check=None, proved_ms=None)
    proof = replace(proof, light_due_ms=None, full_due_ms=None)
    desk.book.change(node, proof=proof)
    admission.retire(desk, node.id, now, "server", force=True)
    return desk.book.change(desk.book.nodes[node.id], why=why)
