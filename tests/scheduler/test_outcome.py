"""How attempts end, and what becomes of jobs and nodes by it."""

from __future__ import annotations

import pytest

from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.records import Job
from tests.scheduler.market_floor import Floor, artifact, summary


def after_backoff(floor: Floor, job: Job) -> Job:
    """The job, when it is placed again; nodes keep syncing meanwhile."""
    while floor.job(job).state is JobState.BACKOFF:
        floor.tick(1_000)
        for node in floor.nodes:
            floor.sync(node)
    return floor.job(job)


def test_a_crash_waits_uses_a_retry_and_goes_elsewhere() -> None:
    """5 s, half of them by chance; the node on which it crashed is avoided."""
    floor = Floor(nodes=2)
    job = floor.running(retries=1)

    floor.says(job, "exited", 7)

    waiting = floor.job(job)
    assert (waiting.state, waiting.retries_used, waiting.crash_exit, waiting.crash_nodes) == (
        JobState.BACKOFF,
        1,
        7,
        (1,),
    )
    assert waiting.next_at_ms == floor.now.unix_ms + 2_500
    assert floor.seen.results == []
    assert after_backoff(floor, job).state is JobState.ACTIVE
    assert floor.attempt(job).node == 2
    floor.says(job, "exited", 0)
    assert (floor.job(job).state, floor.job(job).exit_code) == (JobState.DONE, 0)


def test_the_last_failure_is_a_result_too() -> None:
    """Its exit code and what it left are the renter's."""
    floor = Floor()
    job = floor.running()

    floor.says(job, "exited", 7, artifacts=(artifact(),))

    assert (floor.job(job).state, floor.job(job).exit_code, floor.job(job).reason) == (
        JobState.FAILED,
        7,
        "exit code 7",
    )
    assert [(result.exit_code, result.artifacts) for result in floor.seen.results] == [(7, (artifact(),))]


def test_the_same_exit_code_on_three_nodes_fails_the_job() -> None:
    """However many retries it has."""
    floor = Floor(nodes=3)
    job = floor.running(retries=9)
    for _ in range(3):
        floor.says(job, "exited", 7)
        after_backoff(floor, job)

    assert floor.job(job).state is JobState.FAILED
    assert floor.job(job).crash_nodes == (1, 2, 3)
    assert "on 3 different nodes" in floor.job(job).reason


def test_another_exit_code_begins_another_count() -> None:
    """Two programs' worth of trouble is not one bug."""
    floor = Floor(nodes=3)
    job = floor.running(retries=9)
    for code in (7, 7, 8):
        floor.says(job, "exited", code)
        after_backoff(floor, job)

    assert floor.job(job).state is JobState.ACTIVE
    assert (floor.job(job).crash_exit, floor.job(job).crash_nodes) == (8, (3,))


def test_a_crashing_job_returns_to_a_node_it_crashed_on_when_no_other_fits() -> None:
    """One machine at home is enough for a retry."""
    floor = Floor()
    job = floor.running(retries=1)

    floor.says(job, "exited", 7)
    after_backoff(floor, job)

    assert (floor.attempt(job).node, floor.attempt(job).n) == (1, 2)


def test_what_cannot_be_prepared_fails_when_it_fails_there_again() -> None:
    """An image that does not exist does not keep a single machine busy for ever."""
    floor = Floor()
    job = floor.submit(image="nosuch")
    floor.says(job, "prepare_failed", reason="no such image")
    assert floor.job(job).state is JobState.BACKOFF
    after_backoff(floor, job)

    floor.says(job, "prepare_failed", reason="no such image")

    assert floor.job(job).state is JobState.FAILED
    assert floor.job(job).reason == "could not be prepared, twice on the same node: no such image"
    assert floor.job(job).retries_used == 0
    assert floor.seen.results == []
    assert floor.node(1).lost_jobs == ()


def test_a_node_that_loses_three_different_jobs_is_taken_out() -> None:
    """It is measured before it gets work again; a report it passes clears it."""
    floor = Floor(nodes=2)
    floor.control.drain(2, True, "operator", floor.now)
    jobs = [floor.running() for _ in range(3)]
    for job in jobs[:2]:
        floor.says(job, "vanished")
    assert floor.node(1).standing is Standing.READY
    assert floor.node(1).lost_jobs == (1, 2)

    floor.says(jobs[2], "vanished")

    node = floor.node(1)
    assert (node.standing, node.lost_jobs, node.due_ms) == (Standing.QUARANTINED, (1, 2, 3), floor.now.unix_ms)
    assert node.why == "it lost 3 different jobs since it was last measured"
    assert "node.quarantined" in floor.kinds()
    assert floor.job(jobs[2]).state is JobState.QUEUED
    floor.control.accept_report(1, summary(report_id="new"), floor.now)
    floor.commit()
    assert (floor.node(1).standing, floor.node(1).lost_jobs) == (Standing.READY, ())
    assert floor.job(jobs[2]).state is JobState.ACTIVE


def test_losing_one_job_three_times_is_one_loss() -> None:
    """It may be the job that kills its supervisor."""
    floor = Floor()
    job = floor.running()
    for _ in range(3):
        floor.says(job, "vanished")
        floor.says(job, "running")

    assert floor.node(1).lost_jobs == (job.id,)
    assert floor.node(1).standing is Standing.READY
    assert floor.job(job).replacements == 3


@pytest.mark.parametrize("code", [0, 143])
def test_a_cancelled_job_ends_cancelled_whatever_its_program_says(code: int) -> None:
    """Its files are kept, its exit code shown."""
    floor = Floor()
    job = floor.running()
    floor.control.cancel(job.id, "account 1", floor.now)
    floor.commit()

    floor.says(job, "exited", code, artifacts=(artifact(),))

    ended = floor.job(job)
    assert (ended.state, ended.exit_code, ended.reason) == (JobState.CANCELLED, code, "cancelled by account 1")
    assert floor.attempt(job).state is AttemptState.CANCELLED
    assert len(floor.seen.results) == 1


def test_a_cancelled_job_whose_node_goes_silent_is_over() -> None:
    """It is not placed again to be stopped there."""
    floor = Floor(nodes=2)
    job = floor.running()
    floor.control.cancel(job.id, "account 1", floor.now)
    floor.commit()

    floor.tick(16_000)

    assert floor.attempt(job).state is AttemptState.LOST
    assert floor.job(job).state is JobState.CANCELLED


def test_a_job_that_ends_badly_after_its_deadline_is_not_tried_again() -> None:
    """It has expired."""
    floor = Floor()
    job = floor.running(retries=5, deadline_ms=floor.now.unix_ms + 1_000)
    floor.clock.forward(1_500)

    floor.says(job, "exited", 7)

    assert floor.job(job).state is JobState.EXPIRED
    assert floor.job(job).exit_code == 7


def test_every_end_says_who_and_why() -> None:
    """The events of an attempt's end carry state, code, reason and frozen time."""
    floor = Floor()
    job = floor.running()

    floor.says(job, "exited", 7, reason="killed", frozen_ms=1_200)

    ended = next(event for event in floor.seen.events if event.kind == "attempt.ended")
    assert (ended.actor, ended.job, ended.token, ended.node) == ("node 1", job.id, 1, 1)
    assert ended.data == {"state": "app_failed", "exit_code": 7, "reason": "killed", "frozen_ms": 1_200}
    assert floor.kinds(job)[-1] == "job.failed"
