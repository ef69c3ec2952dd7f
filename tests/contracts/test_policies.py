"""What every policy must keep, found by the scan that placement uses: a new file is tested without editing a test."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import scheduler.placement.policies
from qualify.registry import load
from scheduler.clock import Now
from scheduler.market.fields import Fields
from scheduler.placement.order import in_order
from scheduler.placement.place import IndexPlacer
from scheduler.placement.policy import Candidates, Policy, policies
from scheduler.records import Capacity, JobSpec, MarketNode, Resources, Work
from tests.scheduler.nodes import GB, NOW_MS, UNITS, attempt, cpu_node, figures, gpu_node, job, market

POLICIES: dict[str, Policy] = load(scheduler.placement.policies, "POLICY")
JOBS = {
    "plain": job(image="x"),
    "work": job(image="x", work=Work(metric="matmul.bf16", amount=1e15)),
    "time": job(image="x", work=Work(metric="memlatency.dram", amount=1e9)),
    "unknown": job(image="x", work=Work(metric="nobody.knows", amount=1.0)),
    "gpus": job(image="x", resources={"gpus": 2}),
    "profile": job(image="x", where="capability.general > 1"),
}

every = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
each_job = pytest.mark.parametrize("spec", JOBS.values(), ids=JOBS)


def nodes() -> Iterator[MarketNode]:
    """Good and bad ones, unknown ones, and one that has nothing at all."""
    for number in range(1, 9):
        yield cpu_node(number, price_uh=number * 100_000, health=None if number % 3 else number / 10)
        yield gpu_node(number + 100, price_uh=(number % 4) * 1_000_000, figures=figures({"matmul.bf16": number * 1e14}))
    yield cpu_node(50, figures={}, capability={}, health=None, price_uh=0)
    yield cpu_node(51, capacity=Capacity())


def candidates(spec: JobSpec) -> Candidates:
    """Every node, whether or not it could take the job: a policy must not fall over any of them."""
    columns = market(*nodes()).live
    return Candidates(
        spec=spec,
        columns=columns,
        fields=Fields(figures=UNITS),
        slots=np.arange(columns.size),
        price_uh=columns.numbers("price_uh").astype(np.int64),
    )


@every
def test_its_name_is_its_file_s(policy: Policy) -> None:
    """What a job names leads to the one file that decides; placement finds the same ones."""
    assert importlib.import_module(f"scheduler.placement.policies.{policy.name}").POLICY is policy
    assert policies()[policy.name] is policy
    assert policy.about
    assert "\n" not in policy.about


@every
@each_job
def test_every_term_has_a_name_and_a_number_for_each_candidate(policy: Policy, spec: JobSpec) -> None:
    """None twice; unknown is NaN, never infinite."""
    asked = candidates(spec)
    terms = policy.rank(asked)

    assert terms
    assert len({term.name for term in terms}) == len(terms)
    for term in terms:
        assert term.values.shape == asked.slots.shape
        assert not np.isinf(term.values).any(), term.name


@every
@each_job
def test_ranking_is_repeatable_and_does_not_depend_on_the_order(policy: Policy, spec: JobSpec) -> None:
    """The same best node from the candidates turned round."""
    asked = candidates(spec)
    turned = Candidates(
        spec=spec,
        columns=asked.columns,
        fields=asked.fields,
        slots=asked.slots[::-1],
        price_uh=asked.price_uh[::-1],
    )

    best = [int(one.column("id")[in_order(policy.rank(one), one.column("id"))[0]]) for one in (asked, asked, turned)]

    assert len(set(best)) == 1


@every
@each_job
def test_its_terms_do_not_depend_on_what_is_free(policy: Policy, spec: JobSpec) -> None:
    """They are worked out once and kept while jobs come and go; what is free decides by how well a job packs."""
    index = market(*nodes())
    asked = Candidates(
        spec=spec,
        columns=index.live,
        fields=Fields(figures=UNITS),
        slots=np.arange(index.live.size),
        price_uh=index.live.integers("price_uh").copy(),
    )
    before = policy.rank(asked)
    before = tuple(replace(term, values=term.values.copy()) for term in before)
    for number in range(1, 9):
        index.changed(None, attempt(number, number, resources=Resources(cpu_milli=number * 1000)))
        index.changed(None, attempt(number + 8, number + 100, resources=Resources(gpus=number), gpus=(0,)))

    after = policy.rank(asked)

    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


@every
@each_job
def test_a_tolerance_is_a_small_part(policy: Policy, spec: JobSpec) -> None:
    """Packing may choose between nodes that are as good, never between good and bad ones; a price is exact."""
    for term in policy.rank(candidates(spec)):
        assert 0 <= term.tolerance <= 0.03
        assert not (term.tolerance and term.name == "price_usd_per_h")


@every
@each_job
def test_a_node_that_is_worse_in_nothing_and_cheaper_is_not_passed_over(policy: Policy, spec: JobSpec) -> None:
    """Two nodes that differ in their price only: the cheaper one, by every policy."""
    dear, cheap = gpu_node(1, price_uh=2_000_000), gpu_node(2, price_uh=1_000_000)
    if spec is JOBS["profile"]:
        dear, cheap = (gpu_node(n.id, price_uh=n.price_uh, capability={"general": 5.0}) for n in (dear, cheap))
    placer = IndexPlacer(market(dear, cheap))

    decision = placer.place(
        JobSpec(
            name=spec.name,
            command=spec.command,
            image=spec.image,
            resources=spec.resources,
            where=spec.where,
            work=spec.work,
            policy=policy.name,
        ),
        frozenset(),
        Now(mono_ms=0, unix_ms=NOW_MS),
    )

    assert decision.node == 2
    assert dict(decision.why)


@every
def test_it_takes_what_there_is(policy: Policy) -> None:
    """One candidate of which nothing is known is still better than none."""
    bare = cpu_node(7, figures={}, capability={}, health=None)
    placer = IndexPlacer(market(bare))

    decision = placer.place(
        job(policy=policy.name, work=Work(metric="matmul.bf16", amount=1.0), resources={"memory_bytes": GB}),
        frozenset(),
        Now(mono_ms=0, unix_ms=NOW_MS),
    )

    assert decision.node == 7
