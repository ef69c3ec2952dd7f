"""scheduler.placement.place, filters and refusal: which node, which GPUs, at which price, and why no other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.clock import Now
from scheduler.lifecycle import Standing
from scheduler.placement.filters import filters, share_price_uh
from scheduler.placement.index import Index
from scheduler.placement.place import Decision, IndexPlacer, Placer, choose_gpus
from scheduler.placement.refusal import Situation, reason, rejected
from scheduler.records import MIB, Capacity, JobSpec, MarketNode, Resources, Work
from tests.scheduler.nodes import GB, HOUR_MS, NOW_MS, USD_UH, attempt, cpu_node, figures, gpu_node, job, market

NOW = Now(mono_ms=1_000_000, unix_ms=NOW_MS)


def place(index: Index, spec: JobSpec, *, avoid: frozenset[int] = frozenset(), now: Now = NOW) -> Decision:
    """Where a fresh placer puts the job."""
    placer: Placer = IndexPlacer(index)
    return placer.place(spec, avoid, now)


@pytest.mark.parametrize(
    ("node", "changes", "filters"),
    [
        (cpu_node(1, standing=Standing.QUARANTINED), {}, {"state": 1}),
        (cpu_node(1, standing=Standing.NEW, reported_ms=None), {}, {"state": 1, "stale": 1}),
        (cpu_node(1, online=False), {}, {"offline": 1}),
        (cpu_node(1, draining=True), {}, {"draining": 1}),
        (cpu_node(1, reported_ms=NOW_MS - 49 * HOUR_MS), {}, {"stale": 1}),
        (cpu_node(1, executors=("container",)), {}, {"executor": 1}),
        (cpu_node(1, executors=("process",)), {"image": "busybox"}, {"executor": 1}),
        (cpu_node(1), {"region": "eu"}, {"region": 1}),
        (cpu_node(1), {"resources": {"gpus": 1}}, {"gpus": 1}),
        (cpu_node(1), {"resources": {"gpu_milli": 1}}, {"gpus": 1, "gpu_sharing": 1}),
        (gpu_node(1), {"image": "x", "resources": {"gpus": 9}}, {"gpus": 1}),
        (gpu_node(1), {"image": "x", "resources": {"gpu_milli": 500}}, {"gpu_sharing": 1}),
        (cpu_node(1), {"resources": {"cpu_milli": 10_001}}, {"cpu": 1}),
        (cpu_node(1), {"resources": {"memory_bytes": 100 * GB + 1}}, {"memory": 1}),
        (cpu_node(1), {"resources": {"disk_bytes": 1000 * GB + 1}}, {"disk": 1}),
        (cpu_node(1), {"max_price_uh": USD_UH // 10 - 1}, {"price": 1}),
        (cpu_node(1), {"where": "cpus > 10"}, {"where": 1}),
    ],
)
def test_each_side_can_say_no(node: MarketNode, changes: dict[str, Any], filters: dict[str, int]) -> None:
    """One thing in the way, or the two that go together; the same job without it is placed."""
    decision = place(market(node), job(**changes))

    assert (decision.node, decision.gpus, decision.price_uh) == (None, (), 0)
    assert decision.why["rejected"] == filters
    assert decision.reason.startswith("none of 1 node fits: 1 ")


@pytest.mark.parametrize(
    ("node", "changes"),
    [
        (cpu_node(1, standing=Standing.DEGRADED, reported_ms=NOW_MS - 48 * HOUR_MS), {"region": "US"}),
        (cpu_node(1), {"resources": {"cpu_milli": 10_000, "memory_bytes": 100 * GB, "disk_bytes": 1000 * GB}}),
        (cpu_node(1), {"max_price_uh": USD_UH // 10, "where": "cpus >= 10"}),
        (gpu_node(1), {"image": "x", "resources": {"gpus": 8}}),
        (gpu_node(1, shares_gpus=True), {"image": "x", "resources": {"gpu_milli": 999}}),
        (gpu_node(1), {"image": "x", "where": '  gpu ~ "h100" '}),
    ],
)
def test_what_just_fits_is_placed(node: MarketNode, changes: dict[str, Any]) -> None:
    """Everything the node has, its whole price's part, the last fresh moment."""
    assert place(market(node), job(**changes)).node == 1


