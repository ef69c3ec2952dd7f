"""What is only ever added to: the tables `event`, `result`, `report`, `figure`, and `secret` until its job ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from scheduler.records import Artifact, Event, Figure, NodeFigure, Remark, ReportEntry, Result, SealedSecret
from scheduler.store import many, text

_EVENT = ("seq", "at_ms", "kind", "actor", "job", "token", "node", "data")
_SELECT_EVENTS = "select * from event where seq > :after order by seq limit :limit"
_SELECT_EVENTS_OF_JOB = """
select * from event where job = :job and seq > :after and (:node is null or node = :node) order by seq limit :limit
"""
_SELECT_EVENTS_OF_NODE = "select * from event where node = :node and seq > :after order by seq limit :limit"
_SELECT_LATEST = "select * from event where seq < :before order by seq desc limit :limit"
_SELECT_LATEST_OF_JOB = """
select * from event where job = :job and seq < :before and (:node is null or node = :node)
order by seq desc limit :limit
"""
_SELECT_LATEST_OF_NODE = """
select * from event where node = :node and seq < :before order by seq desc limit :limit
"""
_SELECT_ENDS = "select coalesce(min(seq), 1), coalesce(max(seq), 0) + 1 from event"
_SELECT_EVENT_FROM = "select seq, at_ms from event where seq >= :seq order by seq limit 1"
_RAISE_EVENT_FLOOR = "update meta set value = max(value, :floor) where key = 'event_floor'"
_DELETE_EVENTS = "delete from event where seq < (select value from meta where key = 'event_floor')"

_RESULT = ("job", "token", "exit_code", "artifacts", "at_ms")
_SELECT_RESULT = "select * from result where job = :job"

# an agent that did not hear the answer sends its report again
_INSERT_REPORT = """
insert into report (id, node, at_ms, verdict, profile, remarks)
values (:id, :node, :at_ms, :verdict, :profile, :remarks) on conflict (id) do nothing
"""
_SELECT_REPORT = "select * from report where id = :id"
_SELECT_REPORTS = "select * from report where node = :node and at_ms < :before_ms order by at_ms desc limit :limit"

_INSERT_FIGURE = """
insert into figure (node, metric, at_ms, value, low, high, n)
values (:node, :metric, :at_ms, :value, :low, :high, :n) on conflict (node, metric, at_ms) do nothing
"""
_SELECT_FIGURES = """
select value, low, high, n, at_ms from figure
where node = :node and metric = :metric and at_ms >= :since_ms order by at_ms desc limit :limit
"""

_SELECT_METRICS = "select distinct metric from figure where node = :node order by metric limit :limit"

_INSERT_SEALED = "insert into secret (job, name, sealed) values (:job, :name, :sealed)"
_SELECT_SEALED = "select name, sealed from secret where job = :job"
_COUNT_SEALED = "select count(*) from secret"


def insert_events(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Something happened."""
    rows = [
        (one.seq, one.at_ms, one.kind, one.actor, one.job, one.token, one.node, text.of_plain(one.data))
        for one in events
    ]
    many.insert(db, "event", _EVENT, rows)


def events(db: sqlite3.Connection, *, after: int, limit: int, job: int | None, node: int | None) -> tuple[Event, ...]:
    """Events numbered above `after`, oldest first; of one job, one node, or both."""
    values = {"after": after, "limit": limit, "job": job, "node": node}
    sql = _SELECT_EVENTS if node is None else _SELECT_EVENTS_OF_NODE
    if job is not None:
        sql = _SELECT_EVENTS_OF_JOB
    return tuple(map(_event, db.execute(sql, values)))


def latest_events(
    db: sqlite3.Connection, *, before: int, limit: int, job: int | None, node: int | None
) -> tuple[Event, ...]:
    """Events numbered below `before`, newest first; of one job, one node, or both."""
    values = {"before": before, "limit": limit, "job": job, "node": node}
    sql = _SELECT_LATEST if node is None else _SELECT_LATEST_OF_NODE
    if job is not None:
        sql = _SELECT_LATEST_OF_JOB
    return tuple(map(_event, db.execute(sql, values)))


def first_event_since(db: sqlite3.Connection, at_ms: int) -> int:
    """The number of the first event that is no older than a time: events are numbered as they happened."""
    low, high = db.execute(_SELECT_ENDS).fetchone()
    while low < high:
        middle = (low + high) // 2
        seq, found_ms = db.execute(_SELECT_EVENT_FROM, {"seq": middle}).fetchone()
        if found_ms < at_ms:
            low = seq + 1
        else:
            high = middle
    return int(low)


