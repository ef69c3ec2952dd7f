"""How nodes come into the market and what they stand as."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scheduler.control import Refused
from scheduler.lifecycle import AttemptState, JobState, Standing
from scheduler.market.listing import ReportSummary
from scheduler.records import Capacity, Figure, MarketNode, NodeFigure, Remark, ReportEntry
from tests.scheduler.market_floor import CAPACITY, Floor, summary, warning

DAY_MS = 24 * 3_600_000


def enrol(floor: Floor, supplier: int | None = None, **changes: Any) -> MarketNode:
    """The same key with other terms."""
    terms: dict[str, Any] = {
        "name": "n1",
        "public_key": f"{1:064x}",
        "price_uh": 1000,
        "region": "eu",
        "executors": ("process",),
        "shares_gpus": True,
    }
    return floor.control.enrol(supplier or floor.supplier, **{**terms, **changes}, now=floor.now)


def test_a_new_node_is_measured_before_it_gets_work() -> None:
    """Enrolled, registered and online is not enough."""
    floor = Floor(nodes=0)
    node = floor.enrol()
    floor.control.register(node, 0, "boot-1", floor.now)
    job = floor.submit()

    answer = floor.sync(node)

    assert answer.qualify
    assert floor.job(job).state is JobState.QUEUED
    floor.control.accept_report(node, summary(), floor.now)
    floor.commit()
    assert floor.job(job).state is JobState.ACTIVE


def test_the_same_key_is_the_same_node() -> None:
    """New terms are taken over and told; the same terms change nothing."""
    floor = Floor()
    before = floor.node(1)
    assert enrol(floor) is before

    after = enrol(floor, price_uh=7, executors=("container",))
    floor.commit()

    assert (after.id, after.price_uh, after.executors, after.standing) == (1, 7, ("container",), Standing.READY)
    assert floor.seen.events[-1].data == {"price_uh": 7, "executors": ["container"]}


def test_a_key_of_somebody_else_is_refused() -> None:
    """It says whose node that is not."""
    floor = Floor()

    with pytest.raises(Refused) as refused:
        enrol(floor, supplier=floor.renter)

    assert refused.value.kind == "forbidden"


def test_registering_raises_the_epoch_once_per_epoch() -> None:
    """A doubled request finds its epoch gone."""
    floor = Floor()
    assert floor.node(1).epoch == 1

    assert floor.control.register(1, 1, "boot-1", floor.now).epoch == 2

    for epoch in (1, 0, 3):
        with pytest.raises(Refused) as refused:
            floor.control.register(1, epoch, "boot-1", floor.now)
        assert refused.value.kind == "stale_epoch"


def test_an_agent_that_begins_anew_keeps_its_attempts() -> None:
    """kill -9 of the agent ends no job: supervisors live on."""
    floor = Floor()
    job = floor.running()

    floor.control.register(1, 1, "boot-1", floor.now)
    floor.commit()

    assert floor.attempt(job).state is AttemptState.RUNNING
    (wish,) = floor.says(job, "running").wishes
    assert wish.desired == "run"


def test_another_boot_ends_every_attempt_at_once() -> None:
    """Nothing of before runs; its jobs go elsewhere within the same commit."""
    floor = Floor(nodes=2)
    jobs = [floor.running(), floor.running()]

    floor.control.register(1, 1, "boot-2", floor.now)
    floor.commit()

    assert {floor.seen.attempts[token].state for token in (1, 2)} == {AttemptState.LOST}
    assert [floor.attempt(job).node for job in jobs] == [2, 2]
    assert floor.node(1).boot_id == "boot-2"
    event = next(event for event in reversed(floor.seen.events) if event.kind == "node.registered")
    assert event.data == {"epoch": 2, "boot_id": "boot-2", "rebooted": True}


def test_a_report_is_taken_over_whole() -> None:
    """Standing, capacity, figures, capability, health, model; due a day later."""
    floor = Floor(nodes=0)
    node = floor.enrol()
    figures = {"matmul.fp32": Figure(value=1e12, low=0.9e12, high=1.1e12, n=9, at_ms=5, unit="FLOP/s")}
    capacity = Capacity(gpu_milli=(1000,), cpu_milli=8000, memory_bytes=5, disk_bytes=6)

    floor.control.accept_report(
        node,
        summary(
            figures=figures,
            capacity=capacity,
            capability={"dense": 80.0},
            health=0.97,
            model="H100 SXM",
            device_kind="cuda",
            vram_bytes=80 << 30,
        ),
        floor.now,
    )

    row = floor.node(node)
    assert (row.standing, row.why) == (Standing.READY, "")
    assert (row.machine, row.report_id, row.device_kind, row.model) == ("m1", "r1", "cuda", "H100 SXM")
    assert (row.figures, row.capacity, row.capability, row.health) == (figures, capacity, {"dense": 80.0}, 0.97)
    assert (row.vram_bytes, row.reported_ms, row.due_ms) == (80 << 30, floor.now.unix_ms, floor.now.unix_ms + DAY_MS)


@pytest.mark.parametrize(("chance", "part"), [(0.0, 0.9), (0.5, 1.0), (0.75, 1.05)])
def test_measurements_are_spread(chance: float, part: float) -> None:
    """A tenth of a day earlier or later, so that a fleet that came together is not measured together."""
    floor = Floor()
    floor.random = chance

    node = floor.control.accept_report(1, summary(report_id="new"), floor.now)

    assert node.due_ms == floor.now.unix_ms + int(DAY_MS * part)


@pytest.mark.parametrize(
    ("changes", "standing", "why"),
    [
        ({}, Standing.READY, ""),
        ({"remarks": (warning("slow disk"),)}, Standing.DEGRADED, "slow disk"),
        ({"verdict": "not_qualified", "reasons": ("memory errors",)}, Standing.QUARANTINED, "memory errors"),
        ({"verdict": "unknown", "reasons": ("clocks differ",)}, Standing.DEGRADED, "clocks differ"),
    ],
)
def test_what_a_node_stands_as_after_a_report(changes: dict[str, Any], standing: Standing, why: str) -> None:
    """A node that worked and now says neither yes nor no goes on, degraded."""
    floor = Floor()

    node = floor.control.accept_report(1, summary(report_id="new", **changes), floor.now)

    assert (node.standing, node.why) == (standing, why)


def test_a_first_report_that_says_neither_yes_nor_no_is_no_yes() -> None:
    """It is measured again after an hour."""
    floor = Floor(nodes=0)
    node = floor.enrol()

    row = floor.control.accept_report(node, summary(verdict="unknown", reasons=("clocks differ",)), floor.now)

    assert (row.standing, row.why) == (Standing.QUARANTINED, "clocks differ")
    assert row.due_ms == floor.now.unix_ms + 3_600_000


BUSY = Remark(code="NOISY_NEIGHBOUR", severity="warning", text="others kept 2 CPUs busy: make", remedy="")
STOLEN = Remark(code="CPU_STEAL", severity="failure", text="the hypervisor kept 30 %", remedy="")
MEMORY = Remark(code="ECC_UNCORRECTED", severity="failure", text="memory errors", remedy="")
MINUTE_MS = 60_000


def disturbed(**changes: Any) -> ReportSummary:
    """A report of a run that other work left no time."""
    fields = {"verdict": "unknown", "reasons": ("matmul.int8 did not end",), "remarks": (BUSY,)}
    return summary(**{**fields, **changes})


def test_a_node_that_was_measured_while_it_was_busy_is_measured_again_in_minutes() -> None:
    """After 3, 6, 12, 24, 48 and then 60: soon when that was a moment's work, seldom when it goes on."""
    floor = Floor(nodes=0)
    node = floor.enrol()
    floor.control.register(node, 0, "boot-1", floor.now)
    waits_min = []
    for number in range(8):
        assert floor.sync(node).qualify
        floor.sync(node, qualifying=True)
        floor.clock.forward(45_000)
        row = floor.control.accept_report(node, disturbed(report_id=f"r{number}"), floor.now)
        floor.commit()
        assert row.standing is Standing.QUARANTINED
        assert row.why == "measured while the machine was busy: others kept 2 CPUs busy: make"
        assert row.due_ms is not None
        waits_min.append((row.due_ms - floor.now.unix_ms) / MINUTE_MS)
        floor.clock.forward(row.due_ms - floor.now.unix_ms - 1)
        assert not floor.sync(node).qualify
        floor.clock.forward(1)

    assert waits_min == [3, 6, 12, 24, 48, 60, 60, 60]


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        ({"verdict": "not_qualified", "remarks": (STOLEN,)}, 0.05),
        ({"verdict": "not_qualified", "remarks": (MEMORY, BUSY)}, 24),
        ({"remarks": ()}, 1),
        ({"remarks": (replace(BUSY, severity="info"),)}, 1),
        ({"verdict": "qualified"}, 24),
    ],
)
def test_only_who_may_have_failed_for_others_work_alone_is_measured_again_so_soon(
    changes: dict[str, Any], hours: float
) -> None:
    """Whoever failed for something worse, or did not fail, waits as usual; a machine's host may be the one at work."""
    floor = Floor(nodes=0)
    node = floor.enrol()

    row = floor.control.accept_report(node, disturbed(**changes), floor.now)

    assert row.due_ms == floor.now.unix_ms + hours * 3_600_000


