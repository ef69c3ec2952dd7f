"""What people may ask for, and what they are refused."""

from __future__ import annotations

import pytest

from scheduler.control import Refused, Touched
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.records import JobSpec
from scheduler.wire import Held
from tests.scheduler.market_floor import Floor


def test_an_account_is_one_name_and_one_token() -> None:
    """The name of a revoked one is free again, its token is not."""
    floor = Floor()
    control, now = floor.control, floor.now
    with pytest.raises(Refused, match="there is an account 'ann' already"):
        control.create_account("ann", "renter", "c" * 64, now)
    with pytest.raises(Refused, match="another account has this token"):
        control.create_account("bob", "renter", "a" * 64, now)
    control.revoke_account(floor.renter, now)
    with pytest.raises(Refused, match="another account has this token"):
        control.create_account("bob", "renter", "a" * 64, now)

    again = control.create_account("ann", "operator", "c" * 64, now, actor="account 9")

    assert (again.id, again.role, again.created_ms) == (3, "operator", now.unix_ms)
    floor.commit()
    assert floor.seen.events[-1].actor == "account 9"


def test_revoking_twice_is_once() -> None:
    """And an account that is not there is not found."""
    floor = Floor()
    first = floor.control.revoke_account(floor.renter, floor.now)
    floor.clock.forward(5)

    assert floor.control.revoke_account(floor.renter, floor.now) is first
    with pytest.raises(Refused) as refused:
        floor.control.revoke_account(99, floor.now)
    assert refused.value.kind == "not_found"


def test_a_job_begins_in_the_line() -> None:
    """With its owner, key and spec as given."""
    floor = Floor(nodes=0)

    job = floor.submit("a", key="mine", retries=3)

    assert (job.id, job.owner, job.idempotency_key, job.spec.retries) == (1, floor.renter, "mine", 3)
    assert (job.state, job.created_ms, job.attempts, job.token) == (JobState.QUEUED, floor.now.unix_ms, 0, None)
    assert floor.kinds(job) == ["job.queued"]


def test_a_job_of_nobody_or_of_yesterday_is_refused() -> None:
    """A revoked account; a deadline that has passed."""
    floor = Floor()
    late = JobSpec(name="a", command=("x",), deadline_ms=floor.now.unix_ms)
    with pytest.raises(Refused) as refused:
        floor.control.submit(floor.renter, late, "k", floor.now)
    assert refused.value.kind == "invalid"
    floor.control.revoke_account(floor.renter, floor.now)

    with pytest.raises(Refused) as refused:
        floor.control.submit(floor.renter, JobSpec(name="a", command=("x",)), "k", floor.now)

    assert refused.value.kind == "forbidden"


def test_cancelling_what_waits_ends_it_at_once() -> None:
    """Queued, in backoff, or placed and not yet named to any agent."""
    floor = Floor(nodes=0)
    queued = floor.submit()
    floor.control.cancel(queued.id, "account 1", floor.now)
    floor.commit()
    floor.nodes = [floor.add_node()]
    resting = floor.running(retries=1)
    floor.says(resting, "exited", 7)
    floor.control.cancel(resting.id, "account 1", floor.now)
    placed = floor.submit()
    floor.control.cancel(placed.id, "account 1", floor.now)
    floor.commit()

    assert [floor.job(job).state for job in (queued, resting, placed)] == [JobState.CANCELLED] * 3
    assert floor.job(queued).reason == "cancelled by account 1"
    assert floor.attempt(placed).state is AttemptState.CANCELLED
    assert floor.sync(1).wishes == ()


