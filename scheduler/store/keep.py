"""Which files rows still refer to; the others can go (Files.prune)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

# a job that has ended needs neither its inputs nor its checkpoint; what its owner uploaded is the owner's
_BLOBS = """
select sha256 from blob
union select checkpoint_sha256 from job where state < 10 and checkpoint_sha256 is not null
union select json_extract(input.value, '$.sha256') from job, json_each(job.spec, '$.inputs') as input
    where job.state < 10
union select json_extract(artifact.value, '$.sha256') from result, json_each(result.artifacts) as artifact
"""
_TOKENS = "select token from attempt where state < 10 or ended_ms >= :since_ms"
_LIVE_TOKENS = "select token from attempt where state < 10"
_REPORTS = "select id from report"
#: of each node, what its newest challenge of each kind was judged by
_NEWEST_JUDGED = """
select (
    select evidence.transcript_sha256 from challenge join evidence on evidence.seq = challenge.entry
    where challenge.node = node.id and challenge.kind = chain.kind order by challenge.issued_ms desc limit 1
) from node, (select 'compute' as kind union all select 'memory') as chain
"""
#: what the figures rest on that are listed as proved
_PROVING = """
select (
    select transcript_sha256 from evidence
    where evidence.node = node.id and evidence.at_ms = figure.value ->> '$.at_ms'
        and evidence.verdict -> ('$.figures."' || figure.key || '"') is not null
    order by seq desc limit 1
) from node, json_each(node.proof, '$.figures') as figure
"""
#: and what a node is out for, or will be at the next wrong answer
_WRONG_ANSWERS = """
select evidence.transcript_sha256 from node join evidence on evidence.node = node.id
where (node.proof ->> '$.was_corrupt' or node.proof ->> '$.bar' = 'cheat')
    and evidence.verdict ->> '$.outcome' in ('hardware_corruption', 'cheat_proven')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What is referred to."""

    blobs: frozenset[str]  #: by SHA-256
    tokens: frozenset[int]  #: attempts whose logs are kept
    reports: frozenset[str]  #: by id
    transcripts: frozenset[str] = frozenset()  #: by SHA-256; those that stay however old they are


def blobs(db: sqlite3.Connection) -> frozenset[str]:
    """Uploads, artifacts, and what live jobs begin from."""
    return frozenset(row[0] for row in db.execute(_BLOBS))


def tokens(db: sqlite3.Connection, *, since_ms: int) -> frozenset[int]:
    """Attempts that live, and those that ended since a time."""
    return frozenset(row[0] for row in db.execute(_TOKENS, {"since_ms": since_ms}))


def live_tokens(db: sqlite3.Connection) -> frozenset[int]:
    """Attempts that live."""
    return frozenset(row[0] for row in db.execute(_LIVE_TOKENS))


def reports(db: sqlite3.Connection) -> frozenset[str]:
    """Every report that was taken."""
    return frozenset(row[0] for row in db.execute(_REPORTS))


def transcripts(db: sqlite3.Connection) -> frozenset[str]:
    """What the market's judgement of its nodes rests on now."""
    found = (row[0] for sql in (_NEWEST_JUDGED, _PROVING, _WRONG_ANSWERS) for row in db.execute(sql))
    return frozenset(sha256 for sha256 in found if sha256 is not None)
