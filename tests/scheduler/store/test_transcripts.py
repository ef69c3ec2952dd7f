"""Which transcripts stay however old they are: those that the market's judgement rests on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from qualify.proof.verdict import BANDWIDTH, MEMORY
from scheduler.proofs.evidence import read
from scheduler.proofs.rows import Challenge
from scheduler.store import evidence, keep
from scheduler.store.connection import connect_reader
from tests.scheduler.proofs.floor import TRUE
from tests.scheduler.store.written import WrittenFloor


def kept(path: Path) -> list[int]:
    """Numbers of the entries whose transcripts stay."""
    with closing(connect_reader(path)) as db:
        named = keep.transcripts(db)
        return [entry.seq for entry in evidence.after(db, 0, limit=1000) if entry.transcript_sha256 in named]


def later(floor: WrittenFloor) -> None:
    """The node's next light check is due."""
    floor.clock.forward(max(0, (floor.proof.light_due_ms or 0) - floor.now.unix_ms))
    floor.sync(floor.id)


def entries(challenges: list[Challenge], *kinds: str) -> list[int]:
    return [one.entry or 0 for one in challenges if one.kind in kinds]


def test_what_is_listed_as_proved_rests_on_few_transcripts(tmp_path: Path) -> None:
    """Of a full check and ten light ones those stay that some figure is from, and the newest of each kind."""
    floor = WrittenFloor()
    full = floor.go_through(TRUE)
    light: list[Challenge] = []
    for _ in range(10):
        later(floor)
        light += floor.go_through(TRUE)
    path = floor.written(tmp_path / "gridmark.db")
    with closing(connect_reader(path)) as db:
        rests_on = {key: entry.seq for entry in evidence.after(db, 0, limit=1000) for key in read(entry)[1]}

    newest = {entries(full + light, kind)[-1] for kind in ("compute", "memory")}
    assert kept(path) == sorted({*rests_on.values()} | newest)
    assert rests_on.keys() == TRUE.keys()
    assert len(full) + len(light) > 20


def test_a_figure_that_a_later_check_did_not_prove_anew_keeps_its_transcript(tmp_path: Path) -> None:
    """How much memory there is was shown once, long ago; the newest that showed none stays, too."""
    floor = WrittenFloor()
    full = floor.go_through(TRUE)
    memory = {entry for entry in entries(full, "memory") if entry}
    light: list[Challenge] = []
    for _ in range(5):
        later(floor)
        light += floor.go_through({key: value for key, value in TRUE.items() if key not in (MEMORY, BANDWIDTH)})

    stay = set(kept(floor.written(tmp_path / "gridmark.db")))
    assert len(memory & stay) == 1
    assert entries(light, "memory")[-1] in stay
    assert len(stay) < len(full)


def test_a_wrong_answer_is_never_forgotten(tmp_path: Path) -> None:
    """The second one takes a node out for good, so the first has to be shown as well."""
    floor = WrittenFloor()
    floor.go_through(TRUE)
    later(floor)
    first = floor.end("hardware_corruption")
    floor.go_through(TRUE)
    for _ in range(3):
        later(floor)
        floor.go_through(TRUE)
    later(floor)
    second = floor.end("hardware_corruption")

    found = kept(floor.written(tmp_path / "gridmark.db"))

    assert floor.row.proof.bar == "cheat"
    assert {first.entry, second.entry} <= set(found)
    assert len(found) <= 4


def test_a_lie_is_kept_that_a_node_is_out_for(tmp_path: Path) -> None:
    """Nothing else is listed of it."""
    floor = WrittenFloor()
    floor.go_through(TRUE)
    later(floor)
    lie = floor.end("cheat_proven")

    assert lie.entry in kept(floor.written(tmp_path / "gridmark.db"))