def test_a_node_that_worked_goes_on_when_it_was_measured_while_it_was_busy() -> None:
    """Degraded, and as soon measured again as one that has yet to work."""
    floor = Floor()

    row = floor.control.accept_report(1, disturbed(report_id="new"), floor.now)

    assert (row.standing, row.due_ms) == (Standing.DEGRADED, floor.now.unix_ms + 3 * MINUTE_MS)
    assert row.why == "measured while the machine was busy: others kept 2 CPUs busy: make"


def test_a_report_that_cannot_be_true_takes_the_node_out() -> None:
    """Its figures stay those of before; what runs there runs on."""
    floor = Floor()
    job = floor.running()

    row = floor.control.disbelieve_report(1, "r9", "faster than light", floor.now)
    floor.commit()

    assert (row.standing, row.why, row.report_id) == (Standing.QUARANTINED, "faster than light", "r-1")
    assert floor.attempt(job).state is AttemptState.RUNNING
    assert floor.job(floor.submit()).state is JobState.QUEUED


def test_a_report_counts_once_and_whole() -> None:
    """Sent twice it changes nothing; of a part of the figures it is refused, as is one of a retired node."""
    floor = Floor()
    floor.clock.forward(1_000)

    same = floor.control.accept_report(1, summary(report_id="r-1"), floor.now)

    assert same.reported_ms == floor.now.unix_ms - 1_000
    with pytest.raises(Refused, match="a part of the figures"):
        floor.control.accept_report(1, summary(report_id="new", partial=True), floor.now)
    floor.control.retire(1, "operator", floor.now)
    with pytest.raises(Refused, match="is retired"):
        floor.control.accept_report(1, summary(report_id="new"), floor.now)
    assert floor.control.disbelieve_report(1, "r9", "no", floor.now).standing is Standing.RETIRED


