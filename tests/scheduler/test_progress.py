"""The sync call: what agents tell moves attempts, and what the server wants of each."""

from __future__ import annotations

import pytest

from scheduler.control import Refused
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.wire import Held, LocalState, SyncAnswer
from tests.scheduler.market_floor import Floor, artifact


def wishes(answer: SyncAnswer) -> dict[int, str]:
    """Token -> what is wanted."""
    return {wish.token: wish.desired for wish in answer.wishes}


def held(token: int, state: LocalState = "running") -> Held:
    """An attempt as its agent tells of it."""
    return Held(token=token, state=state)


def test_a_placed_attempt_is_to_be_started_with_all_that_it_needs() -> None:
    """Until the agent lists it, then it is to run."""
    floor = Floor()
    job = floor.submit(name="train", env={"A": "1"})

    answer = floor.sync(1)

    (wish,) = answer.wishes
    assert (wish.token, wish.desired) == (1, "start")
    assert wish.assignment is not None
    assert (wish.assignment.job, wish.assignment.n, wish.assignment.spec) == (job.id, 1, job.spec)
    assert wish.assignment.secrets == {}
    assert wishes(floor.sync(1)) == {1: "start"}
    assert wishes(floor.says(job, "preparing")) == {1: "run"}
    assert (answer.lease_ms, answer.next_sync_ms) == (10_000, 3_000)


def test_states_follow_the_agent_s_and_are_written_down_once() -> None:
    """Preparing, prepared, starting, running, frozen, running; the start is when it first ran."""
    floor = Floor()
    job = floor.submit()
    said: list[LocalState] = ["preparing", "preparing", "prepared", "starting", "running", "frozen", "running"]
    seen = []
    for state in said:
        floor.tick(1_000)
        floor.says(job, state)
        seen.append(floor.attempt(job).state.name)

    assert seen == ["PREPARING", "PREPARING", "PREPARING", "STARTING", "RUNNING", "FROZEN", "RUNNING"]
    assert floor.attempt(job).started_ms == floor.now.unix_ms - 2_000
    assert floor.kinds(job)[2:] == [f"attempt.{s}" for s in ("preparing", "starting", "running", "frozen", "running")]


def test_what_waits_for_its_start_gets_it() -> None:
    """A single attempt has nobody to wait for."""
    floor = Floor()
    job = floor.submit()

    assert wishes(floor.says(job, "prepared")) == {1: "start"}


@pytest.mark.parametrize("late", ["preparing", "starting"])
def test_an_older_message_is_left(late: LocalState) -> None:
    """A doubled sync of before."""
    floor = Floor()
    job = floor.running()

    floor.says(job, late)

    assert floor.attempt(job).state is AttemptState.RUNNING


def test_exit_0_commits_the_result_once() -> None:
    """Done, with the artifacts; said again it is to be forgotten."""
    floor = Floor()
    job = floor.running()

    first = floor.says(job, "exited", 0, artifacts=(artifact(),))
    again = floor.says(job, "exited", 0, artifacts=(artifact(), artifact("other")))

    assert (floor.job(job).state, floor.job(job).exit_code) == (JobState.DONE, 0)
    assert floor.attempt(job).state is AttemptState.SUCCEEDED
    (result,) = floor.seen.results
    assert (result.job, result.token, result.exit_code, result.artifacts) == (job.id, 1, 0, (artifact(),))
    assert wishes(first) == wishes(again) == {1: "forget"}
    assert wishes(floor.sync(1)) == {}


def test_a_result_of_a_superseded_token_is_not_taken() -> None:
    """The node went silent, the job runs elsewhere; what the first node brings later is forgotten."""
    floor = Floor(nodes=2)
    job = floor.running()
    floor.tick(8_000)
    floor.sync(2)
    floor.tick(8_001)
    assert (floor.attempt(job).token, floor.attempt(job).node) == (2, 2)

    answer = floor.sync(1, Held(token=1, state="exited", exit_code=0, artifacts=(artifact(),)))

    assert wishes(answer) == {1: "forget"}
    assert floor.job(job).state is JobState.ACTIVE
    assert floor.seen.results == []


