"""The tables, as migrations of sqlite-utils; `sqlite-utils tables gridmark.db --schema` shows the result.

What is searched, guarded or counted is a column of its own, named as the record's field; what is only carried along is
JSON. `attempt.state < 10` and `job.state < 10` are the live ones (scheduler/lifecycle.py).
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from scheduler.store.errors import StoreError

MIGRATIONS = Migrations("gridmark")

_TABLES = (
    # counters (the next number of each kind) and a few facts about the file itself
    "create table meta (key text primary key, value any not null) strict, without rowid",
    """create table account (
        id integer primary key,
        name text not null,
        role text not null check (role in ('renter', 'supplier', 'operator')),
        token_sha256 text not null unique,
        created_ms integer not null,
        revoked_ms integer
    ) strict""",
    """create table node (
        id integer primary key,
        name text not null,
        supplier integer not null references account (id),
        public_key text not null,
        machine text not null,
        epoch integer not null check (epoch >= 0),
        boot_id text not null,
        standing integer not null check (standing between 1 and 6),
        online integer not null check (online in (0, 1)),
        draining integer not null check (draining in (0, 1)),
        why text not null,
        device_kind text not null check (device_kind in ('cpu', 'cuda')),
        model text not null,
        capacity text not null check (json_valid(capacity)),
        vram_bytes integer not null,
        region text not null,
        price_uh integer not null,
        executors text not null check (json_valid(executors)),
        shares_gpus integer not null check (shares_gpus in (0, 1)),
        figures text not null check (json_valid(figures)),
        capability text not null check (json_valid(capability)),
        health real,
        report_id text not null,
        reported_ms integer,
        due_ms integer,
        enrolled_ms integer not null,
        lost_jobs text not null check (json_valid(lost_jobs))
    ) strict""",
    """create table job (
        id integer primary key,
        owner integer not null references account (id),
        idempotency_key text not null,
        name text not null,
        priority integer not null,
        spec text not null check (json_valid(spec)),
        state integer not null check (state in (1, 2, 3, 10, 11, 12, 13)),
        token integer,
        attempts integer not null,
        retries_used integer not null,
        replacements integer not null,
        next_at_ms integer not null,
        reason text not null,
        created_ms integer not null,
        ended_ms integer,
        exit_code integer,
        checkpoint_sha256 text,
        crash_exit integer,
        crash_nodes text not null check (json_valid(crash_nodes)),
        lost_nodes text not null check (json_valid(lost_nodes)),
        cancelled integer not null check (cancelled in (0, 1)),
        unique (owner, idempotency_key)
    ) strict""",
    "create index job_live on job (id) where state < 10",
    "create index job_of_owner on job (owner, id)",
    """create table attempt (
        token integer primary key,
        job integer not null references job (id),
        n integer not null check (n >= 1),
        node integer not null references node (id),
        node_epoch integer not null,
        state integer not null check (state between 1 and 6 or state between 10 and 17),
        gpus text not null check (json_valid(gpus)),
        gpu_count integer not null,
        gpu_milli integer not null,
        cpu_milli integer not null,
        memory_bytes integer not null,
        disk_bytes integer not null,
        price_uh integer not null,
        placed_ms integer not null,
        started_ms integer,
        ended_ms integer,
        exit_code integer,
        reason text not null,
        why text not null check (json_valid(why)),
        unique (job, n)
    ) strict""",
    # the database itself forbids two live attempts of a job
    "create unique index one_live on attempt (job) where state < 10",
    "create index attempt_live_of_node on attempt (node) where state < 10",
    """create table result (
        job integer primary key references job (id),
        token integer not null unique references attempt (token),
        exit_code integer not null,
        artifacts text not null check (json_valid(artifacts)),
        at_ms integer not null
    ) strict""",
    """create table event (
        seq integer primary key,
        at_ms integer not null,
        kind text not null,
        actor text not null,
        job integer,
        token integer,
        node integer,
        data text not null check (json_valid(data))
    ) strict""",
    "create index event_of_job on event (job, seq) where job is not null",
    "create index event_of_node on event (node, seq) where node is not null",
    """create table blob (
        owner integer not null references account (id),
        sha256 text not null check (length(sha256) = 64),
        size_bytes integer not null,
        created_ms integer not null,
        primary key (owner, sha256)
    ) strict, without rowid""",
    """create table report (
        id text primary key,
        node integer not null references node (id),
        at_ms integer not null,
        verdict text not null check (verdict in ('qualified', 'not_qualified', 'unknown')),
        profile text not null,
        remarks text not null check (json_valid(remarks))
    ) strict, without rowid""",
    "create index report_of_node on report (node, at_ms)",
    """create table figure (
        node integer not null references node (id),
        metric text not null,
        at_ms integer not null,
        value real not null,
        low real,
        high real,
        n integer not null,
        primary key (node, metric, at_ms)
    ) strict, without rowid""",
    """create table secret (
        job integer not null references job (id),
        name text not null,
        sealed blob not null,
        primary key (job, name)
    ) strict, without rowid""",
)

#: events and results are history: no statement changes them, and events go only from the old end, below the floor
_HISTORY = (
    """create trigger event_is_not_changed before update on event
    begin select raise(abort, 'an event is never changed'); end""",
    """create trigger event_is_not_removed before delete on event
    when old.seq >= (select value from meta where key = 'event_floor')
    begin select raise(abort, 'an event at or above meta.event_floor is never removed'); end""",
    """create trigger event_floor_only_rises before update on meta
    when old.key = 'event_floor' and new.value < old.value
    begin select raise(abort, 'meta.event_floor only rises'); end""",
    """create trigger result_is_not_changed before update on result
    begin select raise(abort, 'a result is never changed'); end""",
    """create trigger result_is_not_removed before delete on result
    begin select raise(abort, 'a result is never removed'); end""",
)

_FIRST_META = """
insert into meta (key, value)
values
    ('boot', 0), ('probe', 0), ('event_floor', 1),
    ('node', 1), ('job', 1), ('token', 1), ('event', 1), ('account', 1)