def test_cancelling_what_runs_stops_it_first() -> None:
    """It is cancelled when its agent says that it has ended; asking twice changes nothing."""
    floor = Floor()
    job = floor.running()

    asked = floor.control.cancel(job.id, "account 1", floor.now)
    again = floor.control.cancel(job.id, "account 2", floor.now)
    floor.commit()

    assert asked == again
    assert (asked.state, asked.cancelled) == (JobState.ACTIVE, True)
    (wish,) = floor.says(job, "running").wishes
    assert (wish.desired, wish.reason) == ("stop", "cancelled by account 1")
    assert floor.attempt(job).state is AttemptState.STOPPING
    floor.says(job, "exited", 143)
    assert floor.job(job).state is JobState.CANCELLED
    assert floor.kinds(job)[-4:] == ["job.cancelling", "attempt.stopping", "attempt.ended", "job.cancelled"]


def test_cancelling_what_an_agent_may_have_been_told_of_waits_for_it() -> None:
    """The answer with `start` is under way: the attempt holds its place until that has lapsed."""
    floor = Floor()
    job = floor.submit()
    floor.sync(1)

    floor.control.cancel(job.id, "account 1", floor.now)
    for _ in range(16):
        floor.tick(1_000)
        assert [wish.desired for wish in floor.sync(1).wishes] in (["stop"], [])

    assert floor.job(job).state is JobState.CANCELLED
    assert floor.attempt(job).reason == "its agent does not hold it"


def test_cancelling_what_has_ended_or_never_was() -> None:
    """A conflict, and not found."""
    floor = Floor()
    job = floor.running()
    floor.says(job, "exited", 0)
    kinds = []
    for id_ in (job.id, 99, 0, -1):
        with pytest.raises(Refused) as refused:
            floor.control.cancel(id_, "account 1", floor.now)
        kinds.append(refused.value.kind)

    assert kinds == ["conflict", "not_found", "not_found", "not_found"]


def test_a_checkpoint_of_the_current_token_is_where_the_next_attempt_begins() -> None:
    """It travels with the assignment."""
    floor = Floor(nodes=2)
    job = floor.running()
    floor.control.save_checkpoint(1, "d" * 64, floor.now, node=1)
    floor.says(job, "vanished")

    (wish,) = floor.sync(2).wishes

    assert wish.assignment is not None
    assert wish.assignment.checkpoint_sha256 == "d" * 64
    assert wish.assignment.n == 2


def test_a_checkpoint_of_a_superseded_token_or_another_node_is_refused() -> None:
    """A thawed attempt must not overwrite what its successor saved."""
    floor = Floor(nodes=2)
    job = floor.running()
    floor.says(job, "vanished")
    for token, node in ((1, 1), (2, 1), (3, None)):
        with pytest.raises(Refused) as refused:
            floor.control.save_checkpoint(token, "d" * 64, floor.now, node=node)
        assert refused.value.kind == "conflict"

    assert floor.book.jobs[job.id].checkpoint_sha256 is None
    assert floor.control.save_checkpoint(2, "d" * 64, floor.now).checkpoint_sha256 == "d" * 64


def test_a_draining_node_finishes_what_it_has_and_gets_no_more() -> None:
    """Until it is taken back."""
    floor = Floor()
    job = floor.running()
    floor.control.drain(1, True, "operator", floor.now)
    waiting = floor.submit()
    assert floor.job(waiting).state is JobState.QUEUED
    (wish,) = floor.says(job, "running").wishes
    assert wish.desired == "run"

    floor.says(job, "exited", 0)
    assert floor.job(waiting).state is JobState.QUEUED
    floor.control.drain(1, False, "operator", floor.now)
    floor.commit()

    assert floor.job(waiting).state is JobState.ACTIVE
    assert [kind for kind in floor.kinds() if "drain" in kind] == ["node.draining", "node.undrained"]


