"""The tables `challenge`, which only goes on, and `evidence`, which is only ever added to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from scheduler.proofs.rows import Challenge, ChallengeState, EvidenceEntry
from scheduler.store import text
from scheduler.store.statement import Values, update_one

_INSERT_CHALLENGE = """
insert into challenge (
    id, node, node_epoch, level, kind, phase, phases, document, state, issued_ms, expires_ms, outcome, why, entry
) values (
    :id, :node, :node_epoch, :level, :kind, :phase, :phases, :document, :state, :issued_ms, :expires_ms, :outcome,
    :why, :entry
)
"""
_UPDATE_CHALLENGE = """
update challenge set state = :state, outcome = :outcome, why = :why, entry = :entry
where id = :id and state = :was_state
"""
_SELECT_CHALLENGE = "select * from challenge where id = :id"
_SELECT_CHALLENGES = """
select * from challenge where node = :node and issued_ms < :before_ms order by issued_ms desc, id limit :limit
"""
_SELECT_IN_FLIGHT = "select * from challenge where state < 5"

_INSERT = """
insert into evidence (seq, prev_sha256, sha256, challenge, node, transcript_sha256, verdict, verifier, at_ms)
values (:seq, :prev_sha256, :sha256, :challenge, :node, :transcript_sha256, :verdict, :verifier, :at_ms)
"""
_SELECT_AFTER = "select * from evidence where seq > :after order by seq limit :limit"
_SELECT_ABOUT = "select * from evidence where challenge = :challenge"
_SELECT_OF_NODE = "select * from evidence where node = :node order by seq"
_SELECT_NEWEST = "select * from evidence order by seq desc limit 1"


def insert_challenge(db: sqlite3.Connection, challenge: Challenge) -> None:
    """A challenge, before it is sent."""
    db.execute(_INSERT_CHALLENGE, _values(challenge))


def update_challenge(db: sqlite3.Connection, before: Challenge, after: Challenge) -> None:
    """A challenge went on.

    Raises:
        StaleWriteError: it is no longer as far as `before`.
    """
    update_one(db, _UPDATE_CHALLENGE, {**_values(after), "was_state": before.state}, f"challenge {after.id}")


def challenge(db: sqlite3.Connection, id_: str) -> Challenge | None:
    """A challenge by its id."""
    row = db.execute(_SELECT_CHALLENGE, {"id": id_}).fetchone()
    return None if row is None else _challenge(row)


def challenges(db: sqlite3.Connection, node: int, *, before_ms: int, limit: int) -> tuple[Challenge, ...]:
    """A node's challenges, the newest first."""
    found = db.execute(_SELECT_CHALLENGES, {"node": node, "before_ms": before_ms, "limit": limit})
    return tuple(map(_challenge, found))


def in_flight(db: sqlite3.Connection) -> tuple[Challenge, ...]:
    """Those that nothing has come of yet."""
    return tuple(map(_challenge, db.execute(_SELECT_IN_FLIGHT)))


def insert(db: sqlite3.Connection, entry: EvidenceEntry) -> None:
    """A transcript was judged."""
    values = {
        "seq": entry.seq,
        "prev_sha256": entry.prev_sha256,
        "sha256": entry.sha256,
        "challenge": entry.challenge,
        "node": entry.node,
        "transcript_sha256": entry.transcript_sha256,
        "verdict": text.of_plain(dict(entry.verdict)),
        "verifier": entry.verifier,
        "at_ms": entry.at_ms,
    }
    db.execute(_INSERT, values)


def after(db: sqlite3.Connection, seq: int, *, limit: int) -> tuple[EvidenceEntry, ...]:
    """The chain after a number."""
    return tuple(map(_entry, db.execute(_SELECT_AFTER, {"after": seq, "limit": limit})))


def about(db: sqlite3.Connection, challenge: str) -> EvidenceEntry | None:
    """The entry about a challenge."""
    row = db.execute(_SELECT_ABOUT, {"challenge": challenge}).fetchone()
    return None if row is None else _entry(row)


def of_node(db: sqlite3.Connection, node: int) -> Iterator[EvidenceEntry]:
    """All about a node, in the order of the chain; read as it is used."""
    return map(_entry, db.execute(_SELECT_OF_NODE, {"node": node}))


def newest(db: sqlite3.Connection) -> tuple[EvidenceEntry, ...]:
    """The end of the chain; nothing before the first entry."""
    return tuple(map(_entry, db.execute(_SELECT_NEWEST)))


def _values(challenge: Challenge) -> Values:
    return {
        "id": challenge.id,
        "node": challenge.node,
        "node_epoch": challenge.node_epoch,
        "level": challenge.level,
        "kind": challenge.kind,
        "phase": challenge.phase,
        "phases": challenge.phases,
        "document": challenge.document,
        "state": challenge.state,
        "issued_ms": challenge.issued_ms,
        "expires_ms": challenge.expires_ms,
        "outcome": challenge.outcome,
        "why": challenge.why,
        "entry": challenge.entry,
    }


def _challenge(row: sqlite3.Row) -> Challenge:
    return Challenge(**{**dict(row), "state": ChallengeState(row["state"])})


def _entry(row: sqlite3.Row) -> EvidenceEntry:
    return EvidenceEntry(**{**dict(row), "verdict": text.plain(row["verdict"])})
