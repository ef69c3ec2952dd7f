"""Who may be preempted gives way to who may not: the least work lost, with its grace, at no cost of a retry."""

from __future__ import annotations

from typing import Any

from scheduler.lifecycle import AttemptState, JobState
from scheduler.preemption import HAND_IN_MS
from scheduler.records import Job, Resources
from scheduler.wire import Held
from tests.scheduler.market_floor import Floor

WHOLE = Resources(gpus=2)
ONE = Resources(gpus=1)


def spot(floor: Floor, resources: Resources = ONE, **fields: Any) -> Job:
    """A job that may be preempted, at work."""
    return floor.running(resources=resources, preemptible=True, **fields)


def told(floor: Floor, *running: Job) -> None:
    """All nodes are heard, and these jobs run."""
    for node in floor.nodes:
        floor.sync(node, *(Held(token=floor.attempt(job).token, state="running") for job in running))


def stopping(floor: Floor, *jobs: Job) -> list[bool]:
    return [floor.attempt(job).state is AttemptState.STOPPING for job in jobs]


def test_it_gives_way_with_its_grace_and_costs_no_retry() -> None:
    """Asked to stop; when it has ended the other is placed, and it waits again with all its retries."""
    floor = Floor()
    cheap = spot(floor, WHOLE, retries=1)
    urgent = floor.submit("urgent", resources=WHOLE)
    assert stopping(floor, cheap) == [True]
    assert floor.job(urgent).reason == "node 1 makes room: a preemptible job gives way"

    (wish,) = floor.says(cheap, "stopping").wishes
    assert (wish.desired, wish.reason) == ("stop", "its place is needed for a job that is not preemptible")
    floor.says(cheap, "exited", 143)

    gone = floor.job(cheap)
    assert floor.job(urgent).state is JobState.ACTIVE
    assert floor.seen.attempts[1].state is AttemptState.PREEMPTED
    assert (gone.state, gone.retries_used, gone.replacements, gone.lost_nodes) == (JobState.QUEUED, 0, 0, ())


def test_one_that_ends_by_itself_while_it_is_asked_to_is_placed_again_too() -> None:
    """Exit code 0 after the signal says that it saved itself, not that it was done."""
    floor = Floor()
    cheap = spot(floor, WHOLE)
    floor.submit("urgent", resources=WHOLE)
    floor.says(cheap, "exited", 0)

    assert floor.job(cheap).state is JobState.QUEUED
    assert floor.seen.results == []


def test_who_is_not_preemptible_is_left_alone_and_who_is_preempts_nobody() -> None:
    """A job that gives way for others waits for room like everybody."""
    floor = Floor()
    firm = floor.running(resources=ONE)
    cheap = spot(floor)
    waits = floor.submit("waits", resources=ONE, preemptible=True)
    too_large = floor.submit("too large", resources=WHOLE)

    assert stopping(floor, firm, cheap) == [False, False]
    assert floor.job(waits).reason == floor.job(too_large).reason == "none of 1 nodes has room"


def test_where_there_is_room_nobody_gives_way() -> None:
    """Another node has it."""
    floor = Floor(nodes=2)
    cheap = spot(floor, WHOLE)

    assert floor.running(resources=WHOLE).state is JobState.ACTIVE
    assert stopping(floor, cheap) == [False]


def test_the_least_work_is_lost() -> None:
    """Of four that ran 40, 30, 20 and 10 s the last goes; on equal terms a saved one goes before."""
    floor = Floor(nodes=2)
    jobs = []
    for _ in range(4):
        jobs.append(spot(floor))
        floor.tick(10_000, step_ms=1_000)
        told(floor, *jobs)

    floor.submit("urgent", resources=ONE)
    assert stopping(floor, *jobs) == [False, False, False, True]

    floor.control.save_checkpoint(floor.attempt(jobs[1]).token, "c" * 64, floor.now)
    floor.submit("urgent too", resources=ONE, region="eu")
    assert stopping(floor, *jobs) == [False, True, False, True]


