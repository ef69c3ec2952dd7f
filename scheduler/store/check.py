"""Whether the database can be believed: what its own rules cannot say, recomputed from the rows.

`gridmark serve` looks before it serves; an operator looks when in doubt. Each problem is one sentence.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from scheduler.records import Capacity
from scheduler.store import attempts, nodes
from scheduler.store.attempts import Held, OnGpus
from scheduler.store.check_evidence import broken, unproved
from scheduler.store.connection import connect_reader, freeze, thaw
from scheduler.store.errors import StoreError
from scheduler.store.statement import translated

#: problems that are listed of one kind
SHOWN = 20

_INTEGRITY = "pragma integrity_check"
_FOREIGN_KEYS = "pragma foreign_key_check"
_SCHEMA_GUARDS = (
    "select count(*) from sqlite_schema "
    "where name in ('one_live', 'event_is_not_changed', 'one_in_flight', 'evidence_is_not_changed')"
)
_TWO_LIVE = "select job, count(*) as live from attempt where state < 10 group by job having count(*) > 1"
_ACTIVE_WITHOUT = """
select job.id, job.token from job left join attempt on attempt.token = job.token and attempt.job = job.id
where job.state = 3 and (attempt.token is null or attempt.state >= 10)
"""
_LIVE_WITHOUT = """
select attempt.token, attempt.job from attempt join job on job.id = attempt.job
where attempt.state < 10 and (job.state <> 3 or job.token is not attempt.token)
"""
_ATTEMPT_COUNTS = """
select job.id, job.attempts, count(attempt.token) as found from job left join attempt on attempt.job = job.id
group by job.id having job.attempts <> count(attempt.token)
"""
_DONE_WITHOUT = """
select job.id from job left join result on result.job = job.id where job.state = 10 and result.job is null
"""
_ORPHANED_RESULTS = """
select result.job, result.token from result
left join job on job.id = result.job
left join attempt on attempt.token = result.token and attempt.job = result.job
where attempt.token is null or attempt.state < 10 or job.state < 10
"""
_SPENT_SECRETS = "select distinct job from secret join job on job.id = secret.job where job.state >= 10"
_COUNTERS = """
select key, value, used from (
    select 'node' as key, (select max(id) from node) as used
    union all select 'job', (select max(id) from job)
    union all select 'token', (select max(token) from attempt)
    union all select 'event', (select max(seq) from event)
    union all select 'account', (select max(id) from account)
    union all select 'evidence', (select max(seq) from evidence)
) left join meta using (key)
where value is null or value <= used
"""


_BROKEN_CHAIN = """
select entry.seq from evidence as entry left join evidence as before on before.seq = entry.seq - 1
where entry.prev_sha256 <> coalesce(before.sha256, printf('%064d', 0))
"""
_LOST_CHALLENGES = """
select node.id, coalesce(challenge.id, node.proof ->> '$.challenge') as challenge
from node left join challenge on challenge.node = node.id and challenge.state < 5
where challenge.id is not (node.proof ->> '$.challenge')
"""


def check(path: Path, *, deep: bool = True, pause: Callable[[], None] = lambda: None) -> list[str]:
    """Everything that is wrong with the database at `path`; it may be in use.

    Args:
        deep: also look at every page and index (about a second for each GiB) and judge all evidence by its content
            (about a second for each 10,000 entries); without it only at what the rows say.
        pause: called every millisecond or two while the evidence is judged: others need the interpreter too.

    Raises:
        StoreError: there is no database to look at.
    """
    if not path.is_file():
        raise StoreError(f"there is no database {path}")
    found: list[str] = []
    try:
        with translated(f"checking {path}"), contextlib.closing(connect_reader(path)) as db:
            freeze(db)
            for kind in _problems(db, deep=deep):
                found += _shortened(kind)
            thaw(db)
            if deep:
                found += _shortened(broken(db, pause))
                found += _shortened(unproved(db, pause))
    except StoreError as error:  # so damaged that it cannot even be looked at
        found.append(str(error))
    return found


def _problems(db: sqlite3.Connection, *, deep: bool) -> Iterator[list[str]]:
    if deep:
        yield [f"the file is damaged: {row[0]}" for row in db.execute(_INTEGRITY) if row[0] != "ok"]
        yield [
            f"a row of {row['table']} names a {row['parent']} that does not exist" for row in db.execute(_FOREIGN_KEYS)
        ]
    if db.execute(_SCHEMA_GUARDS).fetchone()[0] != 4:
        yield ["the schema lacks the guards against two live attempts or challenges, or changed events or evidence"]
    yield [f"job {row['job']} has {row['live']} live attempts" for row in db.execute(_TWO_LIVE)]
    yield [
        f"job {row['id']} is active, and its attempt {row['token']} is not live" for row in db.execute(_ACTIVE_WITHOUT)
    ]
    yield [
        f"attempt {row['token']} is live, and job {row['job']} knows nothing of it" for row in db.execute(_LIVE_WITHOUT)
    ]
    yield [
        f"job {row['id']} counts {row['attempts']} attempts, there are {row['found']}"
        for row in db.execute(_ATTEMPT_COUNTS)
    ]
    yield [f"job {row['id']} is done and has no result" for row in db.execute(_DONE_WITHOUT)]
    yield [
        f"the result of job {row['job']} comes from attempt {row['token']}, which did not end it"
        for row in db.execute(_ORPHANED_RESULTS)
    ]
    yield [f"job {row['job']} has ended, and its secrets are still there" for row in db.execute(_SPENT_SECRETS)]
    yield [
        f"the next {row['key']} would be {row['value']}, and {row['used']} is used already"
        for row in db.execute(_COUNTERS)
    ]
    yield [f"evidence {row['seq']} does not follow what is before it" for row in db.execute(_BROKEN_CHAIN)]
    yield [
        f"node {row['id']} and its challenge {row['challenge']} do not know of each other"
        for row in db.execute(_LOST_CHALLENGES)
    ]
    yield _overfilled(db)


def _overfilled(db: sqlite3.Connection) -> list[str]:
    """Nodes that were given more work than they have room for."""
    held = {one.node: one for one in attempts.held(db)}
    on_gpus: dict[int, list[OnGpus]] = {}
    for one in attempts.on_gpus(db):
        on_gpus.setdefault(one.node, []).append(one)
    return [
        f"node {node}: its live attempts hold {what}"
        for node, capacity, reported_ms in nodes.at_work(db)
        # one that was reported on since the newest placement may have been found to have less than is held
        if held[node].placed_ms >= (reported_ms or 0)
        for what in _too_much(capacity, held[node], on_gpus.get(node, []))
    ]


def _too_much(capacity: Capacity, held: Held, on_gpus: list[OnGpus]) -> Iterator[str]:
    for name in ("cpu_milli", "memory_bytes", "disk_bytes"):
        taken, there = getattr(held, name), getattr(capacity, name)
        if taken > there:
            yield f"{taken} {name} of {there}"
    gpus: Counter[int] = Counter()
    for one in on_gpus:
        wanted = one.whole or bool(one.milli)
        if len(set(one.gpus)) != wanted:
            yield f"{len(set(one.gpus))} GPUs for attempt {one.token}, which asked for {int(wanted)}"
        gpus.update(dict.fromkeys(one.gpus, one.milli or 1000))
    for gpu, taken in sorted(gpus.items()):
        there = capacity.gpu_milli[gpu] if 0 <= gpu < len(capacity.gpu_milli) else 0
        if taken > there:
            yield f"{taken} thousandths of GPU {gpu}, which has {there}"


def _shortened(problems: Iterable[str]) -> list[str]:
    """The first of them; the others are only counted."""
    left = iter(problems)
    shown = list(islice(left, SHOWN))
    more = sum(1 for _ in left)
    return [*shown, f"… and {more} more like the last"] if more else shown
