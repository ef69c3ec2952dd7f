"""The check: silent about a sound database, and one sentence for each way it can lie."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from scheduler.book import Change, Counters, Row
from scheduler.lifecycle import AttemptState, JobState
from scheduler.records import Capacity, Resources
from scheduler.store.check import SHOWN, check
from scheduler.store.errors import StoreError
from scheduler.store.store import open_store
from tests.scheduler.store.rows import (
    ACCOUNT,
    ATTEMPT,
    EVENT,
    GIB,
    JOB,
    NODE_FIGURE,
    REPORT,
    RESULT,
    active,
    attempt,
    job,
)
from tests.scheduler.store.rows import NODE as PROVED_NODE

NODE = replace(PROVED_NODE, proof=replace(PROVED_NODE.proof, figures={}))  # there is no evidence here
COUNTERS = Counters(node=2, job=4, token=4, event=2, account=2)
ENDED = replace(attempt(3, 3), state=AttemptState.SUCCEEDED, exit_code=0)
SOUND: tuple[Row, ...] = (
    ACCOUNT,
    NODE,
    active(JOB, 1),
    active(job(2), 2),
    replace(job(3), state=JobState.DONE, token=3, attempts=1),
    attempt(1, 1),
    attempt(2, 2),
    ENDED,
    replace(RESULT, job=3, token=3),
    EVENT,
    REPORT,
    NODE_FIGURE,
)


TWIN = """
drop index one_live;
create temp table twin as select * from attempt where token = 1;
update twin set token = 9, n = 2;
insert into attempt select * from twin
"""


#: evidence that follows from something that is not there
ORPHAN = """
drop trigger evidence_hangs_together;
insert into challenge
values (printf('%032d', 1), 1, 1, 'full', 'memory', 0, 1, '{}', 5, 1, 2, null, '', null);
insert into evidence
values (1, printf('%064d', 7), printf('%064d', 8), printf('%032d', 1), 1, printf('%064d', 9), '{}', 'v', 1)
"""


def make(path: Path, *rows: Row, counters: Counters = COUNTERS) -> Path:
    """A database with these rows."""
    store = open_store(path)
    store.write([Change(None, row) for row in rows], counters)
    store.close()
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Two active jobs on a node with two GPUs, one that is done."""
    return make(tmp_path / "gridmark.db", *SOUND)


def test_a_sound_database_is_passed_in_silence(sound: Path) -> None:
    """Closed or in use."""
    assert check(sound) == []

    store = open_store(sound)
    assert check(sound) == []
    assert check(sound, deep=False) == []
    store.close()


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        ("update attempt set state = 12 where token = 1", "job 1 is active, and its attempt 1 is not live"),
        ("update job set token = 2 where id = 1", "job 1 is active, and its attempt 2 is not live"),
        ("update job set token = null where id = 1", "job 1 is active, and its attempt None is not live"),
        ("update job set state = 1 where id = 2", "attempt 2 is live, and job 2 knows nothing of it"),
        ("update attempt set state = 4 where token = 3", "attempt 3 is live, and job 3 knows nothing of it"),
        ("update job set attempts = 2 where id = 1", "job 1 counts 2 attempts, there are 1"),
        (
            "drop trigger result_is_not_removed; delete from result",
            "job 3 is done and has no result",
        ),
        (
            "update attempt set state = 4 where token = 3",
            "the result of job 3 comes from attempt 3, which did not end it",
        ),
        (
            "drop trigger result_is_not_changed; update result set token = 2",
            "the result of job 3 comes from attempt 2, which did not end it",
        ),
        ("insert into secret values (3, 'TOKEN', x'00')", "job 3 has ended, and its secrets are still there"),
        ("update meta set value = 3 where key = 'token'", "the next token would be 3, and 3 is used already"),
        ("update meta set value = 1 where key = 'event'", "the next event would be 1, and 1 is used already"),
        ("delete from meta where key = 'job'", "the next job would be None, and 3 is used already"),
        (
            TWIN,
            "job 1 has 2 live attempts",
        ),
        (
            "drop index one_live",
            "the schema lacks the guards against two live attempts or challenges, or changed events or evidence",
        ),
        (
            ORPHAN,
            "evidence 1 does not follow what is before it",
        ),
        (
            ORPHAN,
            "entry 1 of the evidence cannot be read: verdict.outcome: missing",
        ),
        (
            "update node set proof = json_set(proof, '$.challenge', 'x')",
            "node 1 and its challenge x do not know of each other",
        ),
        ("update attempt set node = 9 where token = 1", "a row of attempt names a node that does not exist"),
        (
            "update attempt set cpu_milli = 14001 where token = 1",
            "node 1: its live attempts hold 16001 cpu_milli of 16000",
        ),
        (
            "update attempt set gpus = '[0]' where token = 1",
            "node 1: its live attempts hold 2000 thousandths of GPU 0, which has 1000",
        ),
        (
            "update attempt set gpus = '[7]' where token = 1",
            "node 1: its live attempts hold 1000 thousandths of GPU 7, which has 0",
        ),
        (
            "update attempt set gpus = '[]' where token = 1",
            "node 1: its live attempts hold 0 GPUs for attempt 1, which asked for 1",
        ),
    ],
)
def test_each_way_to_lie_is_found(sound: Path, harm: str, problem: str) -> None:
    """One fault at a time, put in by hand."""
    with Database(sound) as db:
        db.executescript(harm)

    assert problem in check(sound)


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        (Resources(memory_bytes=60 * GIB), [f"node 1: its live attempts hold {68 * GIB} memory_bytes of {64 * GIB}"]),
        (Resources(disk_bytes=100 * GIB), [f"node 1: its live attempts hold {101 * GIB} disk_bytes of {100 * GIB}"]),
        (Resources(memory_bytes=56 * GIB, disk_bytes=99 * GIB, cpu_milli=14_000), []),
    ],
)
def test_capacity_is_filled_to_the_brim_and_not_beyond(tmp_path: Path, taken: Resources, found: list[str]) -> None:
    """Beside an attempt with 2 CPUs, 8 GiB of memory and 1 GiB of disk."""
    second = replace(attempt(2, 2), resources=taken, gpus=())
    path = make(tmp_path / "gridmark.db", ACCOUNT, NODE, active(JOB, 1), active(job(2), 2), ATTEMPT, second)

    assert check(path) == found


