"""Opening: one writer, our own file, its key, its version; whatever is wrong is said in a sentence."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from scheduler.book import Change, Row
from scheduler.store.errors import DamagedError, StoreError
from scheduler.store.reader import Reader
from scheduler.store.store import open_store
from tests.scheduler.store.rows import ACCOUNT, COUNTERS, EVENT, JOB, NODE, job

NOBODY = 65534


def fill(path: Path, jobs: int) -> None:
    """A database with an account and some jobs in it."""
    store = open_store(path)
    rows: list[Row] = [ACCOUNT, NODE, *(job(n) for n in range(1, jobs + 1))]
    store.write([Change(None, row) for row in rows], COUNTERS)
    store.close()


def test_the_settings_that_durability_rests_on(tmp_path: Path) -> None:
    """WAL, every commit synced, foreign keys, no pass around the triggers."""
    store = open_store(tmp_path / "gridmark.db")
    found = {
        name: store._db.execute(f"pragma {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
    }
    store.close()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}


def test_what_the_market_knows_is_for_its_owner_only(tmp_path: Path) -> None:
    """The database and its log hold specs and environments of every renter."""
    store = open_store(tmp_path / "gridmark.db")
    store.write([Change(None, ACCOUNT)], COUNTERS)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    store.close()

    assert set(modes) == {f"gridmark.db{suffix}" for suffix in ("", "-wal", "-shm", ".key", ".evidence-key", ".lock")}
    assert set(modes.values()) == {0o600}


def test_every_table_is_strict(tmp_path: Path) -> None:
    """A text in a number's column is refused by the database itself; only the migrations' own list is lax."""
    open_store(tmp_path / "gridmark.db").close()
    with Database(tmp_path / "gridmark.db") as db:
        lax = {name for name in db.table_names() if not db.table(name).strict}

    assert lax == {"_sqlite_migrations"}


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    """Two writers would each think that they own memory; the sentence names the other."""
    path = tmp_path / "gridmark.db"
    store = open_store(path)
    script = (
        "import sys; from pathlib import Path; from scheduler.store.store import open_store;"
        "from scheduler.store.errors import StoreError\n"
        "try: open_store(Path(sys.argv[1]))\n"
        "except StoreError as error: print(error)"
    )

    said = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    store.close()

    assert said.stdout == f"{path} is in use by another gridmark (process {os.getpid()}); stop that one first\n"
    open_store(path).close()


def test_readers_of_other_processes_are_let_in(tmp_path: Path) -> None:
    """A backup or a check runs beside the server."""
    path = tmp_path / "gridmark.db"
    store = open_store(path)
    store.write([Change(None, ACCOUNT)], COUNTERS)
    script = (
        "import sys; from pathlib import Path; from scheduler.store.reader import Reader;"
        "print(Reader(Path(sys.argv[1])).accounts()[0].name)"
    )

    said = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    store.close()

    assert said.stdout == "Ada\n"


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Somebody's notes are not to be overwritten."""
    path = tmp_path / "gridmark.db"
    path.write_text("dear diary, " * 500)

    with pytest.raises(DamagedError, match="file is not a database"):
        open_store(path)

    assert path.read_text() == "dear diary, " * 500


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A path that was mistyped."""
    path = tmp_path / "music.db"
    with Database(path) as db:
        db.table("album").insert({"name": "Kind of Blue"})
    before = path.read_bytes()

    with pytest.raises(StoreError, match="the database is not gridmark's \\(it has the table album\\)"):
        open_store(path)

    assert path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """This version would misread it."""
    path = tmp_path / "gridmark.db"
    open_store(path).close()
    with Database(path) as db:
        db.table("_sqlite_migrations").insert({"migration_set": "gridmark", "name": "m999_more", "applied_at": "2099"})

    with pytest.raises(StoreError, match=r"a newer gridmark made the database \(it has m999_more\)"):
        open_store(path)


def test_a_page_that_was_overwritten_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    """A damaged job table: the market does not start from half of its jobs."""
    path = tmp_path / "gridmark.db"
    fill(path, 200)
    content = bytearray(path.read_bytes())
    with sqlite3.connect(path) as db:
        root = db.execute("select rootpage from sqlite_schema where name = 'job'").fetchone()[0]
    db.close()
    content[(root - 1) * 4096 : root * 4096] = os.urandom(4096)
    path.write_bytes(content)

    store = open_store(path)
    with pytest.raises(DamagedError, match="malformed; restore a backup"):
        store.load()
    store.close()


def test_a_row_that_says_nothing_sensible_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    """Somebody edited the file by hand."""
    path = tmp_path / "gridmark.db"
    fill(path, 1)
    with Database(path) as db:
        db.execute("update job set spec = json_remove(spec, '$.command')")

    store = open_store(path)
    with pytest.raises(DamagedError, match=r"a stored JobSpec cannot be read: \$\.command: missing"):
        store.load()
    store.close()


@pytest.mark.parametrize(
    ("figure", "fault"),
    [
        ('{"value": "1", "low": null, "high": null, "n": 1, "at_ms": 1, "unit": "s"}', r"\$\.value"),
        ('{"value": 1.0, "low": true, "high": null, "n": 1, "at_ms": 1, "unit": "s"}', r"\$\.low"),
        ('{"value": 1.0, "low": null, "high": null, "n": true, "at_ms": 1, "unit": "s"}', r"\$\.n"),
        ('{"value": 1.0, "low": null, "high": null, "n": 1, "at_ms": 1, "unit": "s", "more": 1}', "more"),
        ('{"value": 1.0, "low": null, "n": 1, "at_ms": 1}', r"\$\.high: missing"),
        ("[]", "expected an object"),
    ],
)
def test_a_figure_that_is_none_is_noticed_when_it_is_read(tmp_path: Path, figure: str, fault: str) -> None:
    """A wrong type, a field too many, one too few, or no object at all."""
    path = tmp_path / "gridmark.db"
    fill(path, 1)
    with Database(path) as db:
        db.execute("update node set figures = json_object('matmul.fp32', json(?))", [figure])

    store = open_store(path)
    with pytest.raises(DamagedError, match=f"a stored Figure cannot be read: .*{fault}"):
        store.load()
    store.close()


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder that this process may look into and not write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "old.db", 1)
        for path in folder.iterdir():
            path.chmod(0o644)
        folder.chmod(0o555)
        if os.geteuid() != 0:
            yield folder
        else:  # to whom modes mean nothing
            os.seteuid(NOBODY)
            try:
                yield folder
            finally:
                os.seteuid(0)
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(foreign_folder: Path) -> None:
    """A new database, and one that is there."""
    for name in ("new.db", "old.db"):
        with pytest.raises(StoreError, match="Permission denied; the server needs that folder"):
            open_store(foreign_folder / name)


def test_a_folder_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    """It is the caller's to make."""
    with pytest.raises(StoreError, match="No such file or directory"):
        open_store(tmp_path / "nowhere" / "gridmark.db")


