"""What time alone brings about."""

from __future__ import annotations

import pytest

from scheduler import expiry
from scheduler.control import ControlSettings
from scheduler.lifecycle import AttemptState, JobState, Standing
from tests.scheduler.market_floor import Floor, summary


def test_a_silent_node_is_given_up_after_its_lease_and_its_jobs_go_elsewhere_at_once() -> None:
    """16 s after it was last heard, not a tick before; loss and new placement are one commit."""
    floor = Floor(nodes=2)
    job = floor.running()
    floor.tick(8_000)
    floor.sync(2)
    floor.tick(7_999)
    assert floor.node(1).online

    floor.tick(1)

    assert not floor.node(1).online
    assert floor.seen.attempts[1].state is AttemptState.LOST
    assert (floor.attempt(job).token, floor.attempt(job).node) == (2, 2)
    offline = next(event for event in floor.seen.events if event.kind == "node.offline")
    assert offline.data == {"silent_ms": 16_000}


def test_a_node_that_is_heard_stays() -> None:
    """Its lease begins again with each sync."""
    floor = Floor()
    job = floor.running()
    for _ in range(20):
        floor.tick(3_000)
        floor.says(job, "running")

    assert floor.kinds().count("node.offline") == 0


def test_a_node_that_comes_back_is_online_and_gets_work() -> None:
    """Without anybody's help."""
    floor = Floor()
    floor.tick(16_000)
    job = floor.submit()
    assert floor.job(job).state is JobState.QUEUED

    floor.sync(1)

    assert floor.job(job).state is JobState.ACTIVE


def test_while_the_server_stood_still_nobody_was_silent() -> None:
    """20 s in which it heard nothing move every lease by 20 s."""
    floor = Floor()
    job = floor.running()
    floor.tick(1_000)
    floor.tick(20_000, step_ms=20_000)

    floor.tick(14_999)
    assert floor.node(1).online
    floor.tick(1)

    assert not floor.node(1).online
    assert floor.job(job).replacements == 1


def test_a_restarted_server_gives_every_node_a_whole_lease() -> None:
    """Its clock may have begun anew, and nobody was heard yet."""
    floor = Floor()
    job = floor.running()
    floor.restart()
    floor.clock.forward(3_600_000)
    floor.tick()

    floor.tick(15_999)
    assert floor.node(1).online
    assert floor.job(job).replacements == 0
    floor.tick(1)

    assert not floor.node(1).online


def test_a_job_in_backoff_returns_when_its_time_has_come() -> None:
    """By the calendar, which the row survives a restart by."""
    floor = Floor()
    job = floor.running(retries=1)
    floor.says(job, "exited", 7)

    floor.tick(2_499)
    floor.sync(1)
    assert floor.job(job).state is JobState.BACKOFF
    floor.tick(1)

    assert floor.job(job).state is JobState.ACTIVE


def test_a_job_that_waits_past_its_deadline_expires() -> None:
    """Queued or in backoff."""
    floor = Floor(nodes=0)
    job = floor.submit(deadline_ms=floor.now.unix_ms + 5_000)

    floor.tick(4_999)
    assert floor.job(job).state is JobState.QUEUED
    floor.tick(1)

    assert (floor.job(job).state, floor.job(job).reason) == (JobState.EXPIRED, "its deadline passed")


def test_a_job_that_runs_past_its_deadline_is_stopped_first() -> None:
    """It has expired when its agent says that it has ended, and holds its resources until then."""
    floor = Floor()
    job = floor.running(deadline_ms=floor.now.unix_ms + 5_000)
    floor.tick(5_000)
    assert floor.attempt(job).state is AttemptState.STOPPING

    (wish,) = floor.says(job, "running").wishes
    floor.tick(6_000)
    floor.says(job, "exited", 143)

    assert (wish.desired, wish.reason) == ("stop", "the job's deadline passed")
    assert floor.job(job).state is JobState.EXPIRED
    assert floor.kinds(job).count("attempt.stopping") == 1


def test_a_stop_at_the_deadline_that_could_not_be_committed_is_tried_again() -> None:
    """The disk was full at that moment."""
    floor = Floor()
    job = floor.running(deadline_ms=floor.now.unix_ms + 5_000)
    floor.clock.forward(5_000)
    floor.control.tick(floor.now)
    floor.book.undo()

    for _ in range(2):
        floor.tick(3_000)
        floor.says(job, "running")

    assert floor.attempt(job).state is AttemptState.STOPPING


def test_an_expiry_that_could_not_be_committed_is_tried_again() -> None:
    """Memory is what the database holds: the node is online until it is written down that it is not."""
    floor = Floor()
    floor.clock.forward(1_000)
    floor.control.tick(floor.now)
    for _ in range(16):
        floor.clock.forward(1_000)
        floor.control.tick(floor.now)
        floor.book.undo()
    assert floor.node(1).online

    floor.tick(1_000)

    assert not floor.node(1).online


def test_an_idle_node_is_called_when_its_measurement_is_due() -> None:
    """Its sync may be held back just then; a busy one is left alone."""
    floor = Floor(nodes=2, settings=ControlSettings(requalify_ms=20_000, requalify_jitter=0))
    job = floor.running()
    floor.control.touched()
    calls: list[int] = []
    for _ in range(25):
        floor.tick(1_000)
        calls += floor.control.touched().nodes
        floor.says(job, "running")
        floor.sync(2)

    assert set(calls) == {2}


def test_an_old_report_degrades_its_node_and_a_new_one_mends_it() -> None:
    """48 h."""
    floor = Floor(settings=ControlSettings(stale_ms=48 * 3_600_000))
    floor.clock.forward(48 * 3_600_000)
    floor.tick()
    assert floor.node(1).standing is Standing.READY
    floor.tick(5_000)

    assert (floor.node(1).standing, floor.node(1).why) == (Standing.DEGRADED, "its report is older than 48 h")
    floor.control.accept_report(1, summary(report_id="new"), floor.now)
    assert floor.node(1).standing is Standing.READY


def test_every_report_is_looked_at_though_few_at_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five nodes, two at a tick: after three ticks all are known to be stale, after one not."""
    monkeypatch.setattr(expiry, "SEEN_AT_ONCE", 2)
    floor = Floor(nodes=5, settings=ControlSettings(stale_ms=48 * 3_600_000))
    for _ in range(3):
        floor.tick()
    floor.clock.forward(48 * 3_600_000 + 5_000)

    stale = []
    for _ in range(3):
        floor.tick()
        stale.append(sum(floor.node(id_).standing is Standing.DEGRADED for id_ in range(1, 6)))

    assert stale == [2, 4, 5]
