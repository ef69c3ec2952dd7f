"""The deep check of evidence: what was changed by hand is found, whoever changed the digests with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from qualify.proof.verdict import BANDWIDTH, BF16, INT8, MEMORY
from scheduler.proofs.evidence import link
from scheduler.proofs.rows import EvidenceEntry
from scheduler.store import check_evidence, evidence
from scheduler.store.check import check
from scheduler.store.connection import connect_reader
from tests.scheduler.proofs.floor import GB
from tests.scheduler.store.written import WrittenFloor

TRUE = {INT8: 1.9e15, BF16: 0.7e15, MEMORY: 150.0 * GB, BANDWIDTH: 5.1e12}
#: of a chain of these checks
LAST = 11
UNGUARDED = "drop trigger evidence_is_not_changed; drop trigger evidence_is_not_removed;"


@pytest.fixture
def proved(tmp_path: Path) -> Path:
    """The database of a market whose node went through a full check, erred once, and went through another."""
    floor = WrittenFloor()
    floor.go_through(TRUE)
    floor.clock.forward((floor.proof.light_due_ms or 0) - floor.now.unix_ms)
    floor.sync(floor.id)
    floor.end("hardware_corruption")
    floor.go_through({**TRUE, INT8: 1 / 3 * 1e15})
    return floor.written(tmp_path / "gridmark.db")


def altered(path: Path, statement: str, values: Mapping[str, int] | None = None) -> list[str]:
    """What the check finds after this was done to the file by hand."""
    with Database(path) as db:
        db.executescript(UNGUARDED)
        with db.conn:
            db.execute(statement, values or {})
    quick = check(path, deep=False)
    assert all("lacks the guards" in problem or "does not follow" in problem for problem in quick)
    return [problem for problem in check(path) if problem not in quick]


def test_a_market_whose_proofs_are_as_they_were_is_passed_in_silence(proved: Path) -> None:
    """Eleven entries, of which one is a fault."""
    with Database(proved) as db:
        assert db.execute("select max(seq) from evidence").fetchone() == (LAST,)

    assert check(proved) == []


@pytest.mark.parametrize("seq", [1, 4, LAST])
@pytest.mark.parametrize(
    "change",
    [
        "update evidence set at_ms = at_ms + 1 where seq = :seq",
        "update evidence set verifier = 'rsc-1/0' where seq = :seq",
        "update evidence set transcript_sha256 = printf('%064d', 1) where seq = :seq",
        "update evidence set challenge = printf('%032d', 1) where seq = :seq",
        "update evidence set verdict = json_set(verdict, '$.why', 'because') where seq = :seq",
    ],
)
def test_an_entry_that_was_changed_by_hand_is_found(proved: Path, seq: int, change: str) -> None:
    """Anything in it; the first, the last, one between."""
    found = altered(proved, change, {"seq": seq})

    assert f"entry {seq} of the evidence was changed: it is not what its digest says" in found


RAISE = """
update evidence set verdict = json_set(verdict, '$.figures."proved.int8_ops_per_s".value', 9e15)
where seq = (select max(seq) from evidence where verdict ->> '$.figures."proved.int8_ops_per_s".value' > 0)
"""


def test_a_figure_that_was_raised_in_the_evidence_is_found_twice(proved: Path) -> None:
    """The entry is not what was written, and the row does not follow from it."""
    found = altered(proved, RAISE)

    assert len(found) == 2
    assert "was changed" in found[0]
    assert found[1].startswith(f"node 1: {INT8} is 3.33333e+14 OP/s of ")
    assert ", and 9e+15 OP/s of " in found[1]


def test_a_chain_written_anew_still_has_to_prove_what_is_listed(proved: Path) -> None:
    """Somebody raises a figure and gives every entry from there on a digest that fits: the row tells."""
    db = connect_reader(proved)
    entries = list(evidence.after(db, 0, limit=100))
    db.close()
    forged: list[EvidenceEntry] = []
    for entry in entries:
        verdict = json.loads(json.dumps(entry.verdict).replace("333333333333333.3", "933333333333333.3"))
        before = forged[-1].sha256 if forged else entry.prev_sha256
        forged.append(link(replace(entry, verdict=verdict, prev_sha256=before)))
    with Database(proved) as writing:
        writing.executescript(UNGUARDED)
        for entry in forged:
            writing.execute(
                "update evidence set sha256 = ?, prev_sha256 = ?, verdict = ? where seq = ?",
                (entry.sha256, entry.prev_sha256, json.dumps(entry.verdict), entry.seq),
            )
        writing.conn.commit()

    found = [problem for problem in check(proved) if "guards" not in problem]

    assert len(found) == 1
    assert found[0].startswith(f"node 1: {INT8} is 3.33333e+14 OP/s of ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            """update node set proof = json_set(proof, '$.figures."proved.bf16_flops".value', 8e14)""",
            f"{BF16} is 8e+14 FLOP/s of ",
        ),
        (
            """update node set proof = json_remove(proof, '$.figures."proved.memory_bytes"')""",
            f"{MEMORY} is none in its row, and 1.5e+11 B of ",
        ),
    ],
)
def test_what_is_listed_as_proved_has_to_follow_from_the_evidence(proved: Path, change: str, told: str) -> None:
    """A figure raised in the row, and one that was taken out of it."""
    (found,) = altered(proved, change)

    assert found.startswith(f"node 1: {told}")


@pytest.mark.parametrize(
    "statement", ["delete from evidence where seq = {}", "update evidence set seq = 99 where seq = {}"]
)
def test_an_entry_that_is_missing_is_found(proved: Path, statement: str) -> None:
    """Its number is not there, or another's."""
    with Database(proved) as db:
        db.executescript("pragma foreign_keys = off;" + UNGUARDED + statement.format(3))

    assert "after entry 2 of the evidence comes 4" in check(proved)


def test_others_have_their_turn_while_the_evidence_is_judged(proved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every few entries; while the chain is read nothing is held, so that the log can begin anew."""
    monkeypatch.setattr(check_evidence, "AT_ONCE", 3)
    frozen: list[bool] = []

    with contextlib.closing(connect_reader(proved)) as db:

        def pause() -> None:
            frozen.append(db.in_transaction)

        assert list(check_evidence.broken(db, pause)) == []
        assert frozen == [False] * 4  # after 3, 6, 9 and 11 entries
        assert list(check_evidence.unproved(db, pause)) == []
        assert frozen[4:] == [True, True, True, False]  # after 3, 6 and 9; after the node