@pytest.mark.parametrize(
    ("held", "wanted", "fits"),
    [
        (Resources(cpu_milli=9500), Resources(cpu_milli=500), True),
        (Resources(cpu_milli=9500), Resources(cpu_milli=501), False),
        (Resources(memory_bytes=99 * GB), Resources(memory_bytes=2 * GB), False),
        (Resources(disk_bytes=999 * GB), Resources(disk_bytes=2 * GB), False),
    ],
)
def test_what_others_hold_is_not_to_be_had(held: Resources, wanted: Resources, fits: bool) -> None:
    """And is said to be busy, not too small."""
    index = market(cpu_node(1))
    index.changed(None, attempt(1, 1, resources=held))

    decision = place(index, replace(job(), resources=wanted))

    assert (decision.node == 1) == fits
    if not fits:
        assert decision.why["rejected"] == {"busy": 1}
        assert decision.reason == "none of 1 node fits: 1 busy; 1 node once they are free"


@pytest.mark.parametrize(
    ("free_milli", "resources", "part_of_milli", "gpus"),
    [
        ((1000, 0, 1000, 1000), Resources(gpus=2), 1000, (0, 2)),
        ((700, 1000), Resources(gpus=1), 1000, (1,)),
        ((1000, 300, 500, 400), Resources(gpu_milli=400), 500, (2,)),
        ((1000, 300, 1000), Resources(gpu_milli=400), 1000, (0,)),
        ((1000,), Resources(), 1000, ()),
    ],
)
def test_the_lowest_numbers_among_equal_gpus(
    free_milli: tuple[int, ...], resources: Resources, part_of_milli: int, gpus: tuple[int, ...]
) -> None:
    """Whole ones that are free; a share comes from one with as much left as it was worked out for."""
    assert choose_gpus(free_milli, resources, part_of_milli) == gpus


def test_a_share_comes_from_the_fullest_gpu_with_room() -> None:
    """While nobody knows what jobs will come: whole GPUs stay whole."""
    index = market(gpu_node(1, shares_gpus=True))
    for token, gpu, milli in ((1, 1, 700), (2, 2, 500), (3, 3, 600)):
        index.changed(None, attempt(token, 1, resources=Resources(gpu_milli=milli), gpus=(gpu,)))

    assert place(index, job(image="x", resources={"gpu_milli": 400})).gpus == (3,)


PAIR = Capacity(gpu_milli=(1000, 1000), cpu_milli=64_000, memory_bytes=512 * GB, disk_bytes=1000 * GB)


def test_a_share_needs_one_gpu_with_room() -> None:
    """Two halves are no 600 thousandths."""
    index = market(gpu_node(1, shares_gpus=True, capacity=PAIR))
    for token, gpu in ((1, 0), (2, 1)):
        index.changed(None, attempt(token, 1, resources=Resources(gpu_milli=500), gpus=(gpu,)))

    assert place(index, job(image="x", resources={"gpu_milli": 600})).node is None
    assert place(index, job(image="x", resources={"gpu_milli": 500})).gpus == (0,)
    assert place(index, job(image="x", resources={"gpus": 1})).why["rejected"] == {"busy": 1}


@pytest.mark.parametrize(
    ("resources", "price_uh"),
    [
        ({"gpus": 2}, 5 * USD_UH),
        ({"gpus": 1, "cpu_milli": 32_000}, 10 * USD_UH),
        ({"gpus": 1, "memory_bytes": 384 * 1000 * MIB}, 15 * USD_UH),
        ({"gpu_milli": 100}, 312_500),
        ({"gpus": 8, "cpu_milli": 64_000}, 20 * USD_UH),
        ({"gpus": 0, "cpu_milli": 1}, 313),
        ({"cpu_milli": 0, "memory_bytes": 0}, 0),
    ],
)
def test_a_share_costs_the_largest_of_its_parts(resources: dict[str, int], price_uh: int) -> None:
    """Of eight GPUs, 64 CPUs and 512 GB at 20 $/h: the dearest part counts, a micro-dollar is not split.

    A tenth of one of eight GPUs is 1/80 = 0.25 $/h, but a whole CPU of 64 comes with it: 20/64 = 0.3125 $/h.
    """
    capacity = Capacity(gpu_milli=(1000,) * 8, cpu_milli=64_000, memory_bytes=512 * 1000 * MIB)
    columns = market(gpu_node(1, capacity=capacity)).live

    assert share_price_uh(columns, Resources(**{"memory_bytes": MIB, **resources})).tolist() == [price_uh]


