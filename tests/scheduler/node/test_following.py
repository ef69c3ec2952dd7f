"""The supervisor's decisions, step by step on a clock of the test's own."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scheduler import lease
from scheduler.lease import Command
from scheduler.node import kernel
from scheduler.node.supervisor import Supervisor

S = 10**9


class Body:
    """A job that does what it is told and remembers it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.out, self.err = 0, 0
        self.pid = 1
        self.reached = True

    def start(self, may_run: Callable[[], bool]) -> bool:
        """See Body in supervisor.py."""
        return may_run()

    def exit_code(self) -> int | None:
        """It never ends by itself."""
        return None

    def freeze(self) -> None:
        """Told."""
        self.done.append("freeze")

    def thaw(self) -> None:
        """Told."""
        self.done.append("thaw")

    def terminate(self) -> bool:
        """Told; it may not have come to the job yet."""
        self.done.append("terminate")
        return self.reached

    def kill(self) -> None:
        """Told."""
        self.done.append("kill")

    def sweep(self) -> str:
        """Nothing to say."""
        return ""


class Story:
    """A supervisor whose job started at 0 and whose time is told to it."""

    def __init__(self, folder: Path, **orders: int | None) -> None:
        (folder / "lease").write_bytes(lease.pack(0, Command.RUN))
        with (folder / "lease").open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), lease.LEASE_BYTES)
        self.body = Body()
        terms = {"token": 7, "hold_ms": 600_000, "grace_ms": 10_000, "max_ms": None, "quota_bytes": 9, "poke": "none"}
        self.supervisor = Supervisor({**terms, **orders}, self.body, self._map, 0)

    def lease(self, until_s: float, command: Command = Command.RUN) -> None:
        """The agent moves the lease."""
        lease.write(memoryview(self._map), int(until_s * S), command)

    def at(self, now_s: float) -> float:
        """Let it look at a moment; when it wants to look again, in s."""
        self.supervisor._follow(int(now_s * S))
        return self.supervisor._next_ns(int(now_s * S)) / S

    def close(self) -> None:
        """Nothing is left open."""
        os.close(self.supervisor._alarm.descriptor)
        self.supervisor._socket.close()
        self._map.close()


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Story]]:
    """Closes what a test began."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel, "now_ns", lambda: 0)
    begun: list[Story] = []
    yield begun
    for story in begun:
        story.close()


def begin(stories: list[Story], **orders: int | None) -> Story:
    """One story, in the test's folder."""
    story = Story(Path(), **orders)
    stories.append(story)
    return story


def test_it_sleeps_until_the_deadline_and_looks_again(stories: list[Story]) -> None:
    """A lease that was renewed meanwhile costs one look."""
    story = begin(stories)
    story.lease(10)

    assert story.at(0) == 10
    story.lease(13)
    assert story.at(10) == 13
    assert story.body.done == []


def test_it_freezes_at_the_deadline_and_kills_at_the_end_of_the_hold(stories: list[Story]) -> None:
    """10 s of lease, 600 s of hold."""
    story = begin(stories)
    story.lease(10)

    assert story.at(10) == 610
    assert story.at(609.9) == 610
    assert story.body.done == ["freeze"]
    story.at(610)
    assert story.body.done == ["freeze", "kill"]
    assert story.supervisor._end == "vanished"


def test_frozen_time_does_not_count_as_running(stories: list[Story]) -> None:
    """A limit of 20 s: 10 ran, 100 frozen, 10 more to run."""
    story = begin(stories, max_ms=20_000)
    story.lease(10)

    story.at(10)
    story.lease(1000)
    assert story.at(110) == 120
    assert story.at(119.9) == 120
    assert story.body.done == ["freeze", "thaw"]
    assert story.at(120) == 130  # the grace
    assert story.body.done == ["freeze", "thaw", "terminate"]
    story.at(130)
    assert story.body.done == ["freeze", "thaw", "terminate", "kill"]
    assert story.supervisor._end == "timeout"


def test_a_job_that_cannot_be_asked_yet_is_asked_again(stories: list[Story]) -> None:
    """Its wrapper is still making the walls; once asked, it is left to itself for the grace."""
    story = begin(stories)
    story.body.reached = False
    story.lease(100, Command.STOP)

    assert story.at(5) == 5.005
    story.body.reached = True
    assert story.at(5.005) == 15
    assert story.at(6) == 15
    assert story.body.done == ["terminate", "terminate"]


def test_what_is_to_stop_does_not_outlive_its_lease(stories: list[Story]) -> None:
    """It was to end anyway, and may not run on without one."""
    story = begin(stories)
    story.lease(10, Command.STOP)

    assert story.at(5) == 10  # the deadline comes before the grace ends
    story.at(10)

    assert story.body.done == ["terminate", "kill"]
    assert story.supervisor._reason == "stopped as asked; killed, because its lease ended"


def test_a_superseded_job_is_killed_whatever_its_lease(stories: list[Story]) -> None:
    """No politeness: somebody else has its job."""
    story = begin(stories)
    story.lease(1000, Command.KILL)
    story.at(0)

    assert story.body.done == ["kill"]


def test_a_deadline_that_moves_while_frozen_is_seen_at_once(stories: list[Story]) -> None:
    """Even when the datagram that tells of it was lost in between."""
    story = begin(stories)
    story.lease(10)
    story.at(10)
    story.lease(20)

    assert story.supervisor._next_ns(11 * S) <= 11 * S + S // 100
