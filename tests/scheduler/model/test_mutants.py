"""The model would notice: each rule that safety rests on is broken in turn, and a history is found that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler import lease, outage, outcome, progress
from scheduler.clock import Now
from scheduler.desk import Desk, Presence
from scheduler.lease import Action
from scheduler.lifecycle import AttemptState
from scheduler.records import MarketNode
from scheduler.wire import SyncAnswer, SyncRequest
from tests.scheduler.model import walk
from tests.scheduler.model.parts import NS, Agent, Call, Program

Broken = Callable[[pytest.MonkeyPatch], None]


def server_lease_ends_first(patch: pytest.MonkeyPatch) -> None:
    """The server gives up a node while its supervisors still let jobs run."""
    shorter_ms = lease.SERVER_LEASE_MS - 7_000
    patch.setattr(lease, "SERVER_LEASE_MS", 7_000)
    # what follows from it: else every node that is well counts as silent, and the brake hides the fault
    for module, name in ((outage, "AHEAD_MS"), (outage, "CALM_MS"), (progress, "LAPSED_MS")):
        patch.setattr(module, name, getattr(module, name) - shorter_ms)


def lease_counted_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    """An agent counts its lease from when it was answered: the answer may be old."""
    real = Agent.on_answer

    def late(agent: Agent, call: Call, answer: SyncAnswer, now_ns: int, programs: dict[int, Program]) -> None:
        patch.setattr(lease, "agent_deadline_ns", lambda _, lease_ms: now_ns + lease_ms * NS)
        real(agent, call, answer, now_ns, programs)

    patch.setattr(Agent, "on_answer", late)


def adopted_without_being_confirmed(patch: pytest.MonkeyPatch) -> None:
    """A new agent renews the leases of what it finds before the server has named it."""

    def adopt(agent: Agent) -> None:
        for supervisor in agent.machine.supervisors.values():
            supervisor.deadline_ns += lease.AGENT_LEASE_MS * NS

    patch.setattr(Agent, "adopt", adopt)


def no_lease_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """A server that begins takes nodes it has not heard for silent."""

    def renew(presence: Presence, now: Now, poll_ms: int) -> int:
        presence.expiry_ms = lease.server_expiry_ms(now.mono_ms, poll_ms) if presence.heard_ms else now.mono_ms
        return presence.expiry_ms

    patch.setattr(Presence, "renew", renew)


def result_of_any_token(patch: pytest.MonkeyPatch) -> None:
    """Whoever says that a job's program has ended is believed, superseded or not."""
    real = progress.sync
    job_of: dict[int, int] = {}

    def sync(desk: Desk, node: MarketNode, request: SyncRequest, now: Now) -> SyncAnswer:
        book = desk.book
        for attempt in book.attempts.values():
            job_of[attempt.token] = attempt.job
        for held in request.held:
            job = book.jobs.get(job_of.get(held.token, 0))
            if held.state == "exited" and held.token not in book.attempts and job and job.token in book.attempts:
                current = book.attempts[job.token]
                outcome.end_attempt(desk, current, AttemptState.SUCCEEDED, now, "node", exit_code=held.exit_code)
        return real(desk, node, request, now)

    patch.setattr(progress, "sync", sync)


def given_up_while_the_start_is_under_way(patch: pytest.MonkeyPatch) -> None:
    """An attempt that its agent does not list yet is placed anew, though the answer that starts it still counts."""
    patch.setattr(progress, "LAPSED_MS", 0)


def supervisor_that_never_freezes(patch: pytest.MonkeyPatch) -> None:
    """A job runs on when its lease has lapsed."""
    real = lease.decide

    def decide(*args: Any) -> Action:
        action = real(*args)
        return Action.RUN if action is Action.FREEZE else action

    patch.setattr(lease, "decide", decide)


#: where to begin the search: the rules change, and with them which history shows what
SEED_OF: dict[Broken, int] = {
    server_lease_ends_first: 63,
    lease_counted_from_the_answer: 46,
    adopted_without_being_confirmed: 143,
    no_lease_after_a_restart: 9,
    result_of_any_token: 43,
    given_up_while_the_start_is_under_way: 11,
    supervisor_that_never_freezes: 9,
}
HISTORIES = 2_000


@pytest.mark.parametrize("broken", SEED_OF, ids=lambda broken: broken.__name__)
def test_a_broken_rule_is_found(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the model would pass because it looks at nothing."""
    broken(monkeypatch)

    with pytest.raises(AssertionError, match="nobody ended so" if broken is result_of_any_token else "runs twice"):
        _walk(SEED_OF[broken])


def _walk(first: int) -> None:
    for seed in range(first, first + HISTORIES):
        walk.play(walk.drawn(seed))
