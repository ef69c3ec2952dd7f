"""The network: round trips idle and under load, throughput both ways, loss and jitter of datagrams.

Without a peer everything runs over loopback, which measures this machine's stack and no network; `locality` says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from kernels.spec import Bench, BenchError, Observation, Observed, Profile, Setting, Statistic, Step

if TYPE_CHECKING:
    from kernels.farend import FarEnd
    from kernels.throughput import Loaded
    from kernels.udp import Probed

RTT_STATISTICS: dict[str, Statistic] = {"network.rtt": "median", "network.rtt_p95": "p95", "network.rtt_p99": "p99"}
RTT_KEYS = (*RTT_STATISTICS, "network.jitter")
UDP_KEYS = ("network.udp_loss", "network.udp_jitter")
FLOW_KEYS = ("network.down", "network.up")
LOADED_KEY = "network.loaded_rtt"
FLOW_SHARE = 2.0

#: 368 give a p99 its interval
PROBES: dict[Profile, int] = {"quick": 400, "standard": 1000, "deep": 3000}
#: idle round trips to compare those under load with, and their part of the time
LOAD_PROBES, LOAD_IDLE_PART, MIN_IDLE_S = 50, 0.1, 0.4
#: however much time there is, 50 a second are sent
MAX_SPACING_S = 0.02
#: their packets meet cold caches and unresolved neighbours
WARM_PROBES = 5
#: of an observation's seconds, after the last probe left, for it to come back
WAIT_PART = 0.25
DATAGRAM_SPACING_S = 1e-3
LEAST_SAMPLES = 5
#: two-sided 95 %
Z = 1.96


def steps(setting: Setting) -> list[tuple[str, tuple[str, ...], float]]:
    """What is to be done: the method of `Link`, the keys it reports, its share of the time.

    Round trips under load are taken beside the flows; where a direction is not wanted itself, its flow is theirs.
    """
    found = [
        ("round_trips", tuple(key for key in RTT_KEYS if setting.wants(key)), 1.0),
        ("datagrams", tuple(key for key in UDP_KEYS if setting.wants(key)), 1.0),
        *(("flow", (key,), FLOW_SHARE) for key in FLOW_KEYS if setting.wants(key)),
    ]
    if setting.wants(LOADED_KEY):
        found.append(("loaded", (LOADED_KEY,), FLOW_SHARE * sum(not setting.wants(key) for key in FLOW_KEYS)))
    return [step for step in found if step[1]]


def on_cpu(setting: Setting) -> Iterator[Step]:
    """Round trips, datagrams, then flows; all against one far end that must answer first."""
    from kernels import farend

    with farend.find(setting.peer) as far:
        link = Link(far, count=PROBES[setting.profile], probing=setting.wants(LOADED_KEY))
        for method, keys, share in steps(setting):
            yield Observed(keys=keys, observe=partial(getattr(link, method), keys), share=share)


def shares(setting: Setting) -> float:
    """Of all that `on_cpu` yields."""
    return sum(share for _, _, share in steps(setting))


class Link:
    """What lies between here and the far end; each method measures some of it within its seconds."""

    def __init__(self, far: FarEnd, *, count: int, probing: bool) -> None:
        self._far, self._count, self._probing = far, count, probing
        self._trips: tuple[float, ...] = ()  #: idle round trips, once taken
        self._loaded: dict[str, Loaded] = {}  #: flows by their key, once run

    def round_trips(self, wanted: Sequence[str], seconds: float) -> tuple[Observation, ...]:
        """Idle round trips. Jitter is the mean |difference| of neighbours.

        RFC 3550, 6.4.1, smooths the same differences, J += (|D| - J) / 16, and so tells of the last 16 packets only;
        its expectation is the mean, which tells of all. J is in the context as `rfc3550_s`.
        """
        from kernels import udp

        trips, spacing_s = self._idle(self._count, seconds)
        self._trips = trips  # to compare those under load with
        context = {**_context(self._far), "probe": self._far.probe, "spacing_s": spacing_s, "lowest_s": min(trips)}
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

    def datagrams(self, wanted: Sequence[str], seconds: float) -> tuple[Observation, ...]:
        """Loss is the part of the probes that did not come back; jitter is of the way there, by the far end's clock."""
        from kernels import udp

        if self._far.peer.kind == "iperf3":
            return self._iperf3_datagrams(wanted, seconds)
        host, port = self._far.peer.host, self._far.peer.port
        wait_s = seconds * WAIT_PART
        found = udp.probe(
            host,
            port,
            count=max(1, int((seconds - wait_s) / DATAGRAM_SPACING_S)),
            spacing_s=DATAGRAM_SPACING_S,
            until=time.perf_counter() + seconds,
            patience_s=wait_s,
        )
        if len(found.echoes) <= LEAST_SAMPLES:
            raise BenchError(
                f"wanted UDP echoes from {host}:{port}, {len(found.echoes)} of {found.sent} came back; "
                "is the port open for UDP too?"
            )
        return tuple(seen for seen in _of_datagrams(found, _context(self._far)) if seen.key in wanted)

    def flow(self, wanted: Sequence[str], seconds: float) -> tuple[Observation]:
        """Throughput one way; the mean rate counts, for what matters is when all of it has arrived."""
        (key,) = wanted
        return (_rate(self._far, key, self._run(key, seconds)),)

    def loaded(self, wanted: Sequence[str], seconds: float) -> tuple[Observation]:
        """What the round trips beside the flows were like; a flow that nobody else wanted is run for them."""
        del wanted
        until = time.perf_counter() + seconds
        if not self._trips:
            self._trips, _ = self._idle(LOAD_PROBES, max(MIN_IDLE_S, seconds * LOAD_IDLE_PART))
        left = [key for key in FLOW_KEYS if key not in self._loaded]
        if seconds > 0:
            for count, key in zip(range(len(left), 0, -1), left, strict=True):
                self._run(key, (until - time.perf_counter()) / count)
        return (_bufferbloat(self._far, self._trips, self._loaded),)

    def _run(self, key: str, seconds: float) -> Loaded:
        from kernels import throughput

        down = key == "network.down"
        self._loaded[key] = throughput.run(self._far, down=down, seconds=seconds, probing=self._probing)
        return self._loaded[key]

    def _idle(self, count: int, seconds: float) -> tuple[tuple[float, ...], float]:
        """Up to `count` round trips within `seconds`, the first few left out, and the spacing they were sent with."""
        until = time.perf_counter() + seconds
        spacing_s = min(MAX_SPACING_S, seconds * (1 - WAIT_PART) / (count + WARM_PROBES))
        trips = self._far.round_trips(count=count + WARM_PROBES, spacing_s=spacing_s, until=until)
        trips = trips[min(WARM_PROBES, len(trips) // 5) :]
        if len(trips) < LEAST_SAMPLES:
            raise BenchError(
                f"wanted {count} round trips to {self._far.peer.host}, {len(trips)} came back within {seconds:.1f} s; "
                "look at the path for loss"
            )
        return tuple(trips), spacing_s

    def _iperf3_datagrams(self, wanted: Sequence[str], seconds: float) -> tuple[Observation, ...]:
        """What iperf3's own UDP test counts at the far end; its jitter is RFC 3550's."""
        from kernels import throughput

        found = throughput.iperf3_datagrams(self._far, seconds=seconds, spacing_s=DATAGRAM_SPACING_S)
        context = {**_context(self._far), "probe": found.tool, "sent": found.sent, "lost": found.lost}
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


def _of_datagrams(found: Probed, about: Mapping[str, object]) -> tuple[Observation, Observation]:
    """Loss and jitter of echoed probes."""
    from kernels import udp

    sent, there, back = zip(*((echo.sent_ns, echo.there_ns, echo.back_ns) for echo in found.echoes), strict=True)
    out, home = udp.delay_changes(sent, there), udp.delay_changes(there, back)
    context: dict[str, object] = {
        **about,
        "probe": "udp echo",
        "packet_bytes": udp.PACKET_BYTES,
        "spacing_s": DATAGRAM_SPACING_S,
        "sent": found.sent,
        "lost": found.lost,
        "lost_there": found.lost_on_the_way_there(),
        "jitter_back_s": math.fsum(home) / len(home),
        "rfc3550_s": udp.smoothed_jitter(out),
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
    return loss, Observation(key="network.udp_jitter", unit="s", samples=out, statistic="mean", context=context)


def _context(far: FarEnd) -> dict[str, object]:
    return {"locality": far.locality, "peer": f"{far.peer.host}:{far.peer.port}"}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion; unlike the normal one it has a width when nothing was lost.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    part, square = hits / n, Z * Z / n
    centre = (part + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(part * (1 - part) / n + square / (4 * n))
    # rounded, centre and half differ a little where they are equal: of nothing lost, the interval begins at 0
    return max(0.0, min(part, centre - half)), min(1.0, max(part, centre + half))


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
    keys={"cpu": (*RTT_KEYS, *FLOW_KEYS, LOADED_KEY, *UDP_KEYS)},
    open={"cpu": on_cpu},
    seconds={"quick": 6.0, "standard": 20.0, "deep": 60.0},
    startup_s=0.5,
    shares=shares,
)