def test_another_node_s_token_is_not_a_node_s_to_end() -> None:
    """Even while it is live."""
    floor = Floor(nodes=2)
    job = floor.running()

    answer = floor.sync(2, Held(token=1, state="exited", exit_code=0))

    assert wishes(answer) == {1: "forget"}
    assert floor.job(job).state is JobState.ACTIVE
    assert floor.attempt(job).state is AttemptState.RUNNING


@pytest.mark.parametrize(
    ("state", "code", "ended", "job_state"),
    [
        ("exited", 7, AttemptState.APP_FAILED, JobState.FAILED),
        ("exited", None, AttemptState.APP_FAILED, JobState.FAILED),
        ("timeout", 137, AttemptState.TIMEOUT, JobState.FAILED),
        ("prepare_failed", None, AttemptState.PREPARE_FAILED, JobState.BACKOFF),
    ],
)
def test_ends_that_are_not_good(state: LocalState, code: int | None, ended: AttemptState, job_state: JobState) -> None:
    """What the agent says is what the attempt ended as."""
    floor = Floor()
    job = floor.running()
    token = floor.attempt(job).token

    floor.says(job, state, code, reason="because")

    assert floor.seen.attempts[token].state is ended
    assert (floor.seen.attempts[token].reason, floor.seen.attempts[token].exit_code) == ("because", code)
    assert floor.job(job).state is job_state


def test_a_vanished_attempt_is_placed_anew_at_once() -> None:
    """In the same commit; elsewhere, while another node will do."""
    floor = Floor(nodes=2)
    job = floor.running()

    floor.says(job, "vanished")

    assert floor.seen.attempts[1].state is AttemptState.LOST
    assert (floor.job(job).state, floor.job(job).replacements, floor.job(job).lost_nodes) == (JobState.ACTIVE, 1, (1,))
    assert (floor.attempt(job).token, floor.attempt(job).n, floor.attempt(job).node) == (2, 2, 2)


def test_a_start_is_repeated_then_withheld_then_given_up() -> None:
    """15 s of `start`; 16 s in which any answer under way lapses; only then is the job placed anew."""
    floor = Floor(nodes=2)
    floor.sync(1)
    job = floor.submit()
    said = []
    for _ in range(40):
        said.append(wishes(floor.sync(1)).get(1))
        floor.sync(2, *(held(token) for token in floor.book.tokens_of_node.get(2, ())))
        floor.tick(1_000)

    assert said[:15] == ["start"] * 15
    assert said[15:30] == ["run"] * 15
    assert said[30:] == [None] * 10
    assert floor.seen.attempts[1].reason == "its agent does not hold it"
    assert floor.attempt(job).node == 2
    assert floor.node(1).lost_jobs == (job.id,)


def test_an_attempt_that_was_taken_up_and_is_not_listed_has_a_lease_s_time() -> None:
    """An agent that lists it again in time keeps it."""
    floor = Floor()
    job = floor.running()
    for _ in range(15):
        assert wishes(floor.sync(1)) == {1: "run"}
        floor.tick(1_000)
    floor.says(job, "running")
    for _ in range(16):
        floor.sync(1)
        floor.tick(1_000)
    assert floor.job(job).replacements == 0

    floor.sync(1)

    assert floor.seen.attempts[1].state is AttemptState.LOST


def test_an_agent_that_began_anew_without_an_attempt_has_lost_it() -> None:
    """Its first sync says so; nobody waits for a lease."""
    floor = Floor()
    kept, gone = floor.running(), floor.running()
    row = floor.control.register(1, 1, "boot-1", floor.now)
    floor.sync(1, held(1), epoch=row.epoch)

    assert floor.seen.attempts[1].state is AttemptState.RUNNING
    assert floor.seen.attempts[2].state is AttemptState.LOST
    assert floor.job(kept).replacements == 0
    assert floor.job(gone).replacements == 1


