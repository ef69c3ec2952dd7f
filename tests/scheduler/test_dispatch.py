"""Placing: the order, what is not tried again, and what a job that waits is told."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.clock import Now
from scheduler.lifecycle import JobState, Standing
from scheduler.placement.place import Decision
from scheduler.records import Capacity, JobSpec, Resources
from tests.scheduler.market_floor import CAPACITY, MIB, Floor, summary

WHOLE = Resources(cpu_milli=4000)


def asked(floor: Floor) -> list[str]:
    """Names of the jobs that the placer was asked for since the last call."""
    names, floor.placer.asked = floor.placer.asked, []
    return names


def test_the_higher_priority_first_then_the_older() -> None:
    """Four jobs wait for one node."""
    floor = Floor(nodes=0)
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        floor.submit(name, priority=priority, resources=WHOLE)
    floor.nodes = [floor.add_node()]
    order = []
    for _ in range(4):
        (job,) = (job for job in floor.seen.jobs.values() if job.state is JobState.ACTIVE)
        order.append(job.spec.name)
        floor.says(job, "exited", 0)

    assert order == ["b", "d", "a", "c"]


def test_a_placement_reserves_and_explains_itself() -> None:
    """Token, number, node, its epoch, price and reasons; the job is active."""
    floor = Floor()
    job = floor.submit(resources=Resources(gpus=2))

    attempt = floor.attempt(job)

    assert (attempt.token, attempt.n, attempt.node, attempt.node_epoch) == (1, 1, 1, 1)
    assert (attempt.gpus, attempt.price_uh, attempt.why) == ((0, 1), 1000, {"rule": "first"})
    assert (floor.job(job).state, floor.job(job).token, floor.job(job).attempts) == (JobState.ACTIVE, 1, 1)
    placed = floor.seen.events[-1]
    assert (placed.kind, placed.data) == ("attempt.placed", {"price_uh": 1000, "gpus": [0, 1]})


def test_nothing_is_tried_twice_while_nothing_changes() -> None:
    """The same question has the same answer."""
    floor = Floor(nodes=0)
    job = floor.submit("a")
    assert asked(floor) == ["a"]

    for _ in range(9):
        floor.tick(1_000)

    assert asked(floor) == []
    assert floor.job(job).reason == "none of 0 nodes has room"


def test_after_ten_seconds_it_is_tried_again() -> None:
    """Figures age, and a condition on their age turns by itself."""
    floor = Floor(nodes=0)
    floor.submit("a")
    floor.tick(10_000)

    assert asked(floor) == ["a", "a"]


def test_jobs_that_ask_for_the_same_are_refused_together() -> None:
    """A hundred of one sort cost one question; each is told why it waits."""
    floor = Floor(nodes=0)
    jobs = [floor.submit(f"j{i}", env={"N": str(i)}) for i in range(100)]

    assert asked(floor) == ["j0"]
    assert {floor.job(job).reason for job in jobs} == {"none of 0 nodes has room"}
    floor.tick(10_000)
    assert asked(floor) == ["j0"]


def test_jobs_that_ask_for_something_else_are_asked_for() -> None:
    """Anything that could make a node fit or not sets them apart."""
    floor = Floor(nodes=0)
    kinds: list[dict[str, Any]] = [{}, {"region": "eu"}, {"max_price_uh": 1}, {"where": "x"}, {"policy": "pack"}]
    for i, fields in enumerate(kinds):
        floor.submit(f"j{i}", **fields)

    assert asked(floor) == [f"j{i}" for i in range(5)]


def helps_free(floor: Floor) -> None:
    """An attempt ends."""
    token = next(iter(floor.book.tokens_of_node[1]))
    floor.says(floor.seen.jobs[floor.seen.attempts[token].job], "exited", 0)


def helps_online(floor: Floor) -> None:
    """A node comes."""
    floor.add_node()


def helps_figures(floor: Floor) -> None:
    """A node has grown."""
    floor.control.accept_report(
        1,
        summary(report_id="new", capacity=Capacity(cpu_milli=9000, memory_bytes=MIB << 14, disk_bytes=MIB << 14)),
        floor.now,
    )
    floor.commit()


def helps_price(floor: Floor) -> None:
    """A supplier asks for less."""
    node = floor.node(1)
    floor.control.enrol(
        floor.supplier,
        name=node.name,
        public_key=node.public_key,
        price_uh=1,
        region="eu",
        executors=node.executors,
        shares_gpus=True,
        now=floor.now,
    )
    floor.commit()


@pytest.mark.parametrize("helps", [helps_free, helps_online, helps_figures, helps_price], ids=lambda h: h.__name__)
def test_what_could_help_has_it_tried_again_at_once(helps: Any) -> None:
    """No timer is waited for."""
    floor = Floor()
    floor.running(resources=WHOLE)
    floor.submit("waits", resources=WHOLE)
    asked(floor)

    helps(floor)

    assert "waits" in asked(floor)


def test_what_cannot_help_does_not() -> None:
    """Syncs, registrations and the placing of others change nothing for the one that waits."""
    floor = Floor()
    floor.submit("waits", resources=Resources(cpu_milli=5000))
    asked(floor)

    other = floor.running(name="other")
    floor.says(other, "running")
    floor.control.register(1, 1, "boot-1", floor.now)
    floor.commit()

    assert asked(floor) == ["other"]


def test_a_pass_that_was_cut_short_goes_on_where_it_stopped() -> None:
    """However often the market changes meanwhile, nobody at the end of the line starves."""
    floor = Floor(nodes=0)
    for i in range(6):
        floor.control.submit(floor.renter, JobSpec(name=f"j{i}", command=("x",), where=str(i)), f"k{i}", floor.now)
    for _ in range(3):
        floor.control.enrol(
            floor.supplier,
            name="n",
            public_key=str(floor.book.counters.node),
            price_uh=1,
            region="",
            executors=(),
            shares_gpus=False,
            now=floor.now,
        )
        floor.control.dispatch(floor.now, limit=2)

    assert asked(floor) == ["j0", "j1", "j2", "j3", "j4", "j5"]


def test_a_cancelled_job_leaves_the_line() -> None:
    """The one behind it moves up."""
    floor = Floor(nodes=0)
    first = floor.submit("a", resources=WHOLE)
    second = floor.submit("b", resources=WHOLE)
    floor.control.cancel(first.id, "account 1", floor.now)
    floor.commit()

    floor.nodes = [floor.add_node()]

    assert floor.job(second).state is JobState.ACTIVE
    assert floor.job(first).state is JobState.CANCELLED


def test_a_placement_that_is_undone_leaves_the_job_where_it_was() -> None:
    """The commit failed; the next pass places it, with the same token, which nobody has seen."""
    floor = Floor()
    floor.control.submit(floor.renter, JobSpec(name="a", command=("x",)), "k", floor.now)
    floor.book.committed()
    assert floor.control.dispatch(floor.now) == 1
    floor.book.undo()
    assert floor.book.jobs[1].state is JobState.QUEUED

    assert floor.control.dispatch(floor.now) == 1

    assert set(floor.book.attempts) == {1}


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        (Decision(node=9), "the node that was chosen does not exist"),
        (Decision(node=2), "node 2 takes no work"),
        (Decision(node=3), "node 3 takes no work"),
        (Decision(node=4), "node 4 takes no work"),
        (Decision(node=1, gpus=(0,)), "node 1 has too little left"),
        (Decision(node=1, gpus=(0, 0)), "node 1 has too little left"),
        (Decision(node=1, gpus=(1, 2)), "node 1 has too little left"),
    ],
)
def test_a_wrong_decision_is_caught(decision: Decision, reason: str) -> None:
    """Unknown, draining, offline, quarantined; GPUs that are too few, the same, or not there."""
    floor = Floor(nodes=4)
    floor.control.drain(2, True, "operator", floor.now)
    floor.control.disbelieve_report(4, "r", "too fast", floor.now)
    floor.book.change(floor.node(3), online=False)
    floor.placer.place = lambda spec, avoid, now: decision  # type: ignore[method-assign]

    job = floor.submit(resources=Resources(gpus=2))

    assert (floor.job(job).state, floor.job(job).reason) == (JobState.QUEUED, reason)


def test_shares_of_a_gpu_are_counted() -> None:
    """400 and 400 of 1000 fit on one, a third does not."""
    floor = Floor()
    jobs = [floor.submit(resources=Resources(gpu_milli=400)) for _ in range(3)]

    assert [floor.attempt(job).gpus for job in jobs] == [(0,), (0,), (1,)]


def test_what_was_lost_there_is_avoided_while_another_will_do() -> None:
    """Both nodes that lost it are named to the placer."""
    floor = Floor(nodes=3)
    seen: list[frozenset[int]] = []
    real = floor.placer.place

    def place(spec: JobSpec, avoid: frozenset[int], now: Now) -> Decision:
        seen.append(avoid)
        return real(spec, avoid, now)

    floor.placer.place = place  # type: ignore[method-assign]
    job = floor.running()
    for _ in range(2):
        floor.says(job, "vanished")
        floor.says(job, "running")

    assert seen == [frozenset(), frozenset({1}), frozenset({1, 2})]
    assert floor.attempt(job).node == 3
    assert floor.node(3).standing is Standing.READY
    assert floor.node(3).capacity == CAPACITY


def test_what_stops_a_job_is_told_anew_after_ten_seconds() -> None:
    """A reason with counts in it changes with every placement: it is written no more often than that."""
    floor = Floor(nodes=0)
    jobs = [floor.submit() for _ in range(3)]
    floor.tick(5_000)
    floor.enrol()
    floor.commit()
    assert {floor.job(job).reason for job in jobs} == {"none of 0 nodes has room"}

    floor.tick(10_000)

    assert {floor.job(job).reason for job in jobs} == {"none of 1 nodes has room"}