def prune_events(db: sqlite3.Connection, below: int) -> int:
    """Remove the events numbered under `below`; how many went."""
    db.execute(_RAISE_EVENT_FLOOR, {"floor": below})
    return db.execute(_DELETE_EVENTS).rowcount


def insert_results(db: sqlite3.Connection, results: Iterable[Result]) -> None:
    """The one outcome of each job; a second one is refused by the table's key."""
    rows = [(one.job, one.token, one.exit_code, text.of_records(one.artifacts), one.at_ms) for one in results]
    many.insert(db, "result", _RESULT, rows)


def result(db: sqlite3.Connection, job: int) -> Result | None:
    """What came of a job."""
    row = db.execute(_SELECT_RESULT, {"job": job}).fetchone()
    if row is None:
        return None
    artifacts = text.records(Artifact, row["artifacts"])
    return Result(
        job=row["job"], token=row["token"], exit_code=row["exit_code"], artifacts=artifacts, at_ms=row["at_ms"]
    )


def insert_report(db: sqlite3.Connection, report: ReportEntry) -> None:
    """A node was measured; the same report again is no news."""
    values = {
        "id": report.id,
        "node": report.node,
        "at_ms": report.at_ms,
        "verdict": report.verdict,
        "profile": report.profile,
        "remarks": text.of_records(report.remarks),
    }
    db.execute(_INSERT_REPORT, values)


def report(db: sqlite3.Connection, report_id: str) -> ReportEntry | None:
    """A report by its id, whichever node it is of."""
    row = db.execute(_SELECT_REPORT, {"id": report_id}).fetchone()
    return _report(row) if row else None


def reports(db: sqlite3.Connection, node: int, *, before_ms: int, limit: int) -> tuple[ReportEntry, ...]:
    """A node's reports taken before a time, the newest first."""
    values = {"node": node, "before_ms": before_ms, "limit": limit}
    return tuple(map(_report, db.execute(_SELECT_REPORTS, values)))


def insert_figure(db: sqlite3.Connection, entry: NodeFigure) -> None:
    """A figure for the history; the same one again is no news."""
    figure = entry.figure
    values = {
        "node": entry.node,
        "metric": entry.metric,
        "at_ms": figure.at_ms,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "n": figure.n,
    }
    db.execute(_INSERT_FIGURE, values)


def figures(db: sqlite3.Connection, node: int, metric: str, *, since_ms: int, limit: int) -> tuple[Figure, ...]:
    """The newest `limit` figures since a time, oldest first."""
    values = {"node": node, "metric": metric, "since_ms": since_ms, "limit": limit}
    newest_first = [Figure(**row) for row in db.execute(_SELECT_FIGURES, values)]
    return tuple(reversed(newest_first))


def metrics(db: sqlite3.Connection, node: int, *, limit: int) -> tuple[str, ...]:
    """What was ever measured of a node."""
    return tuple([row["metric"] for row in db.execute(_SELECT_METRICS, {"node": node, "limit": limit})])


def insert_secret(db: sqlite3.Connection, secret: SealedSecret) -> None:
    """A secret that came with a job."""
    db.execute(_INSERT_SEALED, {"job": secret.job, "name": secret.name, "sealed": secret.sealed})


def secrets(db: sqlite3.Connection, job: int) -> dict[str, bytes]:
    """A live job's secrets, still sealed, by name."""
    return {row["name"]: row["sealed"] for row in db.execute(_SELECT_SEALED, {"job": job})}


def count_secrets(db: sqlite3.Connection) -> int:
    """How many secrets of live jobs there are."""
    return int(db.execute(_COUNT_SEALED).fetchone()[0])


def _event(row: sqlite3.Row) -> Event:
    return Event(
        seq=row["seq"],
        at_ms=row["at_ms"],
        kind=row["kind"],
        actor=row["actor"],
        job=row["job"],
        token=row["token"],
        node=row["node"],
        data=text.plain(row["data"]),
    )


def _report(row: sqlite3.Row) -> ReportEntry:
    return ReportEntry(
        id=row["id"],
        node=row["node"],
        at_ms=row["at_ms"],
        verdict=row["verdict"],
        profile=row["profile"],
        remarks=text.records(Remark, row["remarks"]),
    )
