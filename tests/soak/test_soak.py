"""The long search in small: a slice of each kind that needs no namespaces, what it finds, and where it goes on."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path

import pytest

from scheduler import lease
from scheduler.lease import Action
from scheduler.node import waiting
from scheduler.outage import Silence
from scheduler.store.store import Store
from tests.soak import __main__ as soak
from tests.soak import blackouts, crash, model, outages, verdict
from tests.soak.progress import Part, Progress


def test_a_slice_of_the_state_machine_counts_its_steps() -> None:
    """Ten histories of forty steps, of which nothing is to be found."""
    assert model.search(1, histories=10) == ({"histories": 10, "steps": 400}, [])


def test_a_rule_that_is_broken_is_a_finding_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that never freezes runs a job twice; the search says so, how, and by which few steps."""
    real = lease.decide
    monkeypatch.setattr(lease, "decide", lambda *args: Action.RUN if real(*args) is Action.FREEZE else real(*args))

    counts, failures = model.search(0, histories=200)

    assert len(failures) == 1
    assert failures[0].startswith(f"history {counts['histories']}: ")
    assert "runs twice" in failures[0]
    assert 1 <= failures[0].count("\nmachine.") < 15


def test_a_writer_that_dies_keeps_what_it_answered() -> None:
    """Some deaths, at every eighth statement from the first on, one after the other on the same database."""
    counts, failures = crash.search(0, most=16)

    assert failures == []
    assert counts["deaths"] == 16
    assert counts["whole lives"] == 0


def test_an_answer_before_its_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that says that it has written and has not: what was answered is missing afterwards."""
    real, writes = Store.write, 0

    def every_third_time_nothing(self: Store, changes: object, counters: object) -> None:
        nonlocal writes
        writes += 1
        if writes % 9:
            real(self, changes, counters)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "write", every_third_time_nothing)

    _, failures = crash.search(0)

    assert failures
    assert "statement" in failures[0]


def test_what_was_said_twice_and_differently_is_found(tmp_path: Path) -> None:
    """A token or a job number that two lives gave away."""
    said = tmp_path / "said"
    answered = crash.Answered()
    said.write_text('{"submitted": [["a", 1]], "ended": [], "placed": [[7, 1, 2]]}\n')
    assert answered.take(said) == []

    said.write_text('{"submitted": [["b", 1]], "ended": [], "placed": [[7, 1, 3]]}\n{"submitted": [["c", 9]], "en')
    assert answered.take(said) == [
        "token 7 was given twice: (1, 2) and (1, 3)",
        "job 1 was answered for the keys a and b",
    ]
    assert 9 not in answered.jobs


def test_progress_goes_on_after_the_last_whole_slice(tmp_path: Path) -> None:
    """Counts add up, seeds go on, and without --resume all begins anew."""
    path = tmp_path / "soak/progress.json"
    progress = Progress.begin(path, resume=True)
    progress.part("model").add({"steps": 40}, [], 2.0)
    progress.part("model").add({"steps": 2}, ["seed 1: it broke"], 1.0)
    progress.save()

    again = Progress.begin(path, resume=True)

    assert again.part("model") == Part(
        seed=2, slices=2, counts={"steps": 42}, failures=["seed 1: it broke"], seconds=3.0
    )
    assert again.failures == ["model: seed 1: it broke"]
    assert Progress.begin(path, resume=False).parts == {}


def test_a_search_ends_when_it_is_enough_when_it_found_something_or_when_time_is_over(tmp_path: Path) -> None:
    """Three parts: one of two slices, one that fails at once, and one that would go on for ever."""
    done: list[str] = []

    def part(name: str, failures: list[str], slices: int) -> soak.Search:
        def one(_: Part) -> tuple[dict[str, int], list[str]]:
            done.append(name)
            return {"slices": 1}, failures

        return soak.Search(slice=one, enough=lambda held: held.slices >= slices)

    progress = Progress.begin(tmp_path / "progress.json", resume=False)

    assert soak.run(progress, {"two": part("two", [], 2), "bad": part("bad", ["x"], 9)}, end_s=float("inf"))
    assert done == ["two", "bad", "two"]
    assert not soak.run(progress, {"for ever": part("for ever", [], 9)}, end_s=0.0)
    assert verdict.table(progress, ("two", "bad", "for ever")).splitlines() == [
        "two       2 slices in 2 slices, 0 s: clean",
        "bad       1 slices in 1 slices, 0 s: 1 FAILURES",
        "for ever   in 0 slices, 0 s: not run",
        "bad: x",
        "verdict: 1 FAILURES",
    ]


def test_the_verdict_is_kept_with_seeds_kinds_and_what_was_found(tmp_path: Path) -> None:
    """As a document; of what is counted as the most the greatest, of all else the sum."""
    progress = Progress.begin(tmp_path / "progress.json", resume=False)
    progress.part("storm").add({"server killed": 2, "most ms": 7}, [], 10.4)
    progress.part("storm").add({"server killed": 1, "most ms": 5}, ["seed 1: lost"], 10.0)
    progress.part("model")

    verdict.write(progress, tmp_path / "soak.json", dt.date(2026, 1, 2))
    kept = json.loads((tmp_path / "soak.json").read_text())

    assert (kept["date"], kept["failures"]) == ("2026-01-02", ["storm: seed 1: lost"])
    assert kept["parts"] == {
        "storm": {
            "slices": 2,
            "first_seed": 0,
            "last_seed": 1,
            "seconds": 20,
            "counts": {"most ms": 7, "server killed": 3},
            "verdict": "1 FAILURES",
        }
    }


def test_outages_in_a_time_of_their_own_restart_no_job() -> None:
    """Four outages of a server with five real agents; all of it takes no more than a moment."""
    counts, failures = outages.search(3, outages=4)

    assert failures == []
    assert counts["outages"] == 4
    assert counts["most ms until all ran again"] <= outages.AGAIN_S * 1000


def test_a_server_that_waits_for_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the brake, jobs are given to others as soon as a lease has ended."""
    monkeypatch.setattr(Silence, "is_mass", property(lambda _: False))

    _, failures = outages.search(3)

    assert any("began again" in one for one in failures)


def test_an_agent_that_is_slow_to_come_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of up to a minute keep jobs frozen though the server is there."""
    monkeypatch.setattr(waiting, "LONGEST_S", 60.0)
    monkeypatch.setattr(waiting, "LONGEST_HOLDING_S", 60.0)

    _, failures = outages.search(3)

    assert any("not all jobs run" in one or "was frozen for" in one for one in failures)


def test_real_outages_are_of_each_kind_and_of_every_length() -> None:
    """Kinds in turn, 1 to 60 s."""
    spans = [span for seed in range(50) for span in blackouts.drawn(random.Random(seed))]

    assert {kind for kind, _ in spans} == {*blackouts.KINDS}
    assert 1.0 <= min(s for _, s in spans) < 1.5
    assert 40.0 < max(s for _, s in spans) <= 60.0
