"""States, and what each kind of end costs a job."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.lifecycle import (
    BACKOFF_LONGEST_MS,
    MAX_REPLACEMENTS,
    AttemptState,
    Ending,
    JobState,
    Next,
    Standing,
    after,
    is_live,
    may_follow,
    shown,
)

LIVE = [state for state in AttemptState if is_live(state)]
ENDED = [state for state in AttemptState if not is_live(state)]


def ending(state: AttemptState, **changes: Any) -> Ending:
    """The first attempt of a job that allows one retry."""
    fields: dict[str, Any] = {
        "exit_code": None,
        "retries_used": 0,
        "retries_allowed": 1,
        "replacements": 0,
        "recovers": False,
        "same_crash_nodes": 1,
    }
    return Ending(state=state, **{**fields, **changes})


def follows(state: AttemptState, **changes: Any) -> Next:
    """What becomes of the job when chance lies in the middle."""
    return after(ending(state, **changes), random=lambda: 0.5)


def test_a_live_attempt_may_end_in_any_way_and_an_ended_one_in_none() -> None:
    """An end is final: that is what the fencing token rests on."""
    assert all(may_follow(before, end) for before in LIVE for end in ENDED)
    assert not any(may_follow(before, then) for before in ENDED for then in AttemptState)


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (AttemptState.RUNNING, AttemptState.PREPARING),
        (AttemptState.RUNNING, AttemptState.RESERVED),
        (AttemptState.STOPPING, AttemptState.RUNNING),
        (AttemptState.STOPPING, AttemptState.STOPPING),
        (AttemptState.PREPARING, AttemptState.FROZEN),
    ],
)
def test_an_older_message_moves_nothing_back(before: AttemptState, then: AttemptState) -> None:
    """A late sync says what was."""
    assert not may_follow(before, then)


def test_a_frozen_attempt_runs_again() -> None:
    """The link came back in time."""
    assert may_follow(AttemptState.RUNNING, AttemptState.FROZEN)
    assert may_follow(AttemptState.FROZEN, AttemptState.RUNNING)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (AttemptState.SUCCEEDED, JobState.DONE),
        (AttemptState.CANCELLED, JobState.CANCELLED),
        (AttemptState.TIMEOUT, JobState.FAILED),
        (AttemptState.LOST, JobState.QUEUED),
        (AttemptState.PREEMPTED, JobState.QUEUED),
        (AttemptState.SUPPLIER_FAULT, JobState.QUEUED),
        (AttemptState.PREPARE_FAILED, JobState.BACKOFF),
    ],
)
def test_what_each_end_means(state: AttemptState, then: JobState) -> None:
    """None of these uses up a retry of the job's own."""
    assert follows(state).state is then
    assert not follows(state).uses_retry


def test_a_crash_is_tried_again_while_retries_are_left() -> None:
    """5 s, then 10 s at most, half of it by chance; after the last one it has failed."""
    first = follows(AttemptState.APP_FAILED, exit_code=7)
    second = follows(AttemptState.APP_FAILED, exit_code=7, retries_used=1, retries_allowed=2)
    last = follows(AttemptState.APP_FAILED, exit_code=7, retries_used=1)

    assert (first.state, first.delay_ms, first.uses_retry) == (JobState.BACKOFF, 2_500, True)
    assert (second.state, second.delay_ms) == (JobState.BACKOFF, 5_000)
    assert (last.state, last.reason) == (JobState.FAILED, "exit code 7")


def test_a_job_s_end_says_what_the_node_knows_of_it() -> None:
    """Exit code 137 alone would not tell the renter that memory was short."""
    end = follows(AttemptState.APP_FAILED, exit_code=137, retries_used=1, reason="the kernel ended it")

    assert (end.state, end.reason) == (JobState.FAILED, "exit code 137: the kernel ended it")


def test_an_exit_code_that_the_job_recovers_from_needs_no_retry() -> None:
    """The renter asked for it."""
    assert follows(AttemptState.APP_FAILED, exit_code=9, recovers=True, retries_allowed=0).state is JobState.BACKOFF


def test_the_same_crash_on_three_nodes_is_the_program_s() -> None:
    """Whatever retries are left."""
    end = follows(AttemptState.APP_FAILED, exit_code=7, recovers=True, same_crash_nodes=3)

    assert end.state is JobState.FAILED
    assert "exit code 7 on 3 different nodes" in end.reason


def test_too_many_losses_slow_a_job_down() -> None:
    """The 19th goes on at once; from the 20th on it waits, longer each time, never more than 10 minutes."""
    assert follows(AttemptState.LOST, replacements=MAX_REPLACEMENTS - 1).state is JobState.QUEUED
    at_limit = follows(AttemptState.LOST, replacements=MAX_REPLACEMENTS)
    assert (at_limit.state, at_limit.delay_ms) == (JobState.BACKOFF, 2_500)
    assert follows(AttemptState.LOST, replacements=10_000).delay_ms == BACKOFF_LONGEST_MS // 2


def test_what_cannot_be_prepared_fails_after_three_nodes_or_twice_on_one() -> None:
    """A full disk is one node's; an image that does not exist is the job's."""
    assert follows(AttemptState.PREPARE_FAILED, same_crash_nodes=2).delay_ms == 10_000
    thrice = follows(AttemptState.PREPARE_FAILED, same_crash_nodes=3, reason="no such image")
    again = follows(AttemptState.PREPARE_FAILED, again_there=True, reason="no such image")

    assert (thrice.state, again.state) == (JobState.FAILED, JobState.FAILED)
    assert thrice.reason == "could not be prepared, on 3 different nodes: no such image"
    assert again.reason == "could not be prepared, twice on the same node: no such image"


@pytest.mark.parametrize(
    ("standing", "online", "draining", "word"),
    [
        (Standing.READY, True, False, "ready"),
        (Standing.READY, True, True, "draining"),
        (Standing.READY, False, True, "offline"),
        (Standing.QUARANTINED, True, False, "quarantined"),
        (Standing.RETIRED, False, True, "retired"),
    ],
)
def test_the_one_word_for_a_node(standing: Standing, online: bool, draining: bool, word: str) -> None:
    """Retired beats offline beats draining."""
    assert shown(standing, online=online, draining=draining) == word
