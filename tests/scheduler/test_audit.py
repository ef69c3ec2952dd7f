"""Memory against the rows: what differs is found, what is under way is not mistaken for a difference."""

from __future__ import annotations

from dataclasses import replace

from scheduler.audit import Memory, differences, memory
from scheduler.capacity import room_on
from scheduler.lifecycle import AttemptState
from scheduler.records import Resources
from tests.scheduler.market_floor import Floor


def seen(floor: Floor) -> Memory:
    """What the rules' memory says, and placing with it."""
    return memory(floor.book, {node.id: room_on(floor.book, node) for node in floor.book.nodes.values()})


def found(floor: Floor, held: Memory) -> list[str]:
    """Against the rows as they are committed."""
    live = [attempt for attempt in floor.seen.attempts.values() if attempt.state < AttemptState.SUCCEEDED]
    return list(differences(list(floor.book.nodes.values()), live, held))


def test_what_agrees_is_no_difference() -> None:
    """Two nodes and two jobs."""
    floor = Floor(nodes=2)
    floor.running(resources=Resources(gpus=2))
    floor.running(resources=Resources(gpu_milli=300))

    assert found(floor, seen(floor)) == []


def test_capacity_that_was_counted_wrongly_is_found() -> None:
    """One GPU less is free in placing's eyes than the allocations leave."""
    floor = Floor()
    floor.running(resources=Resources(gpus=1))
    held = seen(floor)
    held.free[1].gpu_milli[1] -= 1000

    (problem,) = found(floor, held)
    assert problem.startswith("node 1: placing counts Room(gpu_milli=[0, 0]")
    assert "its allocations leave Room(gpu_milli=[0, 1000]" in problem


def test_rows_that_differ_are_found() -> None:
    """An attempt that only one side has, one that differs, a node that is online on one side."""
    floor = Floor(nodes=2)
    jobs = [floor.running() for _ in range(3)]
    held = seen(floor)
    attempts = dict(held.attempts)
    del attempts[1]
    attempts[2] = replace(attempts[2], state=AttemptState.STOPPING)
    attempts[9] = replace(attempts[3], token=9)
    nodes = {**held.nodes, 2: replace(held.nodes[2], online=False)}

    assert len(jobs) == 3
    assert found(floor, replace(held, attempts=attempts, nodes=nodes)) == [
        "attempt 1 is in the database and not in memory",
        "attempt 2 is another in memory than in the database",
        "attempt 9 is in memory and not in the database",
        "node 2 is another in memory than in the database",
    ]


def test_for_whom_an_attempt_gives_way_is_compared() -> None:
    """A restart keeps the room by it."""
    floor = Floor()
    floor.running()
    held = seen(floor)
    wrong = {token: replace(attempt, yields_to=7) for token, attempt in held.attempts.items()}

    assert found(floor, replace(held, attempts=wrong)) == ["attempt 1 is another in memory than in the database"]


def test_what_is_not_committed_yet_is_left_out() -> None:
    """A job was placed a moment ago, in the same batch."""
    floor = Floor(nodes=2)
    running = floor.running()
    floor.control.submit(floor.renter, replace(running.spec), "k", floor.now)
    floor.control.dispatch(floor.now)

    held = seen(floor)

    assert held.open_tokens == {2}
    assert found(floor, held) == []
