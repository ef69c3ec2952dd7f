"""What a rule is: evidence in, hits out; and how a hit becomes a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from qualify.gpu_records import GpuEvent
from qualify.records import Claim, Finding, Gpu, Json, Measurement, Node, Report, Severity, Telemetry
from qualify.reference import Reference
from qualify.trial import Ruling, at_most, attempts, rule_attempts

GIB = 1 << 30
RANK: dict[Severity, int] = {"failure": 0, "warning": 1, "info": 2}
PREFIXES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the rules may look at."""

    node: Node
    measurements: Mapping[str, Measurement]
    telemetry: tuple[Telemetry, ...] = ()
    gpus_after: tuple[Gpu, ...] = ()  #: as they stood after the last benchmark
    gpu_events: tuple[GpuEvent, ...] = ()  #: what the driver announced meanwhile
    claim: Claim | None = None
    history: tuple[Report, ...] = ()  #: earlier reports of this node, newest first
    profile: str
    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A rule's condition, met once."""

    text: str
    evidence: Mapping[str, Json]
    key: str | None = None
    severity: Severity | None = None  #: None = the rule's own
    remedy: str | None = None  #: None = the rule's own
    ruling: Ruling | None = None  #: of a limit that is measured again; None = needs no repetition
    doubtful: tuple[str, ...] = ()  #: keys that another attempt could decide, where one hit speaks of several


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One code: what raises it, how bad that is, and what to do."""

    code: str
    severity: Severity  #: the worst it raises
    fires: str  #: completes "Raised when …"
    limit: str  #: the limit, with its source or reason
    remedy: str
    find: Callable[[Evidence], Iterator[Hit]]

    def findings(self, evidence: Evidence) -> Iterator[Finding]:
        """What this rule finds; a limit missed once and met once, or not missed at all, is no finding."""
        for hit in self.find(evidence):
            if hit.ruling is None or hit.ruling.missed or hit.ruling.suspected:
                yield self._finding(hit)

    def doubtful(self, evidence: Evidence) -> Iterator[str]:
        """The keys that another attempt could decide."""
        for hit in self.find(evidence):
            yield from hit.doubtful
            if hit.ruling is not None and hit.ruling.is_open and hit.key is not None:
                yield hit.key

    def _finding(self, hit: Hit) -> Finding:
        severity, text, confirmed = hit.severity or self.severity, hit.text, None
        if hit.ruling is not None:
            confirmed = hit.ruling.confirmed
            if not hit.ruling.missed:
                text = (
                    f"{text}; there was no time to measure it again" if hit.ruling.judged == 1 else f"{text}; undecided"
                )
                severity = "info"  # a limit is missed by two attempts; one is a suspicion
        return Finding(
            code=self.code,
            severity=severity,
            text=text,
            evidence=hit.evidence,
            remedy=hit.remedy or self.remedy,
            key=hit.key,
            confirmed=confirmed,
        )


def too_much(evidence: Evidence, key: str, limit: float, unit: str, words: str) -> Iterator[Hit]:
    """A figure that should stay below a limit, and whose attempts say it may not."""
    measurement = evidence.measurements.get(key)
    if measurement is None or measurement.value is None:
        return
    ruling = rule_attempts(measurement, at_most(limit))
    if ruling.misses or ruling.is_open:
        yield Hit(
            text=f"{words} {si(measurement.value, unit)}",
            evidence={"measured": [attempt.value for attempt in attempts(measurement)], "limit": limit, "unit": unit},
            key=key,
            ruling=ruling,
        )


def si(value: float, unit: str) -> str:
    """A figure for people: "74.1 GB/s", "97 ns"."""
    size = abs(value)
    factor, prefix = next(((f, p) for f, p in PREFIXES if size >= f), (1.0, ""))
    return f"{value / factor:.3g} {prefix}{unit}"


def percent(ratio: float) -> str:
    """ "12.5 %"."""
    return f"{ratio * 100:.3g} %"


def binary(size_bytes: float) -> str:
    """Memory for people: "24 GiB"."""
    return f"{size_bytes / GIB:.3g} GiB"