def test_a_node_is_not_blamed_for_what_it_was_never_told() -> None:
    """Its agent began anew between the placement and the first sync after it."""
    floor = Floor()
    job = floor.submit()
    floor.control.register(1, 1, "boot-1", floor.now)

    floor.sync(1)

    assert floor.seen.attempts[1].state is AttemptState.LOST
    assert floor.attempt(job).token == 2
    assert floor.node(1).lost_jobs == ()


def test_an_older_epoch_is_refused_and_moves_nothing() -> None:
    """Another agent has registered; this one must begin anew."""
    floor = Floor()
    job = floor.running()
    floor.control.register(1, 1, "boot-1", floor.now)

    with pytest.raises(Refused) as refused:
        floor.sync(1, Held(token=1, state="exited", exit_code=0), epoch=1)

    assert refused.value.kind == "stale_epoch"
    assert floor.job(job).state is JobState.ACTIVE


def test_another_boot_must_register_first() -> None:
    """Under the same epoch it may be an old message as well as a new kernel."""
    floor = Floor()

    with pytest.raises(Refused) as refused:
        floor.sync(1, boot_id="boot-2")

    assert refused.value.kind == "stale_epoch"


def test_a_node_that_does_not_exist_is_not_found() -> None:
    """Nothing is made up for it."""
    floor = Floor()

    with pytest.raises(Refused) as refused:
        floor.control.answer(9, 1, floor.now)

    assert refused.value.kind == "not_found"


def test_a_sync_has_news_only_when_something_is_wanted() -> None:
    """Start, stop and forget are answered at once; going on, and what cannot be obeyed, may be held back."""
    floor = Floor()
    control = floor.control
    assert not control.has_news(1, floor.sync(1))
    job = floor.submit()
    assert control.has_news(1, floor.sync(1))
    assert not control.has_news(1, floor.says(job, "running"))
    control.cancel(job.id, "account 1", floor.now)
    floor.commit()
    assert control.has_news(1, floor.says(job, "running"))
    assert not control.has_news(1, floor.says(job, "stopping"))
    assert not control.has_news(1, floor.sync(1))
    assert control.has_news(1, floor.says(job, "exited", 143))


def test_a_held_back_sync_is_answered_without_a_new_lease() -> None:
    """The node was last heard when it asked: 16 s later it is silent, whenever it was answered."""
    floor = Floor()
    floor.sync(1)
    floor.clock.forward(3_000)

    answer = floor.control.answer(1, 1, floor.now)

    assert answer.wishes == ()
    floor.tick(12_999)
    assert floor.node(1).online
    floor.tick(1)
    assert not floor.node(1).online


def test_a_first_measurement_shows_as_qualifying() -> None:
    """A node that is READY stays so while it is measured again: it may be given work, which stops the measurement."""
    floor = Floor()
    new = floor.enrol()
    floor.control.register(new, 0, "boot-1", floor.now)
    seen = []
    for qualifying in (False, True, True, False):
        floor.sync(new, qualifying=qualifying)
        seen.append(floor.node(new).standing)
    floor.sync(1, qualifying=True)

    assert seen == [Standing.NEW, Standing.QUALIFYING, Standing.QUALIFYING, Standing.NEW]
    assert floor.node(1).standing is Standing.READY
    assert floor.attempt(floor.submit()).node == 1


def test_a_due_node_is_asked_while_it_is_idle() -> None:
    """Not while it has work or something to be forgotten; once, and again when nothing came of it."""
    floor = Floor()
    job = floor.running()
    floor.control.ask_qualify(1, "operator", floor.now)
    assert not floor.says(job, "running").qualify
    assert not floor.says(job, "exited", 0).qualify

    assert floor.sync(1).qualify
    assert not floor.sync(1).qualify
    floor.tick(59_000, step_ms=1_000)
    assert not floor.sync(1).qualify
    floor.tick(1_000)
    assert floor.sync(1).qualify  # it never began to
    floor.sync(1, qualifying=True)
    floor.tick(599_000)
    assert not floor.sync(1).qualify  # it began, and no report came
    floor.tick(1_000)
    assert floor.sync(1).qualify
