"""A supervisor that was stopped cannot freeze its job: its agent ends both when the lease is over."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import cast

import pytest

from scheduler.node.guard import LATE_S, look
from scheduler.node.supervised import Status, Supervised, SupervisorState
from tests.scheduler.node.agents import agent, run, until
from tests.scheduler.node.fake_server import FakeServer
from tests.scheduler.node.jobs import state_of
from tests.scheduler.node.test_agent import FOREVER, status

LEASE_MS = 700


def test_a_stopped_supervisors_job_does_not_outlive_its_lease(tmp_path: Path) -> None:
    """The server is away and will give the job to another node; nothing of it runs here by then."""

    async def story() -> None:
        server = FakeServer(lease_ms=LEASE_MS)
        async with agent(tmp_path, server) as served:
            server.want(7, *FOREVER)
            await server.until_state(7, "running")
            told = status(served.attempt(7))
            os.kill(int(str(told["supervisor"])), signal.SIGSTOP)
            server.away = True

            await until(lambda: state_of(int(str(told["pid"]))) in ("", "Z"))

            server.away = False
            held = await server.until_ended(7)
        assert (held.state, held.exit_code) == ("vanished", None)

    run(story)


class Fake(Supervised):
    """A supervisor of which is known what the test says."""

    def __init__(self, *, ends_ns: int, state: str, stopped: bool) -> None:
        super().__init__(Path())
        self.ended = False
        self._ends_ns, self._state, self._stopped = ends_ns, state, stopped

    def deadline_ns(self) -> int:
        return self._ends_ns

    def status(self) -> Status | None:
        return Status(
            state=cast(SupervisorState, self._state), supervisor=1, pid=2, exit_code=None, reason="", frozen_ms=0
        )

    def is_stopped(self) -> bool:
        return self._stopped

    def end(self) -> None:
        self.ended = True


def test_a_stopped_supervisor_is_left_alone_while_its_lease_lasts() -> None:
    """Whoever stopped it may let it go on; it is looked at again a second after the lease."""
    fake = Fake(ends_ns=5_000_000_000, state="running", stopped=True)

    assert look(fake, 2_000_000_000) == 4.0
    assert not fake.ended


@pytest.mark.parametrize(
    ("state", "stopped", "ends"),
    [
        ("running", True, True),
        ("starting", True, True),
        ("stopping", True, True),
        ("running", False, False),  # it is well, and late
        ("frozen", True, False),  # what is frozen stays so
        ("exited", True, False),
    ],
)
def test_only_who_cannot_freeze_its_job_is_ended(state: str, stopped: bool, ends: bool) -> None:
    """A second after the lease."""
    fake = Fake(ends_ns=5_000_000_000, state=state, stopped=stopped)

    assert look(fake, 6_000_000_000) == LATE_S
    assert fake.ended is ends