def test_a_node_with_work_is_not_retired_unless_by_force() -> None:
    """By force its attempts are stopped, and only then placed elsewhere; their retries are not touched."""
    floor = Floor(nodes=2)
    job = floor.running()
    with pytest.raises(Refused, match="node 1 runs 1 attempts"):
        floor.control.retire(1, "operator", floor.now)

    floor.control.retire(1, "operator", floor.now, force=True)
    floor.commit()

    assert floor.attempt(job).state is AttemptState.STOPPING
    assert floor.attempt(job).node == 1
    answer = floor.says(job, "exited", 143)
    assert floor.seen.attempts[1].state is AttemptState.PREEMPTED
    assert (floor.attempt(job).node, floor.job(job).retries_used, floor.job(job).lost_nodes) == (2, 0, ())
    assert [wish.desired for wish in answer.wishes] == ["forget"]
    with pytest.raises(Refused) as refused:
        floor.sync(1)
    assert refused.value.kind == "forbidden"


def test_an_idle_node_retires_at_once_and_may_come_back() -> None:
    """Enrolled again by its key it is the same node, to be measured first."""
    floor = Floor()
    floor.control.retire(1, "operator", floor.now)
    assert floor.control.retire(1, "operator", floor.now).standing is Standing.RETIRED
    for ask in (floor.control.ask_qualify, lambda *args: floor.control.drain(args[0], True, *args[1:])):
        with pytest.raises(Refused, match="enrol it again"):
            ask(1, "operator", floor.now)
    old = floor.node(1)

    again = floor.control.enrol(
        floor.supplier,
        name="back",
        public_key=old.public_key,
        price_uh=5,
        region="us",
        executors=("container",),
        shares_gpus=False,
        now=floor.now,
    )

    assert (again.id, again.standing, again.due_ms) == (1, Standing.NEW, floor.now.unix_ms)
    assert (again.name, again.price_uh, again.region, again.executors) == ("back", 5, "us", ("container",))


def test_somebody_may_have_a_node_measured_now() -> None:
    """It is woken, and asked with its next answer."""
    floor = Floor()
    floor.control.touched()

    node = floor.control.ask_qualify(1, "account 2", floor.now)
    floor.commit()

    assert node.due_ms == floor.now.unix_ms
    assert floor.control.touched().nodes == {1}
    assert floor.sync(1).qualify
    assert floor.seen.events[-1].kind == "node.due"


def test_whoever_is_concerned_is_named_once() -> None:
    """A new attempt wakes its node and changes its job; a node's own news need not wake it."""
    floor = Floor(nodes=2)
    floor.control.touched()
    job = floor.submit()

    placed, nothing = floor.control.touched(), floor.control.touched()
    floor.sync(1, Held(token=1, state="running"))
    running = floor.control.touched()
    floor.control.cancel(job.id, "account 1", floor.now)
    cancelled = floor.control.touched()

    assert placed == Touched(nodes=frozenset({1}), jobs=frozenset({job.id}))
    assert nothing == Touched(nodes=frozenset(), jobs=frozenset())
    assert running.nodes == set()
    assert cancelled == Touched(nodes=frozenset({1}), jobs=frozenset({job.id}))


def test_after_a_restart_nobody_knows_what_an_agent_was_told() -> None:
    """A placed attempt that is cancelled then is stopped, not taken for unknown to its node."""
    floor = Floor()
    job = floor.submit()
    floor.restart()

    floor.control.cancel(job.id, "account 1", floor.now)
    floor.commit()

    assert floor.attempt(job).state is AttemptState.STOPPING
    assert [wish.desired for wish in floor.sync(1).wishes] == ["stop"]


def test_a_token_that_was_undone_was_told_to_nobody() -> None:
    """The answer that named it was not sent; the next attempt gets the number, and can be cancelled at once."""
    floor = Floor()
    spec = JobSpec(name="a", command=("x",))
    for again in (False, True):
        job = floor.control.submit(floor.renter, spec, "k", floor.now)
        floor.control.dispatch(floor.now)
        if not again:
            assert floor.control.answer(1, 1, floor.now).wishes[0].token == 1
            floor.book.undo()

    assert floor.control.cancel(job.id, "account 1", floor.now).state is JobState.CANCELLED
