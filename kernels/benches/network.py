"""The network: round trips idle and under load, throughput both ways, loss and jitter of datagrams.

Without a peer everything runs over loopback, which measures this machine's stack and no network; `locality` says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from kernels.spec import Bench, BenchError, Observation, Observed, Profile, Setting, Statistic, Step

if TYPE_CHECKING:
    from kernels.farend import FarEnd
    from kernels.throughput import Loaded

    Measure = Callable[[FarEnd, Sequence[str], float], tuple[Observation, ...]]

RTT_STATISTICS: dict[str, Statistic] = {"network.rtt": "median", "network.rtt_p95": "p95", "network.rtt_p99": "p99"}
RTT_KEYS = (*RTT_STATISTICS, "network.jitter")
UDP_KEYS = ("network.udp_loss", "network.udp_jitter")
FLOW_KEYS = ("network.down", "network.up", "network.loaded_rtt")
SHARES = {RTT_KEYS: 1.0, UDP_KEYS: 1.0, FLOW_KEYS: 4.0}

#: 368 give a p99 its interval
PROBES: dict[Profile, int] = {"quick": 400, "standard": 1000, "deep": 3000}
#: idle round trips to compare those under load with, and their part of the time
LOAD_PROBES, LOAD_IDLE_PART = 50, 0.1
#: at most 50 round trips a second, like a patient ping
MAX_SPACING_S = 0.02
#: their packets meet cold caches and unresolved neighbours
WARM_PROBES = 5
#: of an observation's seconds, after the last probe left, for it to come back
WAIT_PART = 0.25
DATAGRAM_SPACING_S = 1e-3
LEAST_SAMPLES = 5
#: two-sided 95 %
Z = 1.96


def on_cpu(setting: Setting) -> Iterator[Step]:
    """Round trips, datagrams, then flows; all against one far end that must answer first."""
    from kernels import farend

    with farend.find(setting.peer) as far:
        round_trips = partial(_round_trips, count=PROBES[setting.profile])
        measures: dict[tuple[str, ...], Measure] = {RTT_KEYS: round_trips, UDP_KEYS: _datagrams, FLOW_KEYS: _flows}
        for keys, measure in measures.items():
            wanted = tuple(key for key in keys if setting.wants(key))
            if wanted:
                yield Observed(keys=wanted, observe=partial(measure, far, wanted), share=SHARES[keys])


def shares(setting: Setting) -> float:
    """Of all that `on_cpu` yields."""
    return sum(share for keys, share in SHARES.items() if any(map(setting.wants, keys)))


def _round_trips(far: FarEnd, wanted: Sequence[str], seconds: float, *, count: int) -> tuple[Observation, ...]:
    """Idle round trips. Jitter is the mean |difference| of neighbours.

    RFC 3550, 6.4.1, smooths the same differences, J += (|D| - J) / 16, and so tells of the last 16 packets only; its
    expectation is the mean, which tells of all. J is in the context as `rfc3550_s`.
    """
    from kernels import udp

    trips, spacing_s = _idle(far, count, seconds)
    context = {**_context(far), "probe": far.probe, "spacing_s": spacing_s, "lowest_s": min(trips)}
    found = [
        Observation(key=key, unit="s", samples=trips, statistic=statistic, context=context)
        for key, statistic in RTT_STATISTICS.items()
        if key in wanted
    ]
    if "network.jitter" in wanted:
        changes = tuple(abs(b - a) for a, b in pairwise(trips))
        jitter = {**context, "rfc3550_s": udp.smoothed_jitter(changes)}
        found.append(Observation(key="network.jitter", unit="s", samples=changes, statistic="mean", context=jitter))
    return tuple(found)


def _idle(far: FarEnd, count: int, seconds: float) -> tuple[tuple[float, ...], float]:
    """Up to `count` round trips within `seconds`, the first few left out, and the spacing they were sent with."""
    until = time.perf_counter() + seconds
    spacing_s = min(MAX_SPACING_S, seconds * (1 - WAIT_PART) / (count + WARM_PROBES))
    trips = far.round_trips(count=count + WARM_PROBES, spacing_s=spacing_s, until=until)[WARM_PROBES:]
    if len(trips) < LEAST_SAMPLES:
        raise BenchError(
            f"wanted {count} round trips to {far.peer.host}, {len(trips)} came back within {seconds:.1f} s; "
            "look at the path for loss"
        )
    return tuple(trips), spacing_s


def _context(far: FarEnd) -> dict[str, object]:
    return {"locality": far.locality, "peer": f"{far.peer.host}:{far.peer.port}"}


def _datagrams(far: FarEnd, wanted: Sequence[str], seconds: float) -> tuple[Observation, ...]:
    """Loss is the part of the probes that did not come back; jitter is of the way there, by the far end's clock."""
    from kernels import udp

    if far.peer.kind == "iperf3":
        return _iperf3_datagrams(far, wanted, seconds)
    wait_s = seconds * WAIT_PART
    found = udp.probe(
        far.peer.host,
        far.peer.port,
        count=max(1, int((seconds - wait_s) / DATAGRAM_SPACING_S)),
        spacing_s=DATAGRAM_SPACING_S,
        until=time.perf_counter() + seconds,
        patience_s=wait_s,
    )
    if len(found.echoes) <= LEAST_SAMPLES:
        raise BenchError(
            f"wanted UDP echoes from {far.peer.host}:{far.peer.port}, {len(found.echoes)} of {found.sent} came back; "
            "is the port open for UDP too?"
        )
    sent = [echo.sent_ns for echo in found.echoes]
    there = udp.delay_changes(sent, [echo.there_ns for echo in found.echoes])
    back = udp.delay_changes([echo.there_ns for echo in found.echoes], [echo.back_ns for echo in found.echoes])
    context: dict[str, object] = {
        **_context(far),
        "probe": "udp echo",
        "packet_bytes": udp.PACKET_BYTES,
        "spacing_s": DATAGRAM_SPACING_S,
        "sent": found.sent,
        "lost": found.lost,
        "lost_there": found.lost_on_the_way_there(),
        "jitter_back_s": math.fsum(back) / len(back),
        "rfc3550_s": udp.smoothed_jitter(there),
    }
    arrived = {echo.number for echo in found.echoes}
    loss = Observation(
        key="network.udp_loss",
        unit="ratio",
        samples=tuple(float(number not in arrived) for number in range(found.sent)),
        statistic="mean",
        value=found.lost / found.sent,
        ci95=wilson(found.lost, found.sent),
        context=context,
    )
    jitter = Observation(key="network.udp_jitter", unit="s", samples=there, statistic="mean", context=context)
    return tuple(observation for observation in (loss, jitter) if observation.key in wanted)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion; unlike the normal one it has a width when nothing was lost.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    part, square = hits / n, Z * Z / n
    centre = (part + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(part * (1 - part) / n + square / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _iperf3_datagrams(far: FarEnd, wanted: Sequence[str], seconds: float) -> tuple[Observation, ...]:
    """What iperf3's own UDP test counts at the far end; its jitter is RFC 3550's."""
    from kernels import throughput

    found = throughput.iperf3_datagrams(far, seconds=seconds, spacing_s=DATAGRAM_SPACING_S)
    context = {**_context(far), "probe": found.tool, "sent": found.sent, "lost": found.lost}
    loss = Observation(
        key="network.udp_loss",
        unit="ratio",
        samples=(found.lost / found.sent,),
        ci95=wilson(found.lost, found.sent),
        value=found.lost / found.sent,
        context=context,
    )
    jitter = Observation(key="network.udp_jitter", unit="s", samples=(found.jitter_s,), context=context)
    return tuple(observation for observation in (loss, jitter) if observation.key in wanted)


def _flows(far: FarEnd, wanted: Sequence[str], seconds: float) -> tuple[Observation, ...]:
    """One flow each way that is needed; the mean rate counts, for what matters is when all of it has arrived."""
    from kernels import throughput

    until = time.perf_counter() + seconds
    probing = "network.loaded_rtt" in wanted
    idle: tuple[float, ...] = ()
    if probing:
        idle, _ = _idle(far, LOAD_PROBES, seconds * LOAD_IDLE_PART)
    directions = [key for key in ("network.down", "network.up") if probing or key in wanted]
    loaded: dict[str, Loaded] = {}
    for left, key in zip(range(len(directions), 0, -1), directions, strict=True):
        part_s = (until - time.perf_counter()) / left
        loaded[key] = throughput.run(far, down=key == "network.down", seconds=part_s, probing=probing)
    found = [_rate(far, key, each) for key, each in loaded.items() if key in wanted]
    if probing:
        found.append(_bufferbloat(far, idle, loaded))
    return tuple(found)


def _rate(far: FarEnd, key: str, loaded: Loaded) -> Observation:
    from kernels.flow import warmed

    flow = loaded.flow
    rates = warmed(flow.rates)
    if len(rates) < LEAST_SAMPLES:
        raise BenchError(f"{key}: data arrived in {len(rates)} slices of {flow.slice_s:g} s only; raise --budget")
    context = {
        **_context(far),
        "tool": flow.tool,
        "counted_by": flow.counted_by,
        "slice_s": flow.slice_s,
        "warm_up_slices": len(flow.rates) - len(rates),
        **flow.context,
    }
    return Observation(key=key, unit="B/s", samples=rates, statistic="mean", context=context)


def _bufferbloat(far: FarEnd, idle: Sequence[float], loaded: dict[str, Loaded]) -> Observation:
    """How much longer a round trip takes beside a full flow, in the worse direction; 0 if it takes no longer."""
    from kernels.stats import quantile

    medians = {key: quantile(each.round_trips_s, 0.5) for key, each in loaded.items() if each.round_trips_s}
    if not medians:
        raise BenchError(f"no round trip to {far.peer.host} came back while a flow ran; look at the path for loss")
    idle_s = quantile(idle, 0.5)
    worst = max(medians, key=lambda key: medians[key])
    context: dict[str, object] = {
        **_context(far),
        "probe": far.probe,
        "idle_s": idle_s,
        "difference_s": medians[worst] - idle_s,
        "worse": worst.removeprefix("network."),
        **{f"loaded_{key.removeprefix('network.')}_s": median for key, median in medians.items()},
    }
    samples = tuple(trip - idle_s for trip in loaded[worst].round_trips_s)
    value = max(0.0, medians[worst] - idle_s)
    return Observation(key="network.loaded_rtt", unit="s", samples=samples, value=value, context=context)


BENCH = Bench(
    name="network",
    version=1,
    title="Network",
    keys={"cpu": (*RTT_KEYS, *FLOW_KEYS, *UDP_KEYS)},
    open={"cpu": on_cpu},
    seconds={"quick": 6.0, "standard": 20.0, "deep": 60.0},
    startup_s=0.5,
    shares=shares,
)