@given(
    st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 2**42), st.integers(0, 2**42)
)
def test_the_price_of_a_share_is_exact(price_uh: int, cpu: int, cpus: int, memory: int, memories: int) -> None:
    """As whole numbers of any size give it, for what fits."""
    index = market(cpu_node(1, price_uh=price_uh, capacity=Capacity(cpu_milli=cpus, memory_bytes=memories)))
    mib, mibs = -(-memory // MIB), memories // MIB
    if cpu > cpus or mib > mibs:
        return

    found = share_price_uh(index.live, Resources(cpu_milli=cpu, memory_bytes=memory))

    parts = [-(-price_uh * part // whole) for part, whole in ((cpu, cpus), (mib, mibs)) if part]
    assert found.tolist() == [max(parts, default=0)]


def test_a_price_that_was_raised_counts_at_once() -> None:
    """So does a node that has come, or has grown; what was worked out before is not used again."""
    index = market(cpu_node(1))
    placer = IndexPlacer(index)
    prices = [placer.place(job(), frozenset(), NOW).price_uh]
    dearer = cpu_node(1, price_uh=2 * USD_UH)
    index.changed(cpu_node(1), dearer)
    prices.append(placer.place(job(), frozenset(), NOW).price_uh)
    index.changed(dearer, replace(dearer, capacity=replace(dearer.capacity, cpu_milli=40_000)))
    prices.append(placer.place(job(), frozenset(), NOW).price_uh)
    index.changed(None, cpu_node(2, price_uh=1000))
    prices.append(placer.place(job(), frozenset(), NOW).price_uh)

    assert prices == [100_000, 200_000, 50_000, 100]


#: of a job of one CPU on ten where nobody knows what is usual: even, less nine tenths of a point for what is left
PACKED = pytest.approx(49.1, abs=1e-5)


def test_the_decision_says_why_this_node() -> None:
    """Its terms, the next best, and what kept the others out; all of it can be written as JSON."""
    index = market(cpu_node(3), cpu_node(1, price_uh=2 * USD_UH), gpu_node(2), cpu_node(4, online=False))

    decision = place(index, job(policy="cheapest"))

    assert (decision.node, decision.price_uh) == (3, 100_000)
    assert json.loads(json.dumps(dict(decision.why))) == {
        "policy": "cheapest",
        "terms": {"price_usd_per_h": 0.1, "health": 0.9, "packing": PACKED},
        "candidates": 2,
        "nodes": 4,
        "rejected": {"offline": 1, "executor": 1},
        "runner_up": {"node": 1, "terms": {"price_usd_per_h": 0.2, "health": 0.9, "packing": PACKED}},
    }


def test_equals_go_to_the_lowest_number() -> None:
    """Whatever the order in which they joined: chance would spread jobs and leave no node whole."""
    index = market(cpu_node(5), cpu_node(2), cpu_node(9))

    assert place(index, job()).node == 2


def test_nodes_to_avoid_are_taken_only_for_want_of_others() -> None:
    """Of two equals the other; of one, that one."""
    index = market(cpu_node(1), cpu_node(2))

    elsewhere = place(index, job(), avoid=frozenset({1}))
    nowhere_else = place(index, job(), avoid=frozenset({1, 2, 77}))

    assert (elsewhere.node, elsewhere.why["avoided"]) == (2, 1)
    assert nowhere_else.node == 1
    assert "avoided" not in nowhere_else.why


def test_a_reservation_of_the_same_batch_counts() -> None:
    """Ten jobs of a CPU each fill ten CPUs, the eleventh waits."""
    index = market(cpu_node(1))
    placer = IndexPlacer(index)
    for token in range(1, 11):
        assert placer.place(job(), frozenset(), NOW).node == 1
        index.changed(None, attempt(token, 1))

    assert placer.place(job(), frozenset(), NOW).node is None


def test_a_refusal_is_remembered_until_something_changes_or_time_passes() -> None:
    """The same answer to a thousand equal jobs; another when a node is freed, or five seconds later."""
    index = market(cpu_node(1, reported_ms=NOW_MS - 2 * HOUR_MS))
    placer = IndexPlacer(index)
    held = attempt(1, 1, resources=Resources(cpu_milli=10_000))
    index.changed(None, held)
    first = placer.place(job(name="one"), frozenset(), NOW)

    assert placer.place(job(name="two"), frozenset({3}), NOW) is first
    assert placer.place(job(resources={"cpu_milli": 2000}), frozenset(), NOW) is not first
    assert placer.place(job(), frozenset(), replace(NOW, mono_ms=NOW.mono_ms + 5000)) is not first
    index.changed(held, None)
    assert placer.place(job(), frozenset(), NOW).node == 1


def test_a_query_is_read_again_when_a_new_figure_can_be_named() -> None:
    """A job may wait for a figure that nobody has yet."""
    index = market(cpu_node(1))
    placer = IndexPlacer(index)
    spec = job(where="peerlink.0-1 > 1 GB/s")

    assert placer.place(spec, frozenset(), NOW).reason.startswith("where: unknown field 'peerlink.0-1' (character 1)")
    link = replace(cpu_node(2).figures["memory.triad"], value=2e9)
    index.changed(None, cpu_node(2, figures={"peerlink.0-1": link}))
    assert placer.place(spec, frozenset(), NOW).node == 2


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    """Nothing is placed by guesswork."""
    decision = place(market(cpu_node(1)), job(policy="dearest"))

    assert decision.node is None
    assert decision.reason == "there is no policy 'dearest'; there are cheapest, fastest, finish_cheapest, pack"


NODES = (cpu_node(1), cpu_node(2, price_uh=3 * USD_UH), gpu_node(3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"resources": {"memory_bytes": 200 * GB}},
            "none of 3 nodes fits: 2 with too little memory, 1 without process jobs; 2 nodes if memory <= 100 GB",
        ),
        ({"resources": {"cpu_milli": 20_000}}, "; 2 nodes if cpus <= 10"),
        ({"image": "x", "resources": {"gpus": 16}}, "; 1 node if gpus <= 8"),
        ({"image": "x", "resources": {"gpu_milli": 500}}, "; 1 node for a whole GPU"),
        ({"resources": {"disk_bytes": 2000 * GB}}, "; 2 nodes if disk <= 1000 GB"),
        ({"max_price_uh": 50_000}, "; 1 node if max_price >= 0.10 $/h"),
        ({"region": "asia"}, "; 2 nodes in region us"),
        ({"where": "cpus >= 12"}, "; of `where`, cpus >= 12 -> cpus >= 10 gives 2 nodes"),
        (
            {"where": "cpus >= 12 and price < 0.5 $/h"},
            "no single change is enough: without cpus >= 12 and price < 0.5 $/h together 2 nodes would match",
        ),
        ({"resources": {"gpus": 1}}, "; 1 node for a container job"),
        ({"region": "asia", "resources": {"cpu_milli": 20_000}}, "1 without process jobs"),
    ],
)
def test_an_unplaced_job_is_told_what_stops_it_and_the_nearest_miss(changes: dict[str, Any], said: str) -> None:
    """What only one filter stands in the way of, in the renter's own units."""
    assert place(market(*NODES), job(**changes)).reason.endswith(said)


def test_what_only_needs_waiting_is_told_first() -> None:
    """A busy node before one that would be cheap enough for a little more memory."""
    index = market(cpu_node(1), cpu_node(2, capacity=Capacity(cpu_milli=64_000, memory_bytes=GB, disk_bytes=1000 * GB)))
    index.changed(None, attempt(1, 1, resources=Resources(cpu_milli=10_000)))

    assert place(index, job(resources={"memory_bytes": 2 * GB})).reason == (
        "none of 2 nodes fits: 1 with too little memory, 1 busy; 1 node once they are free"
    )


def test_where_two_things_stand_in_every_node_s_way_no_miss_is_made_up() -> None:
    """The counts say enough."""
    decision = place(market(cpu_node(1)), job(region="eu", resources={"cpu_milli": 20_000}))

    assert decision.reason == "none of 1 node fits: 1 in other regions, 1 with too few CPUs"


def test_a_node_that_is_gone_for_good_is_not_spoken_of() -> None:
    """Neither counted nor promised: a retired node never qualifies again."""
    index = market(cpu_node(1), replace(cpu_node(2), standing=Standing.RETIRED, online=False))

    assert place(index, job(region="eu")).reason == "none of 1 node fits: 1 in other regions; 1 node in region us"
    assert place(index, job()).why["nodes"] == 1


def test_a_refusal_of_what_only_has_to_wait_says_what_a_look_at_every_node_would() -> None:
    """Counted from what is kept, not from the nodes: too small, busy, offline and dear ones together."""
    small = Capacity(cpu_milli=500, memory_bytes=GB, disk_bytes=2 * GB)
    index = market(
        cpu_node(1),
        cpu_node(2, price_uh=90 * USD_UH),
        cpu_node(3, capacity=small),
        cpu_node(4, online=False),
        cpu_node(5),
    )
    for token, node in ((1, 1), (2, 2), (3, 5)):
        index.changed(None, attempt(token, node, resources=Resources(cpu_milli=9500)))
    spec = job(max_price_uh=USD_UH)
    columns = index.live
    price_uh = share_price_uh(columns, spec.resources)
    situation = Situation(
        columns=columns,
        spec=spec,
        filters=filters(columns, spec, now_ms=NOW_MS, price_uh=price_uh, query=None),
        held=columns.truths("held"),
        price_uh=price_uh,
        query=None,
        now_ms=NOW_MS,
    )

    decision = place(index, spec)

    assert decision.reason == reason(situation)
    assert decision.why["rejected"] == rejected(situation) == {"offline": 1, "cpu": 1, "busy": 3, "price": 1}


def test_shapes_beyond_what_memory_is_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those used longest ago; what is decided stays the same."""
    monkeypatch.setattr("scheduler.placement.place.RANKINGS_BYTES", 0)
    monkeypatch.setattr("scheduler.placement.place.LEAST_RANKINGS", 3)
    index = market(cpu_node(1), cpu_node(2, price_uh=2 * USD_UH))
    placer = IndexPlacer(index)
    specs = [job(resources={"cpu_milli": 1000 * n}) for n in range(1, 9)]

    first = [placer.place(spec, frozenset(), NOW) for spec in specs]
    kept = list(placer._rankings.values())
    placer.place(specs[5], frozenset(), NOW)
    placer.place(specs[0], frozenset(), NOW)

    assert len(kept) == 3
    assert kept[0] in placer._rankings.values()
    assert kept[1] not in placer._rankings.values()
    assert [placer.place(spec, frozenset(), NOW) for spec in specs] == first


def test_an_empty_market_says_so() -> None:
    """Nothing to count."""
    assert place(Index(), job()).reason == "there is no node on the market"


ODD = Capacity(cpu_milli=7777, memory_bytes=12_345_678_901)


def test_the_promised_change_places_the_job() -> None:
    """Memory and money as the refusal named them, asked again."""
    index = market(cpu_node(1, price_uh=1_234_567, capacity=ODD))
    small = {"disk_bytes": 0}

    assert place(index, job(resources={**small, "memory_bytes": 13 * GB})).reason.endswith("if memory <= 12.3 GB")
    assert place(index, job(resources={**small, "memory_bytes": 12_300_000_000})).node == 1
    assert place(index, job(resources=small, max_price_uh=1)).reason.endswith("if max_price >= 0.16 $/h")
    assert place(index, job(resources=small, max_price_uh=160_000)).node == 1


def test_work_is_counted_at_the_measured_rate_of_the_share() -> None:
    """2 TFLOP/s on ten CPUs are 0.2 on one: 0.72 PFLOP take an hour; a slower node at half the price costs more."""
    slow = cpu_node(2, price_uh=USD_UH // 2, figures=figures({"matmul.bf16": 0.5e12}))
    index = market(cpu_node(1), slow)
    work = Work(metric="matmul.bf16", amount=0.72e15)

    decision = place(index, job(work=work))

    assert decision.node == 1
    assert decision.why["terms"] == {"cost_usd": pytest.approx(0.1), "price_usd_per_h": 0.1, "packing": PACKED}
    assert decision.why["runner_up"] == {
        "node": 2,
        "terms": {"cost_usd": pytest.approx(0.2), "price_usd_per_h": 0.05, "packing": PACKED},
    }
    assert place(index, job(work=work, policy="fastest")).why["terms"] == {
        "finish_s": pytest.approx(3600),
        "price_usd_per_h": 0.1,
        "packing": PACKED,
    }
    assert place(index, job(work=work, policy="cheapest")).node == 2


def test_a_decision_depends_on_nothing_but_the_market() -> None:
    """Two indexes of the same nodes in another order decide alike."""
    nodes = [cpu_node(n, price_uh=n % 3, health=(n % 5) / 5) for n in range(1, 30)]
    order = np.random.default_rng(1).permutation(len(nodes))

    for policy in ("cheapest", "pack", "fastest", "finish_cheapest"):
        spec = job(policy=policy)
        assert place(market(*nodes), spec) == place(market(*(nodes[i] for i in order)), spec)


def test_a_report_grows_stale_whoever_else_stands_in_the_way() -> None:
    """A node that the job cannot go to anyway is counted as stale too, once it is."""
    index = market(gpu_node(1))
    placer, spec = IndexPlacer(index), job(image="x", resources={"gpu_milli": 300})
    later = Now(mono_ms=60 * HOUR_MS, unix_ms=NOW_MS + 60 * HOUR_MS)

    assert placer.place(spec, frozenset(), NOW).why["rejected"] == {"gpu_sharing": 1}
    assert placer.place(spec, frozenset(), later).why["rejected"] == {"stale": 1, "gpu_sharing": 1}
