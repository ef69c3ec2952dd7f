"""Leases: what the supervisor does, and that it always does it before the server acts."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import lease
from scheduler.lease import Action, Command

HOLD_NS = 600 * 10**9


@pytest.mark.parametrize(
    ("now", "deadline", "command", "frozen_since", "action"),
    [
        (9, 10, Command.RUN, None, Action.RUN),
        (10, 10, Command.RUN, None, Action.FREEZE),
        (11, 10, Command.RUN, 10, Action.FREEZE),
        (11, 20, Command.RUN, 10, Action.RUN),
        (HOLD_NS + 9, 10, Command.RUN, 10, Action.FREEZE),
        (HOLD_NS + 10, 10, Command.RUN, 10, Action.KILL),
        (9, 10, Command.STOP, None, Action.STOP),
        (10, 10, Command.STOP, None, Action.KILL),
        (9, 10, Command.KILL, None, Action.KILL),
    ],
)
def test_what_a_supervisor_does(
    now: int, deadline: int, command: Command, frozen_since: int | None, action: Action
) -> None:
    """It runs before the deadline, freezes at it, thaws when it moved, kills when held too long or superseded."""
    assert lease.decide(now, deadline, command, frozen_since, HOLD_NS) is action


@given(
    agent_rate=st.floats(0.8, 1.2),
    server_rate=st.floats(0.8, 1.2),
    travel_ms=st.floats(0, 1e5),
    poll_ms=st.integers(0, 100_000),
)
def test_the_agent_s_lease_ends_first_while_clocks_run_within_a_fifth(
    agent_rate: float, server_rate: float, travel_ms: float, poll_ms: int
) -> None:
    """Each counts on its own clock: the agent from sending, the server from receiving, which is never earlier."""
    agent_ends_ms = lease.AGENT_LEASE_MS / agent_rate
    server_ends_ms = travel_ms + lease.server_expiry_ms(0, poll_ms) / server_rate

    assert agent_ends_ms < server_ends_ms


def test_a_cut_link_costs_at_most_seventeen_seconds() -> None:
    """A busy node is given up 16 s after it was last heard, on a true clock."""
    assert lease.server_expiry_ms(0, lease.poll_ms(2, busy=True)) == 16_000


def test_a_long_poll_is_allowed_for() -> None:
    """An idle node of a large fleet may be silent for as long as its answer is held."""
    assert lease.poll_ms(9_000, busy=False) == 9_000
    assert lease.server_expiry_ms(0, 9_000) == 16_000 + 6_000


def test_two_syncs_may_be_lost() -> None:
    """Three fit into the agent's lease."""
    assert lease.RENEW_MS * 3 <= lease.AGENT_LEASE_MS


def test_the_file_reads_back() -> None:
    """A deadline and a command in 16 bytes; written in place as well."""
    content = lease.pack(10**18, Command.STOP)
    mapped = bytearray(lease.pack(1, Command.RUN))

    lease.write(mapped, 10**18, Command.STOP)

    assert len(content) == lease.LEASE_BYTES == 16
    assert bytes(mapped) == content
    assert lease.unpack(content) == (10**18, Command.STOP)


def test_a_half_written_lease_grants_no_more_than_before() -> None:
    """The command is changed before the deadline is moved: a reader in between sees the new command, the old time."""
    seen = []

    class Watched(bytearray):
        def __setitem__(self, key: object, value: object) -> None:
            super().__setitem__(key, value)  # type: ignore[call-overload]
            seen.append(lease.unpack(bytes(self)))

    lease.write(Watched(lease.pack(5, Command.RUN)), 9, Command.KILL)

    assert seen == [(5, Command.KILL), (9, Command.KILL)]


def test_a_supervisor_loads_nothing_for_it() -> None:
    """It is a process of a few MiB for every job."""
    script = "import sys, scheduler.lease; print(len(sys.modules) < 60, 'dataclasses' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["True", "False"]
