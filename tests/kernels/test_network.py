"""The network benchmark: its figures over loopback, and the arithmetic behind them."""

from __future__ import annotations

import time

import pytest

from kernels import iperf
from kernels.benches import network
from kernels.device import Device
from kernels.farend import FarEnd
from kernels.flow import Flow
from kernels.spec import BenchError, Observation, Observed, Setting
from kernels.tcp import Peer
from kernels.throughput import Loaded
from tests.kernels.far import HOST, closed_port, serving

pytestmark = pytest.mark.alone

DEVICE = Device(kind="cpu", index=0, name="test", cpus=(0,), threads=1)
FAR = FarEnd(peer=Peer(host=HOST, port=9, kind="gridmark", iperf3_port=None), locality="loopback", no_iperf3="not here")


def setting(*only: str, peer: str | None = None) -> Setting:
    return Setting(device=DEVICE, profile="quick", budget_s=6.0, seed=2, only=frozenset(only), peer=peer)


def observe(wanted: Setting, *seconds: float) -> dict[str, Observation]:
    """Run the steps, each for its seconds."""
    found: dict[str, Observation] = {}
    for step, budget_s in zip(network.on_cpu(wanted), seconds, strict=True):
        assert isinstance(step, Observed)
        most_s = 1.05 * budget_s + 0.2
        seen, lasted_s = timed(step, budget_s)
        if lasted_s >= most_s:  # the machine may have stood still for a moment; a step that is slow is so again
            seen, lasted_s = timed(step, budget_s)
        assert lasted_s < most_s
        assert {each.key for each in seen} == set(step.keys)
        found |= {each.key: each for each in seen}
    return found


def timed(step: Observed, budget_s: float) -> tuple[tuple[Observation, ...], float]:
    """What the step saw, and the seconds it took."""
    start = time.perf_counter()
    seen = step.observe(budget_s)
    return tuple(seen), time.perf_counter() - start


def loaded(*trips_s: float) -> Loaded:
    flow = Flow(tool="built-in", rates=(8.0,) * 10, slice_s=0.05, counted_by="receiver")
    return Loaded(flow=flow, round_trips_s=trips_s)


def test_every_figure_comes_out_over_loopback() -> None:
    """All nine keys, each within its seconds, and every one says that it is of loopback only."""
    found = observe(setting(), 0.8, 0.8, 1.5, 1.5, 0.0)

    assert set(found) == set(network.BENCH.keys["cpu"])
    assert {each.context["locality"] for each in found.values()} == {"loopback"}
    assert {each.unit for each in found.values()} == {"s", "ratio", "B/s"}
    assert found["network.udp_loss"].value == 0.0
    assert found["network.down"].context["tool"] == ("built-in" if iperf.missing() else "iperf3 3.12")
    assert min(found["network.down"].samples) > 1e6
    assert found["network.rtt"].samples == found["network.rtt_p99"].samples
    assert 0 < min(found["network.rtt"].samples) < 0.1
    assert isinstance(found["network.loaded_rtt"].context["difference_s"], float)


def test_only_what_is_wanted_is_measured() -> None:
    """One key: one step, one figure; its share is the whole."""
    wanted = setting("network.rtt_p99")
    found = observe(wanted, 0.3)

    assert list(found) == ["network.rtt_p99"]
    assert network.shares(wanted) == 1.0


def test_one_direction_alone_leaves_the_other_out() -> None:
    """`up` needs no flow down, and no round trips."""
    with serving() as port:
        found = observe(setting("network.up", peer=f"{HOST}:{port}"), 0.9)

    assert list(found) == ["network.up"]
    assert found["network.up"].context["tool"] == "built-in"
    assert found["network.up"].context["why_built_in"] == (iperf.missing() or "the peer runs no iperf3 server")


def test_round_trips_under_load_bring_their_own_flows() -> None:
    """Wanted alone, both directions are run for them, and not reported; the time is theirs."""
    wanted = setting("network.loaded_rtt")
    found = observe(wanted, 2.4)

    assert network.shares(wanted) == 2 * network.FLOW_SHARE
    assert list(found) == ["network.loaded_rtt"]
    assert {"loaded_down_s", "loaded_up_s", "idle_s"} <= set(found["network.loaded_rtt"].context)


