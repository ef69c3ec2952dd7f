"""A mass outage: what is one, whom it spares, and how long."""

from __future__ import annotations

import pytest

from scheduler.clock import Now
from scheduler.lifecycle import AttemptState, JobState
from scheduler.outage import Brake, Silence
from scheduler.records import Job, Resources
from tests.scheduler.market_floor import Floor


@pytest.mark.parametrize(
    ("silent", "of", "is_mass"),
    [(1, 3, False), (2, 2, False), (2, 9, False), (3, 3, True), (3, 14, True), (3, 15, False), (2001, 10_000, True)],
)
def test_more_than_a_fifth_and_three_at_least(silent: int, of: int, is_mass: bool) -> None:
    """One of three is a third of them, and chance; a fifth exactly is not more than a fifth."""
    assert Silence(silent=silent, of=of).is_mass is is_mass


def at(ms: int) -> Now:
    return Now(ms, ms)


def test_the_brake_is_let_go_after_two_minutes() -> None:
    """Nobody came back: at 120 s, not before."""
    brake, all_silent = Brake(), Silence(silent=5, of=5)
    assert brake.follow(all_silent, at(1000))
    assert not brake.follow(all_silent, at(120_999))
    assert brake.outage is not None

    assert brake.follow(all_silent, at(121_000))
    assert brake.outage is None


def test_it_is_let_go_a_lease_after_most_have_come_back() -> None:
    """The last of them get as long as anybody to be heard; who falls silent meanwhile begins the wait again."""
    brake, few, many = Brake(), Silence(silent=1, of=10), Silence(silent=3, of=10)
    brake.follow(many, at(0))
    brake.follow(few, at(10_000))
    brake.follow(many, at(20_000))
    brake.follow(few, at(30_000))

    assert not brake.follow(few, at(45_999))
    assert brake.follow(few, at(46_000))


def test_one_that_begins_anew_is_waited_for_anew() -> None:
    """Most had come back, for less than a lease: who is silent now is so since then, not since the first time."""
    brake, few, many = Brake(), Silence(silent=1, of=10), Silence(silent=9, of=10)
    brake.follow(many, at(0))
    brake.follow(few, at(100_000))
    brake.follow(many, at(110_000))

    assert not brake.follow(many, at(229_999))
    assert brake.follow(many, at(230_000))


def test_who_falls_silent_within_thirty_seconds_counts_together() -> None:
    """Leases that ended up to 20 s ago, or will within 10 s for calls that were missed; later, all since it began."""
    brake = Brake()
    assert brake.window_ms(at(100_000)) == (80_000, 110_000)
    brake.follow(Silence(silent=3, of=3), at(100_000))

    assert brake.window_ms(at(150_000)) == (80_000, 160_000)


def market(nodes: int) -> tuple[Floor, list[Job]]:
    """Nodes that each run a job, all heard just now."""
    floor = Floor(nodes=nodes)
    jobs = [floor.running(resources=Resources(gpus=2)) for _ in range(nodes)]
    assert sorted(floor.attempt(job).node for job in jobs) == list(range(1, nodes + 1))
    return floor, jobs


def waits(floor: Floor) -> bool:
    """Whether the brake is on."""
    return floor.control.outage is not None