def test_shares_of_a_gpu_are_added_up(tmp_path: Path) -> None:
    """600 and 400 thousandths fit on one GPU, 600 and 401 do not."""
    over = "node 1: its live attempts hold 1001 thousandths of GPU 0, which has 1000"
    for share, found in ((400, []), (401, [over])):
        shares = [
            replace(ATTEMPT, token=n, job=n, gpus=(0,), resources=Resources(gpu_milli=milli))
            for n, milli in ((1, 600), (2, share))
        ]
        path = make(tmp_path / f"{share}.db", ACCOUNT, NODE, active(JOB, 1), active(job(2), 2), *shares)

        assert check(path) == found


def test_a_node_that_shrank_under_its_jobs_is_no_fault(tmp_path: Path) -> None:
    """A GPU fell out, and the newest report says so; what was placed before it may stay until it ends."""
    smaller = replace(NODE, capacity=Capacity(gpu_milli=()), reported_ms=ATTEMPT.placed_ms + 1)
    path = make(tmp_path / "gridmark.db", ACCOUNT, smaller, active(JOB, 1), ATTEMPT)

    assert check(path) == []


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    """An operator reads twenty lines, not a million."""
    jobs = [replace(job(n), attempts=1) for n in range(1, SHOWN + 3)]
    path = make(tmp_path / "gridmark.db", ACCOUNT, *jobs, counters=replace(COUNTERS, job=99))

    found = check(path)

    assert len(found) == SHOWN + 1
    assert found[-1] == "… and 2 more like the last"


def test_a_damaged_file_is_found(sound: Path) -> None:
    """An index that was overwritten does not show in what the rows say; the deep check reads all of it."""
    with sqlite3.connect(sound) as db:
        page = db.execute("select rootpage from sqlite_schema where name = 'event_of_job'").fetchone()[0]
    db.close()
    content = bytearray(sound.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = os.urandom(4096)
    sound.write_bytes(content)

    assert check(sound, deep=False) == []
    assert any("damaged" in problem or "malformed" in problem for problem in check(sound))


def test_a_file_that_cannot_be_looked_at_is_a_finding(tmp_path: Path) -> None:
    """And one that is not there an error."""
    path = tmp_path / "gridmark.db"
    with pytest.raises(StoreError, match="there is no database"):
        check(path)

    path.write_bytes(os.urandom(10_000))
    assert [problem.endswith("file is not a database; restore a backup") for problem in check(path)] == [True]
