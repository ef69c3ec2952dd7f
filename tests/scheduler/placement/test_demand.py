"""scheduler.placement.demand: what the usual jobs are, out of those that came, and how they fade."""

from __future__ import annotations

import pytest

from scheduler.placement.demand import HALF_LIFE_MS, MAX_REQUESTS, MAX_TERMS, Demand, Terms
from scheduler.placement.fgd import Typical
from scheduler.records import JobSpec, Resources
from tests.scheduler.nodes import job


def gpu_job(gpus: int, **changes: object) -> JobSpec:
    """So many whole GPUs in a container."""
    return job(image="x", resources={"gpus": gpus}, **changes)


def test_the_most_frequent_requests_that_are_95_per_cent_stand_for_all() -> None:
    """Of 90 + 6 + 4 the first two; their weights are to each other as they came."""
    demand = Demand()
    for gpus, count in ((1, 90), (2, 6), (4, 4)):
        for _ in range(count):
            demand.note(gpu_job(gpus), 0)

    assert demand.refresh()
    assert demand.mix.typical == (
        Typical(gpus=1, each_milli=1000, cpu_milli=1000, terms=0, weight=937_500),
        Typical(gpus=2, each_milli=1000, cpu_milli=1000, terms=0, weight=62_500),
    )


def test_terms_are_told_apart_and_the_gpus_they_ask_for_counted() -> None:
    """Those of rare jobs too: 3 x 1 GPU anywhere, one job of 5 in one region."""
    demand = Demand()
    for _ in range(3):
        demand.note(gpu_job(1), 0)
    demand.note(gpu_job(5, region="eu"), 0)

    demand.refresh()

    assert [terms.region for terms in demand.mix.terms] == ["eu", None]
    assert demand.mix.gpu_parts == pytest.approx((5 / 8, 3 / 8))
    assert [one.terms for one in demand.mix.typical] == [1, 0]


def test_what_a_highest_price_is_for_is_part_of_the_terms() -> None:
    """A price excludes other nodes for a large job than for a small one; without a price the size is no term."""
    assert Terms.of(gpu_job(1)) == Terms.of(gpu_job(2))
    assert Terms.of(gpu_job(1, max_price_uh=5)) != Terms.of(gpu_job(2, max_price_uh=5))
    assert Terms.of(gpu_job(1, where=" gpu = 'x' ")) == Terms.of(gpu_job(1, where="gpu = 'x'"))
    assert Terms.of(job(resources={"gpu_milli": 1})) != Terms.of(job())


def test_a_request_fades_by_half_in_a_week() -> None:
    """Two of a week ago weigh as much as one of today; over years nothing overflows."""
    demand = Demand()
    for at_ms in (0, 0, HALF_LIFE_MS):
        demand.note(gpu_job(1 if at_ms else 2), at_ms)

    demand.refresh()

    assert {one.weight for one in demand.mix.typical} == {500_000}
    for week in range(2000):
        demand.note(gpu_job(1), week * HALF_LIFE_MS)
    demand.refresh()
    assert [(one.gpus, one.weight) for one in demand.mix.typical] == [(1, 1_000_000)]


def test_what_was_undone_was_never_asked_for() -> None:
    """The mix is that of the others."""
    demand = Demand()
    demand.note(gpu_job(1), 0)
    demand.note(gpu_job(2), 0)
    demand.forget(gpu_job(2), 0)

    demand.refresh()

    assert [(one.gpus, one.weight) for one in demand.mix.typical] == [(1, 1_000_000)]


def test_the_mix_is_drawn_up_again_when_a_tenth_of_it_is_new() -> None:
    """Not for every job: that would cost all scores."""
    demand = Demand()
    for _ in range(100):
        demand.note(gpu_job(1), 0)
    refreshed = [demand.refresh(), demand.refresh()]
    for _ in range(11):
        demand.note(gpu_job(2), 0)
        refreshed.append(demand.refresh())
    demand.note(gpu_job(2), 0)
    refreshed.append(demand.refresh())

    assert refreshed == [True, False, *[False] * 11, True]
    assert not Demand().refresh()


def test_a_mix_that_has_hardly_changed_stays_in_use() -> None:
    """The same two shapes in the same parts ten times over, then slowly more of one: compared with what is in use."""
    demand = Demand()
    for _ in range(100):
        demand.note(gpu_job(1), 0)
        demand.note(gpu_job(2), 0)
    assert demand.refresh()
    used = demand.mix

    for _ in range(900):
        demand.note(gpu_job(1), 0)
        demand.note(gpu_job(2), 0)
        assert not demand.refresh()
    assert demand.mix is used
    refreshed = []
    for _ in range(200):
        demand.note(gpu_job(2), 0)
        refreshed.append(demand.refresh())

    assert sum(refreshed) == 1
    assert [one.gpus for one in demand.mix.typical] == [2, 1]


def test_what_nobody_asks_for_twice_does_not_fill_the_memory() -> None:
    """Shapes and terms are bounded; what is frequent stays."""
    demand = Demand()
    for _ in range(100):
        demand.note(gpu_job(1), 0)
    for number in range(2 * MAX_REQUESTS):
        demand.note(job(where=f"count > {number}", resources={"cpu_milli": number}), 0)

    demand.refresh()

    assert len(demand._weights) <= MAX_REQUESTS
    assert len(demand.mix.terms) <= MAX_TERMS
    assert (demand.mix.typical[0].gpus, demand.mix.gpu_parts[0]) == (1, 1.0)
    assert sum(Resources(gpus=one.gpus) == Resources(gpus=1) for one in demand.mix.typical) == 1