def test_a_dear_hour_is_more_than_two_cheap_ones() -> None:
    """16 s at a thousandth of a dollar an hour are less lost than 1 s at half a dollar."""
    floor = Floor(nodes=0)
    floor.nodes = [floor.add_node(price_uh=1_000)]
    long_cheap = spot(floor, WHOLE)
    floor.tick(8_000)
    told(floor, long_cheap)
    floor.nodes.append(floor.add_node(price_uh=500_000))
    floor.tick(7_000)
    told(floor, long_cheap)
    short_dear = spot(floor, WHOLE)
    floor.tick(1_000)
    told(floor, long_cheap, short_dear)

    floor.submit("urgent", resources=WHOLE)

    assert stopping(floor, long_cheap, short_dear) == [True, False]


def test_no_more_give_way_than_have_to() -> None:
    """Two CPUs are needed, and the cheapest to lose has one: the one with three makes it needless."""
    floor = Floor()
    small = spot(floor, Resources(cpu_milli=1000))
    large = spot(floor, Resources(cpu_milli=3000))

    floor.submit("urgent", resources=Resources(cpu_milli=2000))

    assert stopping(floor, small, large) == [False, True]


def test_nobody_else_takes_the_room_that_is_made() -> None:
    """Two are to give way for a job; when the first has gone, a small one that would fit there waits."""
    floor = Floor()
    first, second = spot(floor), spot(floor)
    urgent = floor.submit("urgent", resources=WHOLE)
    assert stopping(floor, first, second) == [True, True]

    floor.says(first, "exited", 143)
    small = floor.submit("small", resources=ONE)
    assert floor.job(small).reason == "node 1 makes room for another job"
    floor.sync(1, Held(token=2, state="exited", exit_code=143))

    assert floor.job(urgent).state is JobState.ACTIVE


def test_several_make_room_at_once() -> None:
    """Three jobs that cannot wait are not served one after the other."""
    floor = Floor(nodes=3)
    jobs = [spot(floor, WHOLE) for _ in range(3)]
    urgent = [floor.submit("urgent", resources=WHOLE) for _ in range(4)]

    assert stopping(floor, *jobs) == [True] * 3
    assert floor.job(urgent[3]).reason == "none of 3 nodes has room"


def test_who_has_not_begun_goes_at_once() -> None:
    """No agent has heard of it: the other takes its place in the same commit."""
    floor = Floor()
    cheap = floor.submit("cheap", resources=WHOLE, preemptible=True)
    urgent = floor.submit("urgent", resources=WHOLE)

    assert floor.job(urgent).state is JobState.ACTIVE
    assert floor.seen.attempts[1].state is AttemptState.PREEMPTED
    assert floor.job(cheap).state is JobState.QUEUED


