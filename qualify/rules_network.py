"""Rules about the network interfaces and what the network gives."""

from __future__ import annotations

from collections.abc import Iterator

from qualify.records import Measurement
from qualify.rule import Evidence, Hit, Rule, percent, si, too_much
from qualify.trial import at_least, attempts, rule_attempts

#: a network figure is the far end's too; a tenth below what was promised is a broken promise
CLAIM_PART = 0.90
SLOW_NIC_BITS_PER_S = 1_000_000_000
#: a cable or port that is broken counts thousands; a handful since boot is a link that came up
MANY_NIC_ERRORS = 1000
#: TCP at 20 ms falls below 100 Mbit/s from a loss of 0.4 % on (Mathis et al., 1997); calls break up at 5 %
MOST_LOSS, LOSS_FAILURE = 0.01, 0.05
#: from 200 ms more under load interactive work is impossible (grade D of the common bufferbloat tests)
MOST_BLOAT_S = 0.2

LOSS = "network.udp_loss"
BLOAT = "network.loaded_rtt"
DIRECTIONS = (("network.down", "down_bytes_per_s"), ("network.up", "up_bytes_per_s"))


def nic_errors(evidence: Evidence) -> Iterator[Hit]:
    """An interface loses frames."""
    for nic in evidence.node.nics:
        if nic.errors is not None and nic.errors >= MANY_NIC_ERRORS:
            yield Hit(
                text=f"{nic.name} counted {nic.errors} errors since boot",
                evidence={"nic": nic.name, "errors": nic.errors, "limit": MANY_NIC_ERRORS},
            )


def nic_slow(evidence: Evidence) -> Iterator[Hit]:
    """The fastest interface is slow."""
    nics = evidence.node.nics
    known = [nic for nic in nics if nic.speed_bits_per_s is not None]
    fastest = max((nic.speed_bits_per_s or 0 for nic in known), default=0)
    if known and len(known) == len(nics) and fastest < SLOW_NIC_BITS_PER_S:
        yield Hit(
            text=f"the fastest interface runs at {si(fastest, 'bit/s')}",
            evidence={"speed_bits_per_s": fastest, "limit_bits_per_s": SLOW_NIC_BITS_PER_S},
        )
    for nic in nics:
        if nic.duplex == "half":
            yield Hit(text=f"{nic.name} runs half duplex", evidence={"nic": nic.name, "duplex": nic.duplex})


def network_below_claim(evidence: Evidence) -> Iterator[Hit]:
    """Less bandwidth than was claimed; what loopback gives proves nothing either way."""
    for key, name in DIRECTIONS:
        claimed: float | None = getattr(evidence.claim, name, None)
        measurement = _over_the_wire(evidence, key)
        if claimed is None or measurement is None:
            continue
        limit = CLAIM_PART * claimed
        ruling = rule_attempts(measurement, at_least(limit))
        if (ruling.misses or ruling.is_open) and measurement.value is not None:
            yield Hit(
                text=f"{key}: {si(claimed, 'B/s')} are claimed, {si(measurement.value, 'B/s')} measured",
                evidence={
                    "claimed_bytes_per_s": claimed,
                    "measured_bytes_per_s": [attempt.value for attempt in attempts(measurement)],
                    "limit_bytes_per_s": limit,
                },
                key=key,
                ruling=ruling,
            )


def network_loss(evidence: Evidence) -> Iterator[Hit]:
    """Packets are lost on the way."""
    if _over_the_wire(evidence, LOSS) is not None:
        for hit in too_much(evidence, LOSS, MOST_LOSS, "", "packets lost:"):
            value = evidence.measurements[LOSS].value or 0.0
            yield Hit(
                text=f"{percent(value)} of the packets were lost",
                evidence=hit.evidence,
                key=LOSS,
                ruling=hit.ruling,
                severity="failure" if value > LOSS_FAILURE else "warning",
            )


def bufferbloat(evidence: Evidence) -> Iterator[Hit]:
    """Queues fill up under load."""
    if _over_the_wire(evidence, BLOAT) is not None:
        yield from too_much(evidence, BLOAT, MOST_BLOAT_S, "s", "under load a round trip takes longer by")


def network_loopback_only(evidence: Evidence) -> Iterator[Hit]:
    """The network figures are those of this machine with itself."""
    keys = sorted(k for k, m in evidence.measurements.items() if k.startswith("network.") and m.status == "ok")
    if keys and all(_is_loopback(evidence.measurements[key]) for key in keys):
        yield Hit(
            text="network figures are of this machine with itself; none went over a wire",
            evidence={"figures": ", ".join(keys)},
        )


def _is_loopback(measurement: Measurement) -> bool:
    return measurement.context.get("locality") != "remote"


def _over_the_wire(evidence: Evidence, key: str) -> Measurement | None:
    measurement = evidence.measurements.get(key)
    return None if measurement is None or _is_loopback(measurement) else measurement


RULES = (
    Rule(
        code="NIC_ERRORS",
        severity="warning",
        fires="an interface loses frames",
        limit=f"{MANY_NIC_ERRORS} errors since boot",
        remedy="Change the cable or the port; ethtool -S tells which error it is.",
        find=nic_errors,
    ),
    Rule(
        code="NIC_SLOW",
        severity="warning",
        fires="the fastest interface is slow, or one runs half duplex",
        limit=f"below {si(SLOW_NIC_BITS_PER_S, 'bit/s')}; unknown speeds (virtio) raise nothing",
        remedy="Check cable and switch port; a gigabit link that falls to 100 Mbit/s has a broken pair.",
        find=nic_slow,
    ),
    Rule(
        code="NETWORK_BELOW_CLAIM",
        severity="failure",
        fires="the network is slower than claimed",
        limit=f"{percent(CLAIM_PART)} of the claim against a peer that is not this machine, 2 of 3",
        remedy="Claim what is measured, or measure against a nearer peer with --peer.",
        find=network_below_claim,
    ),
    Rule(
        code="NETWORK_LOSS",
        severity="failure",
        fires="packets are lost on the way",
        limit=f"above {percent(MOST_LOSS)}, 2 of 3 (a failure above {percent(LOSS_FAILURE)}), loopback left out",
        remedy="Look at the cable, the switch's counters and the provider's shaping.",
        find=network_loss,
    ),
    Rule(
        code="BUFFERBLOAT",
        severity="warning",
        fires="queues fill up under load",
        limit=f"a round trip longer by {si(MOST_BLOAT_S, 's')} while the link is full, 2 of 3, loopback left out",
        remedy="Shape the uplink with fq_codel or cake, or let the router do so.",
        find=bufferbloat,
    ),
    Rule(
        code="NETWORK_LOOPBACK_ONLY",
        severity="info",
        fires="no network figure went over a wire",
        limit="no peer was given",
        remedy="Run iperf3 -s elsewhere and give its address with --peer.",
        find=network_loopback_only,
    ),
)
