"""The long search in small: a slice of each kind that needs no namespaces, what it finds, and where it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler import lease
from scheduler.lease import Action
from scheduler.store.store import Store
from tests.soak import __main__ as soak
from tests.soak import crash, model
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
    assert soak.verdict(progress, ("two", "bad", "for ever")).splitlines() == [
        "two    2 slices in 2 slices, 0 s: clean",
        "bad    1 slices in 1 slices, 0 s: 1 FAILURES",
        "for ever  in 0 slices, 0 s: not run",
        "bad: x",
        "verdict: 1 FAILURES",
    ]
