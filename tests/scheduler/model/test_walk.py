"""The random walk: its seeds show again what they showed, and a history that fails is made small."""

from __future__ import annotations

import pytest

from scheduler import lease
from scheduler.lease import Action
from tests.scheduler.model import walk
from tests.scheduler.model.machine import BEGIN, EVENTS
from tests.soak.model import failure


def test_a_seed_is_a_history() -> None:
    """The same each time, another for another seed, of known rules only."""
    history = walk.drawn(7)

    assert history == walk.drawn(7)
    assert history != walk.drawn(8)
    assert len(history.steps) == walk.STEPS
    assert history.begin.arguments.keys() == BEGIN.keys()
    assert all(step.arguments.keys() == EVENTS[step.rule].keys() for step in history.steps)


def test_every_rule_happens() -> None:
    """Within fifty histories, and each is left out of one at least."""
    rules = [{step.rule for step in walk.drawn(seed).steps} for seed in range(50)]

    assert set.union(*rules) == EVENTS.keys()
    assert set.intersection(*rules) == set()


def test_a_history_that_fails_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left fails too, and not without any one of its steps."""
    real = lease.decide
    monkeypatch.setattr(lease, "decide", lambda *args: Action.RUN if real(*args) is Action.FREEZE else real(*args))
    failing = next(history for history in map(walk.drawn, range(200)) if failure(history))

    small = walk.smaller(failing, lambda tried: "runs twice" in failure(tried))

    assert "runs twice" in failure(small)
    assert len(small.steps) < walk.STEPS / 4
    for place in range(len(small.steps)):
        fewer = walk.History(small.begin, (*small.steps[:place], *small.steps[place + 1 :]))
        assert "runs twice" not in failure(fewer)
