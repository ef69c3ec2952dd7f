"""When a node has to prove itself, and what brakes it."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import pytest

from qualify.proof import challenge as protocol
from scheduler.control import ControlSettings, Refused
from scheduler.desk import ProvingSettings
from scheduler.proofs import plan
from scheduler.proofs.due import LONGEST_GAP, next_due
from scheduler.proofs.outcome import Finding
from scheduler.proofs.rows import ChallengeState
from tests.scheduler.market_floor import Floor
from tests.scheduler.proofs.floor import DAY_MS, ProvingFloor

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


def test_a_node_is_asked_for_a_full_check_after_its_first_good_report() -> None:
    """The answer to its next sync says so, once a minute at the most."""
    floor = ProvingFloor()
    asked = [floor.sync(floor.id).prove]
    floor.clock.forward(MINUTE_MS - 1)
    asked.append(floor.sync(floor.id).prove)
    floor.clock.forward(1)
    asked.append(floor.sync(floor.id).prove)

    assert asked == [False, False, True]  # the fixture's sync was the first to be told
    assert floor.issued().level == "full"


def test_a_challenge_is_what_its_row_says() -> None:
    """The document that is sent is the one that was written down, for this node, with nonces of its own."""
    floor = ProvingFloor()
    row = floor.issued()
    document = protocol.from_json(json.loads(row.document))

    assert (document.id.hex(), document.node, document.level) == (row.id, floor.id, "full")
    assert document.expires_ms == row.expires_ms
    assert [device.uuid for device in document.devices] == ["GPU-0"]
    assert floor.book.challenges == {row.id: row}


@pytest.mark.parametrize(
    "why",
    ["in flight", "has work", "draining", "offline", "being measured", "not good", "proofs are off", "never measured"],
)
def test_a_node_that_should_not_be_asked_is_not(why: str) -> None:
    """Whatever it asks for itself, there is no challenge for it."""
    floor = ProvingFloor(on=why != "proofs are off")
    match why:
        case "in flight":
            floor.issued()
        case "has work":
            floor.submit()
        case "draining":
            floor.control.drain(floor.id, True, "operator", floor.now)
        case "offline":
            floor.tick(60_000)
        case "being measured":
            floor.clock.forward(MINUTE_MS)
            assert not floor.sync(floor.id, qualifying=True).prove
            return
        case "not good":
            floor.report("r2", verdict="not_qualified")
        case "never measured":
            floor.id = floor.enrol()

    assert floor.issue() is None


def test_a_challenge_goes_on_step_by_step_and_each_step_once() -> None:
    """Used once, asked once, answered once, and by its own node only."""
    floor = ProvingFloor()
    other = floor.add_node()
    challenge = floor.issued()
    with pytest.raises(Refused, match="no challenge"):
        floor.control.advance_challenge(challenge.id, other, ChallengeState.USED, floor.now)
    with pytest.raises(Refused, match="answered once"):
        floor.advance(challenge, ChallengeState.ASKED)
    floor.advance(challenge, ChallengeState.USED)
    with pytest.raises(Refused, match="answered once"):
        floor.advance(challenge, ChallengeState.USED)
    floor.advance(challenge, ChallengeState.ASKED)
    floor.clock.forward(challenge.expires_ms - floor.now.unix_ms)
    with pytest.raises(Refused, match="expired"):
        floor.advance(challenge, ChallengeState.ANSWERED)

    assert floor.book.challenges[challenge.id].state is ChallengeState.ASKED


def test_a_check_is_as_many_challenges_as_its_plan_has() -> None:
    """Two GPUs, full: each alone, int8 and bf16 together, the memory; then light: the joint ones."""
    floor = ProvingFloor()
    full = floor.go_through()
    floor.clock.forward(floor.proof.light_due_ms - floor.now.unix_ms)  # type: ignore[operator]
    floor.sync(floor.id)
    light = floor.go_through()

    assert [(one.level, one.kind, one.phase) for one in full] == [
        ("full", "compute", 0),
        ("full", "compute", 1),
        ("full", "compute", 2),
        ("full", "compute", 3),
        ("full", "memory", 4),
    ]
    assert [(one.level, one.kind) for one in light] == [("light", "compute"), ("light", "compute"), ("light", "memory")]
    assert {one.phases for one in full} == {5}


def test_the_next_challenge_of_a_check_is_asked_for_at_once() -> None:
    """The node is woken when a verdict is there."""
    floor = ProvingFloor()
    floor.control.touched()
    floor.end("pass")

    assert floor.id in floor.control.touched().nodes
    assert floor.sync(floor.id).prove


def test_a_new_report_begins_the_check_anew() -> None:
    """The plan may be another one."""
    floor = ProvingFloor()
    floor.end("pass")
    floor.report("r2")

    assert floor.issued().phase == 0


def test_what_claims_nothing_is_asked_nothing_until_its_next_report() -> None:
    """A CPU without a figure of its products or its memory."""
    floor = ProvingFloor()
    floor.report("r2", figures={})

    assert floor.issue() is None
    assert not floor.sync(floor.id).prove
    floor.report("r3")
    assert floor.issue() is not None


def test_gaps_between_light_checks_are_exponential() -> None:
    """Their mean is an hour, or more where a check takes long, cut off at four of it; nobody can await a check."""
    floor = ProvingFloor()
    now, settings = floor.now, floor.settings.proving
    mean_ms = max(HOUR_MS, plan.lasts_ms(floor.row, "light", settings.scale) / settings.light_duty)
    gaps = []
    for step in range(1000):
        floor.random = (step + 0.5) / 1000
        due = next_due(floor.control._desk, floor.row, "light", now)
        gaps.append(due["light_due_ms"] - now.unix_ms)

    assert statistics.fmean(gaps) == pytest.approx((1 - math.exp(-LONGEST_GAP)) * mean_ms, rel=0.01)
    assert max(gaps) == int(LONGEST_GAP * mean_ms)
    assert statistics.median(gaps) == pytest.approx(math.log(2) * mean_ms, rel=0.01)


@pytest.mark.parametrize("gpus", [1, 8])
def test_proofs_take_no_more_than_half_a_percent_of_a_node_s_time(gpus: int) -> None:
    """By arithmetic: mean gaps and usual lengths, for one GPU and for eight, whose checks take longer."""
    floor = ProvingFloor(gpus=gpus)
    floor.report("r2", capacity=replace(floor.row.capacity, gpu_milli=(1000,) * gpus))
    settings = ProvingSettings()
    took = {level: plan.lasts_ms(floor.row, level, settings.scale) for level in ("light", "full")}
    floor.random = 1 - math.exp(-1)  # the mean of an exponential gap, and above the middle of the jitter
    floor.go_through()
    light_ms = floor.proof.light_due_ms - floor.now.unix_ms  # type: ignore[operator]

    assert light_ms >= settings.light_ms * 0.999
    assert took["light"] / light_ms + took["full"] / max(DAY_MS, took["full"] / settings.full_duty) <= 0.005


def test_a_full_check_comes_once_a_day_or_so() -> None:
    """A tenth earlier or later."""
    floor = ProvingFloor()
    floor.random = 0.0
    floor.go_through()

    assert floor.proof.full_due_ms == floor.now.unix_ms + int(0.9 * DAY_MS)
    assert floor.proof.proved_ms == floor.now.unix_ms


def test_a_challenge_of_an_earlier_server_ends_without_harm() -> None:
    """Its referee is gone; freshness is all that is lost."""
    floor = ProvingFloor()
    challenge = floor.issued()
    floor.advance(challenge, ChallengeState.USED, ChallengeState.ASKED)
    old = floor.book.challenges[challenge.id]
    floor.restart()
    floor.book.load([old], floor.book.counters)
    floor.control = type(floor.control)(floor.book, floor.placer, random=lambda: 0.5, settings=floor.settings)
    floor.sync(floor.id)
    floor.tick(5_000)

    assert floor.book.challenges == {}
    assert (floor.proof.outcome, floor.proof.misses, floor.proof.failed_ms) == ("could_not_run", 0, ())


def test_without_proofs_nobody_is_asked_and_nothing_is_due() -> None:
    """The market as it was."""
    floor = Floor(settings=ControlSettings())

    assert not floor.sync(floor.nodes[0]).prove
    assert floor.node(floor.nodes[0]).proof.full_due_ms is None
    with pytest.raises(Refused):
        floor.control.settle_challenge("00" * 16, floor.nodes[0], Finding(outcome="pass"), floor.now)