def test_the_key_of_the_secrets_is_made_with_the_database(tmp_path: Path) -> None:
    """For its owner only, and the same at the next opening."""
    path = tmp_path / "gridmark.db"
    first = open_store(path)
    row = first.sealer.seal(1, "TOKEN", "s3cret")
    first.close()

    again = open_store(path)

    assert again.sealer.open(1, "TOKEN", row.sealed) == "s3cret"
    assert stat.S_IMODE((tmp_path / "gridmark.db.key").stat().st_mode) == 0o600
    again.close()


def test_a_lost_key_is_replaced_only_while_nothing_is_sealed_with_it(tmp_path: Path) -> None:
    """With secrets of live jobs the market says what to do; without, it makes a new key."""
    path, key = tmp_path / "gridmark.db", tmp_path / "gridmark.db.key"
    store = open_store(path)
    store.write([Change(None, row) for row in (ACCOUNT, JOB, store.sealer.seal(1, "TOKEN", "s3cret"))], COUNTERS)
    store.close()
    right = key.read_bytes()

    for wrong in (None, bytes(32)):
        key.unlink()
        if wrong is not None:
            key.write_bytes(wrong)
            key.chmod(0o600)
        with pytest.raises(StoreError, match="1 secrets are sealed with a key that is not in"):
            open_store(path)
        key.touch(0o600)
    key.write_bytes(right)
    open_store(path).close()

    with Database(path) as db:
        db.execute("delete from secret")
    key.unlink()
    open_store(path).close()
    assert key.read_bytes() != right


def test_history_cannot_be_changed_by_hand_either(tmp_path: Path) -> None:
    """Triggers hold against whoever uses sqlite-utils on the file."""
    path = tmp_path / "gridmark.db"
    store = open_store(path)
    store.write([Change(None, ACCOUNT), Change(None, JOB), Change(None, EVENT)], COUNTERS)
    store.close()

    with Database(path) as db:
        for statement, said in (
            ("update event set actor = 'nobody'", "an event is never changed"),
            ("delete from event", "an event at or above"),
            ("insert or replace into event select * from event", "an event at or above"),
            ("update meta set value = 0 where key = 'event_floor'", "event_floor only rises"),
        ):
            with pytest.raises(sqlite3.IntegrityError, match=said):
                db.execute(statement)


def test_old_events_go_from_the_old_end_only(tmp_path: Path) -> None:
    """Pruning moves a floor that never sinks."""
    store = open_store(tmp_path / "gridmark.db")
    events = [Change(None, EVENT.__class__(seq=n, at_ms=n, kind="k", actor="a")) for n in range(1, 11)]
    store.write(events, COUNTERS)

    assert store.prune_events(4) == 3
    assert store.prune_events(2) == 0

    reader = Reader(store.path)
    assert [event.seq for event in reader.events()] == [4, 5, 6, 7, 8, 9, 10]
    reader.close()
    store.close()
