"""Records as the JSON that people get; what a schema of server/schemas says of it is tested, not computed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from starlette.responses import Response

from scheduler import codec
from scheduler.lifecycle import shown
from scheduler.proofs.claims import LOCALITY, is_proved
from scheduler.proofs.rows import Challenge
from scheduler.records import Account, Attempt, Blob, Event, Job, MarketNode, ReportEntry, Result
from scheduler.wire import SyncAnswer

_OWNERS = ("public_key", "machine", "epoch", "boot_id", "lost_jobs")


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response; NaN has no place in one."""
    return packed(written(content), status, headers)


def written(content: object) -> bytes:
    """JSON, compact, in plain ASCII."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def packed(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON that is written already."""
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def page(items: Sequence[object], next_cursor: str | int | None) -> Response:
    """A list that comes in pages."""
    cursor = None if next_cursor is None else str(next_cursor)
    return answer({"items": list(items), "next_cursor": cursor})


def of_sync(said: SyncAnswer) -> bytes:
    """What a node is answered, as JSON."""
    return written(codec.encode(said)) if said.wishes else _of_idle(said)


@lru_cache(maxsize=1024)
def _of_idle(said: SyncAnswer) -> bytes:
    """The same without wishes: nearly every answer of a large market is one of a few."""
    return written(codec.encode(said))


def of_job(job: Job) -> dict[str, Any]:
    """As lists show it."""
    return {
        "id": job.id,
        "owner": job.owner,
        "name": job.spec.name,
        "command": list(job.spec.command),
        "image": job.spec.image,
        "state": job.state.name.lower(),
        "reason": job.reason,
        "exit_code": job.exit_code,
        "attempts": job.attempts,
        "retries_used": job.retries_used,
        "replacements": job.replacements,
        "priority": job.spec.priority,
        "created_ms": job.created_ms,
        "next_at_ms": job.next_at_ms,
        "ended_ms": job.ended_ms,
        "cancelled": job.cancelled,
        "checkpoint_sha256": job.checkpoint_sha256,
    }


def of_job_in_full(job: Job, tries: Iterable[Attempt], result: Result | None, *, for_owner: bool) -> dict[str, Any]:
    """With its specification, its attempts (oldest first) and its result; environment and files are its owner's."""
    spec = codec.encode(job.spec)
    if not for_owner:
        spec |= {"env": {}, "inputs": []}
    return {
        **of_job(job),
        "spec": spec,
        "tries": [of_attempt(one) for one in tries],
        "result": of_result(result) if result is not None and for_owner else None,
    }


def of_attempt(attempt: Attempt) -> dict[str, Any]:
    """One try."""
    return {
        "token": attempt.token,
        "n": attempt.n,
        "node": attempt.node,
        "state": attempt.state.name.lower(),
        "gpus": list(attempt.gpus),
        "price_uh": attempt.price_uh,
        "placed_ms": attempt.placed_ms,
        "started_ms": attempt.started_ms,
        "ended_ms": attempt.ended_ms,
        "exit_code": attempt.exit_code,
        "reason": attempt.reason,
        "why": dict(attempt.why),
    }


def of_result(result: Result) -> dict[str, Any]:
    """The committed outcome."""
    encoded = codec.encode(result)
    del encoded["job"]
    return encoded


def of_event(event: Event) -> dict[str, Any]:
    """Who did what, when, why."""
    return codec.encode(event)


def of_account(account: Account) -> dict[str, Any]:
    """Without its digest."""
    encoded = codec.encode(account)
    del encoded["token_sha256"]
    return encoded


def of_blob(blob: Blob) -> dict[str, Any]:
    """Without its owner, who is asking."""
    encoded = codec.encode(blob)
    del encoded["owner"]
    return encoded


def of_report(report: ReportEntry) -> dict[str, Any]:
    """That a node was measured."""
    return codec.encode(report)


def of_challenge(challenge: Challenge) -> dict[str, Any]:
    """As its node's supplier sees it; the nonces are the node's business."""
    return {
        "id": challenge.id,
        "node": challenge.node,
        "level": challenge.level,
        "kind": challenge.kind,
        "phase": challenge.phase,
        "phases": challenge.phases,
        "state": challenge.state.name.lower(),
        "issued_ms": challenge.issued_ms,
        "expires_ms": challenge.expires_ms,
        "outcome": challenge.outcome,
        "why": challenge.why,
        "entry": challenge.entry,
    }


def state_of(node: MarketNode) -> str:
    """The one word for people."""
    return shown(node.standing, online=node.online, draining=node.draining)


def of_proof(node: MarketNode) -> dict[str, Any]:
    """What its proofs say of a node; not when the next one is due, which nobody is to await."""
    proof = node.proof
    return {
        "proved": is_proved(node),
        "proved_ms": proof.proved_ms,
        "outcome": proof.outcome,
        "why": proof.why,
        "bar": proof.bar or None,
        "barred_until_ms": proof.barred_until_ms,
        "claims": {key: codec.encode(figure) for key, figure in proof.claims.items()},
        "claimed_vram_bytes": proof.claimed_vram_bytes,
        "locality": LOCALITY,
    }


def of_node(node: MarketNode, *, live: Collection[int] | None) -> dict[str, Any]:
    """A node; with `live`, the tokens of its attempts, also what is its supplier's and the operators' business."""
    encoded = codec.encode(node)
    owners = {name: encoded.pop(name) for name in _OWNERS}
    return {
        **encoded,
        "proof": of_proof(node),
        "standing": node.standing.name.lower(),
        "state": state_of(node),
        "owners": None if live is None else {**owners, "attempts": sorted(live)},
    }


def of_due(node: MarketNode) -> dict[str, Any]:
    """A node that is to be measured."""
    return {
        "id": node.id,
        "name": node.name,
        "state": state_of(node),
        "reported_ms": node.reported_ms,
        "due_ms": node.due_ms,
    }
