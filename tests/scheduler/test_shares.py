"""Accounts take turns, and hold no more than they may."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from scheduler.control import ControlSettings, Refused
from scheduler.lifecycle import JobState
from scheduler.records import Capacity, Job, JobSpec, Resources
from scheduler.shares import Quota, Shares
from tests.scheduler.market_floor import MIB, Floor, summary

ONE_GPU = Resources(gpus=1, cpu_milli=0, memory_bytes=0, disk_bytes=0)
ONE_CPU = Resources(cpu_milli=1000, memory_bytes=0, disk_bytes=0)
WHOLE = Resources(gpus=2)


class Bazaar(Floor):
    """Several renters; every job's key is its own."""

    def __init__(self, *names: str, nodes: int = 1, quota: Quota | None = None) -> None:
        super().__init__(nodes=nodes, settings=ControlSettings(quota=quota or Quota()))
        self.renters = {
            name: self.control.create_account(name, "renter", f"{n:064x}", self.now).id for n, name in enumerate(names)
        }
        self.commit()

    def ask(self, name: str, resources: Resources, count: int = 1, **fields: Any) -> list[Job]:
        """Submit and let the rules run."""
        jobs = []
        for _ in range(count):
            spec = JobSpec(**{"name": name, "command": ("true",), "resources": resources, **fields})
            jobs.append(self.control.submit(self.renters[name], spec, f"key-{self.book.counters.job}", self.now))
        self.commit()
        return [self.seen.jobs[job.id] for job in jobs]

    def terms(self, name: str, **terms: Any) -> None:
        """The operator sets them."""
        self.book.change(self.book.accounts[self.renters[name]], **terms)
        self.commit()

    def at_work(self) -> Counter[str]:
        """How many jobs of each renter run."""
        return Counter(job.spec.name for job in self.book.jobs.values() if job.state is JobState.ACTIVE)

    def end_one(self, name: str) -> None:
        """The oldest running job of a renter ends well."""
        job = next(job for job in self.book.jobs.values() if job.spec.name == name and job.state is JobState.ACTIVE)
        self.says(job, "exited", 0)


def gpus(floor: Floor, count: int) -> int:
    """A node of so many GPUs, and ten CPUs for each."""
    node = floor.enrol()
    capacity = Capacity(
        gpu_milli=(1000,) * count, cpu_milli=10_000 * count, memory_bytes=MIB << 20, disk_bytes=MIB << 20
    )
    floor.control.accept_report(node, summary(report_id=f"r{node}", capacity=capacity), floor.now)
    floor.control.register(node, 0, "boot-1", floor.now)
    floor.sync(node)
    return node


def test_who_comes_late_does_not_wait_for_all_of_who_came_first() -> None:
    """Ten jobs of amy's wait for two GPUs; bob's first goes before her third."""
    floor = Bazaar("amy", "bob", nodes=1)
    floor.ask("amy", ONE_GPU, 10)
    floor.ask("bob", ONE_GPU, 10)
    assert floor.at_work() == {"amy": 2}

    floor.end_one("amy")

    assert floor.at_work() == {"amy": 1, "bob": 1}


def test_the_example_of_the_paper() -> None:
    """DRF, section 4.1: 9 CPUs and 18 GB; A asks for 1 CPU and 4 GB, B for 3 CPUs and 1 GB: 3 tasks to A, 2 to B."""
    floor = Bazaar("a", "b", nodes=0)
    for name, wanted in (("a", (1000, 4096)), ("b", (3000, 1024))):
        floor.ask(name, Resources(cpu_milli=wanted[0], memory_bytes=wanted[1] * MIB, disk_bytes=0), 10)

    node = floor.enrol()
    capacity = Capacity(cpu_milli=9000, memory_bytes=18 * 1024 * MIB, disk_bytes=MIB)
    floor.control.accept_report(node, summary(report_id="r", capacity=capacity), floor.now)
    floor.control.register(node, 0, "boot-1", floor.now)
    floor.sync(node)

    assert floor.at_work() == {"a": 3, "b": 2}


def test_twice_the_weight_gets_twice_as_much() -> None:
    """Nine GPUs between a weight of 2 and one of 1."""
    floor = Bazaar("amy", "bob", nodes=0)
    floor.terms("amy", weight_milli=2000)
    floor.ask("amy", ONE_GPU, 20)
    floor.ask("bob", ONE_GPU, 20)
    gpus(floor, 9)

    assert floor.at_work() == {"amy": 6, "bob": 3}


def test_a_priority_counts_among_the_jobs_of_its_account_only() -> None:
    """Nobody gets ahead of others by asking for it."""
    floor = Bazaar("amy", "bob", nodes=0)
    floor.ask("bob", ONE_GPU, 2)
    low, high = floor.ask("amy", ONE_GPU)[0], floor.ask("amy", ONE_GPU, priority=100)[0]

    gpus(floor, 2)

    assert floor.at_work() == {"amy": 1, "bob": 1}
    assert [floor.job(job).state for job in (low, high)] == [JobState.QUEUED, JobState.ACTIVE]