"""


@MIGRATIONS()
def m001_market(db: Database) -> None:
    """Every table of the first market."""
    for statement in (*_TABLES, *_HISTORY, _FIRST_META):
        db.execute(statement)


_PROOFS = (
    "alter table node add column proof text not null default '{}' check (json_valid(proof))",
    """create table challenge (
        id text primary key check (length(id) = 32),
        node integer not null references node (id),
        node_epoch integer not null,
        level text not null check (level in ('light', 'full')),
        kind text not null check (kind in ('compute', 'memory')),
        phase integer not null check (phase >= 0),
        phases integer not null check (phases > phase),
        document text not null check (json_valid(document)),
        state integer not null check (state between 1 and 5),
        issued_ms integer not null,
        expires_ms integer not null,
        outcome text,
        why text not null,
        entry integer references evidence (seq)
    ) strict, without rowid""",
    # the database itself forbids two challenges of a node in flight
    "create unique index one_in_flight on challenge (node) where state < 5",
    "create index challenge_of_node on challenge (node, issued_ms)",
    """create table evidence (
        seq integer primary key,
        prev_sha256 text not null check (length(prev_sha256) = 64),
        sha256 text not null unique check (length(sha256) = 64),
        challenge text not null unique,
        node integer not null references node (id),
        transcript_sha256 text not null check (length(transcript_sha256) = 64),
        verdict text not null check (json_valid(verdict)),
        verifier text not null,
        at_ms integer not null
    ) strict""",
    "create index evidence_of_node on evidence (node, seq)",
    "insert into meta (key, value) values ('evidence', 1)",
    # a challenge is answered once, and what was asked stays what was asked
    """create trigger challenge_only_goes_on before update on challenge
    when new.state <= old.state or new.id <> old.id or new.node <> old.node or new.document <> old.document
    begin select raise(abort, 'a challenge only goes on'); end""",
    """create trigger challenge_is_not_removed before delete on challenge
    begin select raise(abort, 'a challenge is never removed'); end""",
    """create trigger evidence_hangs_together before insert on evidence
    when new.seq <> coalesce((select max(seq) from evidence), 0) + 1
        or new.prev_sha256 <> coalesce((select sha256 from evidence where seq = new.seq - 1), printf('%064d', 0))
    begin select raise(abort, 'evidence is a chain without gaps'); end""",
    """create trigger evidence_is_not_changed before update on evidence
    begin select raise(abort, 'evidence is never changed'); end""",
    """create trigger evidence_is_not_removed before delete on evidence
    begin select raise(abort, 'evidence is never removed'); end""",
)


@MIGRATIONS()
def m002_proofs(db: Database) -> None:
    """What is proved of nodes, the challenges they were given, and the chain of evidence."""
    for statement in _PROOFS:
        db.execute(statement)


_TERMS = (
    "alter table account add column weight_milli integer not null default 1000 check (weight_milli > 0)",
    "alter table account add column jobs_max integer check (jobs_max >= 0)",
    "alter table account add column gpu_milli_max integer check (gpu_milli_max >= 0)",
    "alter table account add column cpu_milli_max integer check (cpu_milli_max >= 0)",
)


@MIGRATIONS()
def m003_terms(db: Database) -> None:
    """What an account may take, and how its turn is weighed."""
    for statement in _TERMS:
        db.execute(statement)


_GIVING_WAY = (
    "alter table attempt add column yields_to integer references job (id)",
    "alter table job add column checkpoint_ms integer",
)


@MIGRATIONS()
def m004_giving_way(db: Database) -> None:
    """For whom an attempt gives way, and what it would lose."""
    for statement in _GIVING_WAY:
        db.execute(statement)


def check_ours(connection: sqlite3.Connection) -> None:
    """Look at a file without changing it.

    Raises:
        StoreError: a newer version made it and this one would misread it, or it is somebody else's database.
    """
    db = _database(connection)
    applied = {migration.name for migration in MIGRATIONS.applied(db)}
    if unknown := applied - _known():
        raise StoreError(f"a newer gridmark made the database (it has {', '.join(sorted(unknown))}); use that one")
    if not applied and (tables := set(db.table_names()) - {MIGRATIONS.migrations_table}):
        raise StoreError(f"the database is not gridmark's (it has the table {min(tables)})")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this version's schema, each step in a transaction of its own."""
    db = _database(connection)
    if MIGRATIONS.pending(db):
        MIGRATIONS.apply(db)


def _known() -> set[str]:
    """The migrations of this version: all that an empty database lacks."""
    with Database(memory=True, execute_plugins=False) as empty:
        return {migration.name for migration in MIGRATIONS.pending(empty)}


def _database(connection: sqlite3.Connection) -> Database:
    return Database(connection, execute_plugins=False, recursive_triggers=False)
