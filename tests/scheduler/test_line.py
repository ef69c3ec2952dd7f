"""The line forgets nobody: what it does not try again could not have been placed."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.lifecycle import JobState
from scheduler.records import Resources
from tests.scheduler.market_floor import Floor

SIZES = (Resources(), Resources(cpu_milli=2000), Resources(gpus=1), Resources(cpu_milli=4000, gpus=2))


@dataclass(frozen=True)
class Act:
    """Something that happens to a market."""

    what: str
    which: int
    priority: int


ACTS = st.lists(
    st.builds(
        Act,
        what=st.sampled_from(["submit", "submit", "end", "cancel", "drain", "undrain", "vanish", "wait", "undo"]),
        which=st.integers(0, 9),
        priority=st.integers(0, 2),
    ),
    min_size=5,
    max_size=40,
)


def perform(floor: Floor, act: Act) -> None:
    """One act, the same for the same history."""
    active = [job for job in floor.seen.jobs.values() if job.state is JobState.ACTIVE]
    waiting = [job for job in floor.seen.jobs.values() if job.state is JobState.QUEUED]
    match act.what:
        case "submit":
            floor.submit(resources=SIZES[act.which % len(SIZES)], priority=act.priority)
        case "end" if active:
            floor.says(active[act.which % len(active)], "exited", 0)
        case "vanish" if active:
            floor.says(active[act.which % len(active)], "vanished")
        case "cancel" if waiting:
            floor.control.cancel(waiting[act.which % len(waiting)].id, "account 1", floor.now)
            floor.commit()
        case "drain" | "undrain":
            floor.control.drain(1 + act.which % 2, act.what == "drain", "operator", floor.now)
            floor.commit()
        case "wait":
            floor.tick(1_000)
        case "undo":  # the disk was full
            floor.control.drain(1, not floor.node(1).draining, "operator", floor.now)
            floor.control.dispatch(floor.now)
            floor.book.undo()


class Restless(Floor):
    """Tries everything again in every pass."""

    def commit(self) -> None:
        self.control._desk.line._helped = True
        super().commit()


@given(acts=ACTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_places_whatever_trying_everything_again_would_place(acts: list[Act]) -> None:
    """The same jobs on the same nodes at the same moments, with fewer questions."""
    patient, restless = Floor(nodes=2), Restless(nodes=2)
    for act in acts:
        for floor in (patient, restless):
            perform(floor, act)
            for node in (1, 2):
                floor.control._desk.presence(node).renew(floor.now, 0)
        placed = [[(a.job, a.node, a.gpus) for a in floor.seen.attempts.values()] for floor in (patient, restless)]
        assert placed[0] == placed[1]

    assert len(patient.placer.asked) <= len(restless.placer.asked)


@given(acts=ACTS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_whoever_waits_could_not_be_placed(acts: list[Act]) -> None:
    """Asked anew, the placer has nothing for any of them; and each says why it waits."""
    floor = Floor(nodes=2)
    for act in acts:
        perform(floor, act)

    for job in floor.book.jobs.values():
        if job.state is JobState.QUEUED:
            assert floor.placer.place(job.spec, frozenset(), floor.now).node is None
            assert job.reason
