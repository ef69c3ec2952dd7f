"""A crew: every worker runs, on its own CPU, and the time is that of the kernels."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from kernels.cpu.crew import Crew, pinned
from kernels.cpu.native import monotonic_ns, rendezvous

CPUS = tuple(sorted(os.sched_getaffinity(0)))[:2]


def test_time_runs_from_the_first_start_to_the_last_end() -> None:
    """Two workers from 10 to 30 and from 15 to 70 ns: 60 ns."""
    times = {0: (10, 30), 1: (15, 70)}

    with Crew((CPUS[0], CPUS[-1])) as crew:
        seconds = crew.run(lambda _counter, _target, _room, place: times[place], [(0,), (1,)])

    assert seconds == pytest.approx(60e-9)


def test_each_worker_is_pinned_to_its_cpu() -> None:
    """The affinity of a worker is its one CPU; the caller's stays as it was."""
    before = os.sched_getaffinity(0)
    seen: dict[int, set[int]] = {}

    def kernel(_counter: int, _target: int, _room: int, place: int) -> tuple[int, int]:
        seen[place] = os.sched_getaffinity(0)
        return 0, 1

    with Crew(CPUS) as crew:
        crew.run(kernel, [(place,) for place in range(len(CPUS))])

        assert crew.pinned
    assert seen == {place: {cpu} for place, cpu in enumerate(CPUS)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.alone
def test_workers_meet_before_they_start() -> None:
    """A worker that arrives late delays the start of the other, not its time."""
    delay_s = 0.05

    def kernel(counter: int, target: int, room: int, place: int) -> tuple[int, int]:
        if place == 1:
            time.sleep(delay_s)
        rendezvous(counter, target)
        start = monotonic_ns(room)
        return start, monotonic_ns(room)

    with Crew((CPUS[0], CPUS[-1])) as crew:
        crew.run(kernel, [(0,), (0,)])  # compiled
        began = time.perf_counter()
        seconds = crew.run(kernel, [(0,), (1,)])
        whole = time.perf_counter() - began

    assert whole >= delay_s
    assert seconds < delay_s


def test_an_error_reaches_the_caller_and_the_crew_lives_on() -> None:
    """The other worker, waiting for the one that failed, is released; the next run is a good one."""

    def failing(counter: int, target: int, room: int, place: int) -> tuple[int, int]:
        if place == 1:
            raise ZeroDivisionError("worker 1")
        return good(counter, target, room, place)

    def good(counter: int, target: int, room: int, place: int) -> tuple[int, int]:
        rendezvous(counter, target)
        return place, place + 1

    with Crew((CPUS[0], CPUS[-1])) as crew:
        with pytest.raises(ZeroDivisionError, match="worker 1"):
            crew.run(failing, [(0,), (1,)])

        assert crew.run(good, [(0,), (1,)]) == pytest.approx(2e-9)


def test_a_crew_leaves_no_thread_behind() -> None:
    """After the block the threads are gone."""
    before = threading.active_count()

    with Crew(CPUS):
        assert threading.active_count() == before + len(CPUS)

    assert threading.active_count() == before


@pytest.mark.parametrize("parts", [[], [(0,), (1,), (2,)]])
def test_one_part_per_worker(parts: list[tuple[Any, ...]]) -> None:
    """Neither idle nor doubled workers."""
    with Crew((CPUS[0],) * 2) as crew, pytest.raises(ValueError, match="as many parts"):
        crew.run(lambda *_: (0, 1), parts)


def test_a_crew_needs_a_cpu() -> None:
    """An empty one has nothing to run on."""
    with pytest.raises(ValueError, match="at least one CPU"):
        Crew(())


def test_pinned_goes_back() -> None:
    """The calling thread is on one CPU inside, and where it was before afterwards."""
    before = os.sched_getaffinity(0)

    with pinned(CPUS[-1]) as is_pinned:
        inside = os.sched_getaffinity(0)

    assert is_pinned
    assert inside == {CPUS[-1]}
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_is_told() -> None:
    """CPU 100000: not pinned, still running."""
    before = os.sched_getaffinity(0)

    with pinned(100_000) as is_pinned:
        assert not is_pinned
        assert os.sched_getaffinity(0) == before
