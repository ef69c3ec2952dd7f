"""A row with other values is what dataclasses.replace would make of it, for every kind of row that is ever changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scheduler.evolve import evolve
from scheduler.lifecycle import JobState
from tests.scheduler.store.rows import ACCOUNT, ATTEMPT, CHALLENGE, JOB, NODE


@pytest.mark.parametrize("row", [ACCOUNT, ATTEMPT, CHALLENGE, JOB, NODE], ids=lambda row: type(row).__name__)
def test_any_field_of_any_row_is_replaced_and_the_others_stay(row: Any) -> None:
    """Field by field, and none at all."""
    assert evolve(row, {}) == row
    for field in dataclasses.fields(row):
        mark = object()
        changed = evolve(row, {field.name: mark})
        assert [one.name for one in dataclasses.fields(row) if getattr(changed, one.name) is mark] == [field.name]
        assert dataclasses.replace(changed, **{field.name: getattr(row, field.name)}) == row


def test_rows_stay_as_they_were() -> None:
    """The one it is made of is not touched, and the new one is as frozen."""
    changed = evolve(JOB, {"state": JobState.DONE})

    assert JOB.state is JobState.QUEUED
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.state = JobState.QUEUED  # type: ignore[misc]


def test_a_field_that_is_none_is_refused() -> None:
    """A slip of the pen is no silent nothing."""
    with pytest.raises(TypeError, match="a Job has no field 'stat'"):
        evolve(JOB, {"stat": 1})