def silent_but(floor: Floor, jobs: list[Job], ms: int) -> None:
    """Let time pass; only the nodes of these jobs are heard."""
    for _ in range(ms // 2_000):
        floor.tick(2_000)
        for job in jobs:
            floor.says(job, "running")


def test_the_first_to_lapse_is_spared_with_all_that_are_silent_already() -> None:
    """Five nodes fell silent a second apart: the brake is on before the first one's job is given away."""
    floor, jobs = market(5)
    for job in jobs:
        floor.says(job, "running")
        floor.tick(1_000)
    floor.tick(20_000)

    assert not any(floor.node(node).online for node in floor.nodes)
    assert {floor.attempt(job).state for job in jobs} == {AttemptState.RUNNING}
    (began,) = [event for event in floor.seen.events if event.kind == "outage.began"]
    assert began.data == {"silent": 5, "of": 5, "suppliers": 1}
    assert began.at_ms == next(event.at_ms for event in floor.seen.events if event.kind == "node.offline")


def test_the_last_to_come_back_is_spared_though_the_others_are_heard_again() -> None:
    """All were silent for 13 s, and one is 4 s later back than the rest: no fault of its own, and no job restarted."""
    floor, jobs = market(5)
    floor.tick(13_000)
    silent_but(floor, jobs[1:], 4_000)

    floor.says(jobs[0], "running")
    silent_but(floor, jobs, 20_000)

    assert [(floor.job(job).attempts, floor.attempt(job).state) for job in jobs] == [(1, AttemptState.RUNNING)] * 5
    assert floor.kinds().count("outage.began") == floor.kinds().count("outage.over") == 1


def test_who_stays_away_when_the_others_are_back_is_given_up_a_lease_later() -> None:
    """16 s after it was heard last the wait begins, and as few are silent it lasts as long again."""
    floor, jobs = market(5)
    floor.tick(13_000)
    silent_but(floor, jobs[1:], 16_000 + 2_000)
    assert floor.job(jobs[0]).replacements == 0

    silent_but(floor, jobs[1:], 4_000)

    assert [floor.job(job).replacements for job in jobs] == [1, 0, 0, 0, 0]


def test_what_all_had_together_half_a_minute_ago_spares_nobody_now() -> None:
    """An outage that is over is no reason to wait for one that falls silent by itself."""
    floor, jobs = market(5)
    floor.tick(13_000)
    silent_but(floor, jobs, 14_000)

    silent_but(floor, jobs[1:], 16_000)

    assert [floor.job(job).replacements for job in jobs] == [1, 0, 0, 0, 0]
    assert "outage.began" not in floor.kinds()


def test_two_of_nine_are_given_up_as_ever() -> None:
    """After 16 s; no alarm."""
    floor, jobs = market(9)
    silent_but(floor, jobs[2:], 16_000)

    assert [floor.job(job).replacements for job in jobs] == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert "outage.began" not in floor.kinds()


def test_who_comes_back_in_time_goes_on_where_it_was() -> None:
    """100 s of silence of everybody: no job is restarted, and the alarm ends by itself."""
    floor, jobs = market(4)
    floor.tick(100_000)
    assert waits(floor)

    silent_but(floor, jobs, 20_000)

    assert not waits(floor)
    assert [(floor.job(job).attempts, floor.attempt(job).state) for job in jobs] == [(1, AttemptState.RUNNING)] * 4
    (over,) = [event for event in floor.seen.events if event.kind == "outage.over"]
    assert (over.data["silent"], over.data["of"]) == (0, 4)


def test_who_stays_away_is_given_up_when_the_wait_is_over() -> None:
    """Of five three stay silent: 16 s after they were heard the wait begins, 120 s later their jobs are placed anew."""
    floor, jobs = market(5)
    silent_but(floor, jobs[3:], 16_000 + 118_000)
    assert [floor.job(job).replacements for job in jobs] == [0] * 5

    silent_but(floor, jobs[3:], 4_000)

    assert [floor.job(job).replacements for job in jobs] == [1, 1, 1, 0, 0]
    assert not waits(floor)
    assert floor.kinds().count("outage.began") == floor.kinds().count("outage.over") == 1


def test_outages_in_a_row_restart_no_job() -> None:
    """Three of 60 s, with 10 s in between in which everybody is heard: no more than one, one after the other."""
    floor, jobs = market(4)
    for _ in range(3):
        floor.tick(60_000)
        silent_but(floor, jobs, 10_000)

    assert [(floor.job(job).attempts, floor.attempt(job).state) for job in jobs] == [(1, AttemptState.RUNNING)] * 4
    assert floor.kinds().count("outage.began") == 1


def test_no_row_of_outages_keeps_a_dead_nodes_job_for_ever() -> None:
    """One stays away while the others come and go: given up two minutes after its lease ended, and it alone."""
    floor, jobs = market(5)
    for _ in range(3):
        floor.tick(34_000)
        silent_but(floor, jobs[1:], 10_000)
    assert [floor.job(job).replacements for job in jobs] == [0] * 5

    silent_but(floor, jobs[1:], 6_000)

    assert waits(floor)
    assert [floor.job(job).replacements for job in jobs] == [1, 0, 0, 0, 0]


def test_silent_nodes_get_no_new_work() -> None:
    """Their jobs wait for them, others' do not."""
    floor, _ = market(3)
    floor.tick(20_000)

    job = floor.submit()

    assert floor.job(job).state is JobState.QUEUED


def test_a_wait_survives_a_restart_of_the_server() -> None:
    """What it knew of the outage is gone, but every node has a whole lease, and then the brake is on again."""
    floor, jobs = market(3)
    floor.tick(20_000)
    floor.restart()
    floor.tick(15_000)
    assert [floor.job(job).replacements for job in jobs] == [0] * 3
    floor.tick(4_000)
    assert waits(floor)

    floor.tick(120_000)

    assert [floor.job(job).replacements for job in jobs] == [1] * 3


def test_a_loss_that_could_not_be_committed_is_tried_again() -> None:
    """The wait was over, and the disk full just then."""
    floor, jobs = market(3)
    floor.tick(16_000 + 119_000)
    floor.clock.forward(1_000)
    floor.control.tick(floor.now)
    floor.book.undo()
    assert [floor.job(job).replacements for job in jobs] == [0] * 3

    floor.tick(2_000)

    assert [floor.job(job).replacements for job in jobs] == [1] * 3


def test_an_agent_that_registers_during_the_wait_is_given_time_to_tell_what_it_holds() -> None:
    """Its lease begins again with the registration, so the end of the wait does not cut in."""
    floor, jobs = market(3)
    floor.tick(16_000 + 119_000)
    node = floor.attempt(jobs[0]).node
    floor.control.register(node, floor.node(node).epoch, "boot-1", floor.now)
    floor.commit()
    floor.tick(2_000)
    assert not waits(floor)

    floor.says(jobs[0], "running")

    assert [floor.job(job).attempts for job in jobs] == [1, 1, 1]
    assert [floor.job(job).replacements for job in jobs] == [0, 1, 1]