def test_a_share_nobody_else_wants_is_not_left_idle() -> None:
    """Fairness holds nothing back: amy alone gets all, and bob's job that fits nowhere keeps nobody waiting."""
    floor = Bazaar("amy", "bob", nodes=1)
    floor.ask("bob", Resources(gpus=64))
    floor.ask("amy", ONE_GPU, 5)

    assert floor.at_work() == {"amy": 2}


def test_the_order_survives_a_restart() -> None:
    """It goes by what is held, which the rows say."""
    floor = Bazaar("amy", "bob", nodes=1)
    floor.ask("amy", ONE_GPU, 5)
    floor.ask("bob", ONE_GPU, 5)
    floor.restart()

    floor.end_one("amy")

    assert floor.at_work() == {"amy": 1, "bob": 1}


def test_as_many_as_it_may_hold_at_once_and_no_more() -> None:
    """Two of four GPUs; the others say why they wait, and the next goes when one has ended."""
    floor = Bazaar("amy", nodes=2, quota=Quota(gpu_milli=2000))
    jobs = floor.ask("amy", ONE_GPU, 4)
    assert floor.at_work() == {"amy": 2}
    reason = "the account uses 2 GPUs of the 2 GPUs it may use at once, and the job asks for 1 GPU"
    assert [floor.job(job).reason for job in jobs] == ["", "", reason, reason]

    floor.end_one("amy")

    assert [floor.job(job).state.name for job in jobs] == ["DONE", "ACTIVE", "ACTIVE", "QUEUED"]


def test_a_limit_stops_no_job_that_asks_for_something_else() -> None:
    """Nor one that asks for less of the same."""
    floor = Bazaar("amy", nodes=2, quota=Quota(gpu_milli=1500))
    floor.ask("amy", ONE_GPU, 2)
    floor.ask("amy", ONE_CPU)
    floor.ask("amy", Resources(gpu_milli=500))

    assert floor.at_work() == {"amy": 3}


def test_a_limit_that_is_raised_lets_the_next_go_at_once() -> None:
    """By the operator, for one account; the server's own is what the others have."""
    floor = Bazaar("amy", "bob", nodes=4, quota=Quota(cpu_milli=1000))
    floor.ask("amy", ONE_CPU, 3)
    floor.ask("bob", ONE_CPU, 3)
    assert floor.at_work() == {"amy": 1, "bob": 1}

    floor.terms("amy", cpu_milli_max=2000)

    assert floor.at_work() == {"amy": 2, "bob": 1}


def test_what_the_account_can_never_have_is_refused_at_once() -> None:
    """It would wait for ever."""
    floor = Bazaar("amy", quota=Quota(gpu_milli=1000))

    with pytest.raises(Refused, match="asks for 2 GPUs, and the account may use 1 GPU at once") as refused:
        floor.ask("amy", WHOLE)
    assert refused.value.kind == "forbidden"


def test_more_jobs_than_it_may_have_are_refused() -> None:
    """Those that have ended count no more."""
    floor = Bazaar("amy", quota=Quota(jobs=2))
    floor.ask("amy", ONE_CPU, 2)
    with pytest.raises(Refused, match="2 jobs of the account have not ended, and it may have 2") as refused:
        floor.ask("amy", ONE_CPU)
    assert refused.value.kind == "too_many"
    floor.book.undo()

    floor.end_one("amy")

    assert len(floor.ask("amy", ONE_CPU)) == 1


def test_what_is_counted_is_what_the_rows_say_whatever_was_undone() -> None:
    """Random commands, half of them taken back: the same as counted anew."""
    chance = random.Random(5)
    floor = Bazaar("amy", "bob", nodes=2)
    for _ in range(300):
        name = chance.choice(("amy", "bob"))
        mark = floor.book.mark()
        match chance.randrange(3):
            case 0:
                spec = JobSpec(name=name, command=("x",), resources=chance.choice((ONE_GPU, ONE_CPU, WHOLE)))
                floor.control.submit(floor.renters[name], spec, str(floor.book.counters), floor.now)
            case 1:
                floor.control.drain(chance.randint(1, 2), chance.random() < 0.3, "operator", floor.now)
            case _ if floor.at_work()[name]:
                floor.end_one(name)
        if chance.random() < 0.5:
            floor.control.dispatch(floor.now)
            floor.book.undo(mark if chance.random() < 0.5 else None)
        else:
            floor.commit()

        counted, anew = floor.control._desk.line.shares, Shares(floor.book, Quota())
        floor.book.watch(anew)  # type: ignore[arg-type]  # what it returns is for the line
        floor.book._watchers.pop()
        for account in floor.renters.values():
            assert (counted.share(account), counted.unended(account)) == (anew.share(account), anew.unended(account))


def test_a_hundred_renters_get_a_hundredth_each() -> None:
    """Of 200 GPUs two each, in whatever order they came and however many they asked for."""
    names = [f"r{n}" for n in range(100)]
    floor = Bazaar(*names, nodes=0)
    chance = random.Random(7)
    for name in chance.sample(names, 100):
        floor.ask(name, replace(ONE_GPU), chance.randint(2, 6))
    for _ in range(4):
        gpus(floor, 50)

    assert set(floor.at_work().values()) == {2}