def test_one_direction_that_fails_does_not_take_the_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Down fails; up is measured, and the round trips beside it count."""

    def run(_: FarEnd, *, down: bool, **__: object) -> Loaded:
        if down:
            raise BenchError("cut")
        return loaded(0.03)

    monkeypatch.setattr("kernels.throughput.run", run)
    link = network.Link(FAR, count=1, probing=True)
    link._trips = (0.01,)
    with pytest.raises(BenchError, match="cut"):
        link.flow(("network.down",), 1.0)

    assert link.flow(("network.up",), 1.0)[0].samples == (8.0,) * 8
    assert link.loaded(("network.loaded_rtt",), 0.0)[0].value == pytest.approx(0.02)


def test_a_peer_that_is_not_there_fails_before_the_first_step() -> None:
    """One sentence for all keys."""
    with pytest.raises(BenchError, match="wanted a peer at"):
        next(network.on_cpu(setting(peer=f"{HOST}:{closed_port()}")))


@pytest.mark.real
def test_a_pure_iperf3_server_gives_every_figure() -> None:
    """Round trips by connecting, loss and jitter as iperf3 counts them."""
    if reason := iperf.missing():
        pytest.skip(reason)
    port = iperf.free_port(HOST)
    with iperf.server(HOST, port):
        found = observe(setting(peer=f"{HOST}:{port}"), 1.5, 1.6, 1.6, 1.6, 0.0)

    assert set(found) == set(network.BENCH.keys["cpu"])
    assert found["network.rtt"].context["probe"] == "tcp connect"
    assert str(found["network.udp_loss"].context["probe"]).startswith("iperf3 ")
    assert found["network.udp_loss"].value == 0.0
    assert len(found["network.rtt"].samples) >= network.LEAST_SAMPLES


def test_the_interval_of_a_proportion_has_a_width_at_zero() -> None:
    """Wilson: 0 of 100 is below 3.7 %, 10 of 100 between 5.5 and 17.4 %, and all of them mirror none."""
    assert network.wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert network.wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert network.wilson(100, 100) == pytest.approx((0.9630, 1.0), abs=1e-4)


def test_the_interval_of_a_loss_holds_the_loss() -> None:
    """Also where rounding would put its end a hair beside it: a report that contradicts itself is not believed."""
    for n in range(1, 3000):
        for hits in (0, n):
            low, high = network.wilson(hits, n)
            assert low <= hits / n <= high


def test_bufferbloat_is_of_the_worse_direction() -> None:
    """Idle 10 ms; 30 ms beside a flow down, 110 beside one up: 100 ms, and both are kept."""
    found = network._bufferbloat(
        FAR, [0.01, 0.01, 0.01], {"network.down": loaded(0.03, 0.03, 0.03), "network.up": loaded(0.1, 0.11, 0.2)}
    )

    assert found.value == pytest.approx(0.1)
    assert found.samples == pytest.approx((0.09, 0.1, 0.19))
    assert found.context["worse"] == "up"
    assert (found.context["idle_s"], found.context["loaded_down_s"]) == (0.01, 0.03)


def test_a_faster_round_trip_under_load_is_zero_and_not_hidden() -> None:
    """A busy core wakes faster than a sleeping one; the difference itself is in the context."""
    found = network._bufferbloat(FAR, [0.010], {"network.up": loaded(0.008)})

    assert found.value == 0.0
    assert found.context["difference_s"] == pytest.approx(-0.002)


def test_no_round_trip_under_load_is_an_error() -> None:
    """All probes lost beside a full flow is a finding of its own."""
    with pytest.raises(BenchError, match=r"no round trip .* came back while a flow ran"):
        network._bufferbloat(FAR, [0.01], {"network.up": loaded()})


def test_a_rate_is_the_mean_of_its_slices_after_the_warm_up() -> None:
    """Mean and not median: over a shaped link bytes come in bursts, and slices of a median would be quantised."""
    flow = Flow(tool="x", rates=(1.0, 1.0, 6.0, 8.0, 10.0, 8.0, 8.0, 9.0), slice_s=0.05, counted_by="sender")
    found = network._rate(FAR, "network.up", Loaded(flow=flow, round_trips_s=()))

    assert found.statistic == "mean"
    assert found.samples == (8.0, 10.0, 8.0, 8.0, 9.0)
    assert found.context["warm_up_slices"] == 3


def test_too_few_slices_are_an_error() -> None:
    """A link that carried data for a moment only."""
    flow = Flow(tool="x", rates=(1.0, 1.0, 1.0, 1.0), slice_s=0.05, counted_by="sender")

    with pytest.raises(BenchError, match=r"network\.up: data arrived in 2 slices"):
        network._rate(FAR, "network.up", Loaded(flow=flow, round_trips_s=()))