def test_a_report_that_finds_less_than_is_taken_gives_no_work() -> None:
    """A GPU fell off the bus while a job was on it: what is left is below nothing, and nothing fits."""
    floor = Floor()
    floor.running()

    small = Capacity(cpu_milli=500, memory_bytes=CAPACITY.memory_bytes, disk_bytes=CAPACITY.disk_bytes)
    floor.control.accept_report(1, summary(report_id="new", capacity=small), floor.now)
    floor.commit()

    assert floor.job(floor.submit()).state is JobState.QUEUED


def test_an_agent_that_begins_anew_is_asked_anew() -> None:
    """The measurement that it was asked for died with the one before it."""
    floor = Floor()
    floor.control.ask_qualify(1, "operator", floor.now)
    assert floor.sync(1).qualify
    assert not floor.sync(1).qualify

    floor.control.register(1, 1, "boot-1", floor.now)

    assert floor.sync(1).qualify


def test_a_registration_is_a_sign_of_life() -> None:
    """16 s from then on the agent has to take up its attempts again."""
    floor = Floor()
    floor.tick(15_000)
    floor.control.register(1, 1, "boot-1", floor.now)

    floor.tick(15_999)
    assert floor.node(1).online
    floor.tick(1)

    assert not floor.node(1).online


def test_a_report_of_another_machine_is_refused() -> None:
    """A key is one machine's: the first report says which."""
    floor = Floor()

    with pytest.raises(Refused, match="another machine's"):
        floor.control.accept_report(1, summary(report_id="new", machine="m2"), floor.now)


def test_a_report_and_its_figures_are_kept_as_history_once() -> None:
    """Told a second time it adds nothing."""
    floor = Floor()
    triad = Figure(value=2.0, low=1.9, high=2.1, n=40, at_ms=5, unit="B/s")
    told = summary(report_id="new", measured_ms=7, figures={"memory.triad": triad})

    floor.control.accept_report(1, told, floor.now)
    floor.control.accept_report(1, told, floor.now)

    history = [row.after for row in floor.book.pending if isinstance(row.after, ReportEntry | NodeFigure)]
    assert [row for row in history if row.node == 1][-2:] == [
        ReportEntry(id="new", node=1, at_ms=7, verdict="qualified", profile=told.profile),
        NodeFigure(node=1, metric="memory.triad", figure=triad),
    ]
    assert sum(isinstance(row, NodeFigure) for row in history) == 1