def test_who_does_not_go_in_time_is_not_waited_for() -> None:
    """Its grace and a minute to hand in; then the one that waited takes any room there is."""
    floor = Floor()
    cheap = spot(floor, WHOLE, stop_grace_s=10)
    urgent = floor.submit("urgent", resources=WHOLE)
    for _ in range((10_000 + HAND_IN_MS) // 2_000 - 1):
        floor.tick(2_000)
        floor.says(cheap, "stopping")
    floor.nodes.append(floor.add_node())
    assert floor.job(urgent).state is JobState.QUEUED

    floor.tick(2_000)
    floor.says(cheap, "stopping")

    assert (floor.job(urgent).state, floor.attempt(urgent).node) == (JobState.ACTIVE, 2)


def test_a_cancelled_job_needs_no_room() -> None:
    """Who was asked to go goes, and what is free is everybody's."""
    floor = Floor()
    cheap = spot(floor, WHOLE)
    urgent = floor.submit("urgent", resources=WHOLE)
    floor.control.cancel(urgent.id, "account 1", floor.now)
    floor.commit()
    floor.says(cheap, "exited", 143)

    assert (floor.job(cheap).state, floor.attempt(cheap).n) == (JobState.ACTIVE, 2)


def test_what_could_not_be_committed_is_as_if_it_had_not_been() -> None:
    """The disk was full: nobody was asked to go, and the job waits in the line, where it is tried again."""
    floor = Floor()
    cheap = spot(floor, WHOLE)
    floor.control.drain(1, True, "operator", floor.now)
    floor.commit()
    urgent = floor.submit("urgent", resources=WHOLE)
    floor.tick(1_000)
    floor.control.drain(1, False, "operator", floor.now)
    floor.control.dispatch(floor.now)
    assert [attempt.state for attempt in floor.book.attempts.values()] == [AttemptState.STOPPING]
    floor.book.undo()
    assert [attempt.state for attempt in floor.book.attempts.values()] == [AttemptState.RUNNING]

    floor.control.drain(1, False, "operator", floor.now)
    floor.commit()

    assert stopping(floor, cheap) == [True]
    floor.says(cheap, "exited", 143)
    assert floor.job(urgent).state is JobState.ACTIVE


def test_a_restart_keeps_the_room_that_is_made() -> None:
    """The first of two has gone; a small job that would fit there waits, and the other gets what it was promised."""
    floor = Floor()
    first, second = spot(floor), spot(floor)
    urgent = floor.submit("urgent", resources=WHOLE)
    floor.says(first, "exited", 143)

    floor.restart()
    small = floor.submit("small", resources=ONE)
    assert floor.job(small).reason == "node 1 makes room for another job"
    floor.says(second, "exited", 143)

    assert floor.job(urgent).state is JobState.ACTIVE
    assert [floor.job(job).state for job in (first, second)] == [JobState.QUEUED] * 2


def test_a_restart_makes_nobody_else_give_way() -> None:
    """One of two nodes makes room; before the server began anew, and after it."""
    floor = Floor(nodes=2)
    jobs = [spot(floor, WHOLE), spot(floor, WHOLE)]
    urgent = floor.submit("urgent", resources=WHOLE)
    before = stopping(floor, *jobs)

    floor.restart()
    floor.tick(2_000)

    assert sorted(before) == [False, True]
    assert stopping(floor, *jobs) == before
    assert floor.job(urgent).reason == "node 1 makes room: a preemptible job gives way"


def test_after_a_restart_who_gives_way_has_its_whole_time_anew() -> None:
    """Then the one that waits takes any room there is, as it would have before."""
    floor = Floor()
    cheap = spot(floor, WHOLE, stop_grace_s=10)
    urgent = floor.submit("urgent", resources=WHOLE)
    floor.tick(8_000)
    floor.says(cheap, "stopping")
    floor.restart()
    floor.says(cheap, "stopping")
    for _ in range((10_000 + HAND_IN_MS) // 2_000 - 1):
        floor.tick(2_000)
        floor.says(cheap, "stopping")
    floor.nodes.append(floor.add_node())
    assert floor.job(urgent).state is JobState.QUEUED

    floor.tick(2_000)
    floor.says(cheap, "stopping")

    assert (floor.job(urgent).state, floor.attempt(urgent).node) == (JobState.ACTIVE, 2)


def test_a_promise_to_a_job_that_needs_it_no_more_ends_with_the_server() -> None:
    """It was cancelled; what is free is everybody's."""
    floor = Floor()
    first, second = spot(floor), spot(floor)
    urgent = floor.submit("urgent", resources=WHOLE)
    floor.control.cancel(urgent.id, "account 1", floor.now)
    floor.commit()
    floor.restart()
    floor.says(first, "exited", 143)

    assert (floor.job(first).state, floor.attempt(first).n) == (JobState.ACTIVE, 2)
    assert stopping(floor, second) == [True]


def test_a_restart_forgets_no_checkpoint() -> None:
    """Of two that ran as long the one that saved itself loses less; an earlier attempt's checkpoint saves nothing."""
    floor = Floor()
    jobs = [spot(floor), spot(floor)]
    floor.tick(10_000, step_ms=1_000)
    told(floor, *jobs)
    floor.control.save_checkpoint(floor.attempt(jobs[0]).token, "c" * 64, floor.now)
    floor.commit()
    floor.restart()

    floor.submit("urgent", resources=ONE)

    assert stopping(floor, *jobs) == [True, False]


def test_being_preempted_often_never_makes_a_job_wait() -> None:
    """It is no sign of trouble: thirty times, and it is placed as soon as there is room."""
    floor = Floor()
    cheap = spot(floor, WHOLE)
    for n in range(30):
        urgent = floor.submit(f"urgent {n}", resources=WHOLE)
        floor.says(cheap, "exited", 143)
        assert floor.job(cheap).state is JobState.QUEUED
        floor.says(urgent, "running")
        floor.says(urgent, "exited", 0)
        floor.says(cheap, "running")

    assert floor.job(cheap).attempts == 31
