"""Rules about the processor: how much of it we have, and who else uses it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator

from qualify.records import Attempt, Json, Measurement
from qualify.reference import is_virtual
from qualify.rule import Evidence, Hit, Rule, percent
from qualify.trial import (
    MOST_STEAL,
    SHARE_OF_FEW,
    SHARE_OF_MANY,
    STARVED_SHARE,
    Ruling,
    Side,
    attempts,
    is_crowded,
    is_starved,
    least_cpu_share,
    number,
    rule_attempts,
)

#: half a CPU of somebody else's work halves one of our threads, and with it whatever waits for the slowest
FOREIGN_CPUS = 0.5
#: load that belongs to no single busy process: of all CPUs, and at least this many CPUs
BUSY_RATIO, BUSY_CPUS = 0.10, 0.75
#: a quota this close to the CPUs we may use anyway takes nothing away
QUOTA_PART = 0.99
#: part of the CPU time from which a virtual machine is not what it was sold as
STEAL_FAILURE = 0.20
#: a busy single thread next to which others run: readings of the whole machine's load
ALONE = "memlatency"
ALONE_READINGS = 5
NAMED_FIGURES = 3  #: in a sentence; the evidence has them all


def cpu_quota(evidence: Evidence) -> Iterator[Hit]:
    """A cgroup that gives less CPU time than the CPUs we may use."""
    quota, usable = evidence.node.cgroup.cpu_quota_cpus, _usable(evidence)
    if quota is not None and usable and quota < QUOTA_PART * usable:
        yield Hit(
            text=f"a cgroup quota leaves {quota:g} of {usable} CPUs",
            evidence={"quota_cpus": quota, "usable_cpus": usable, "limit_cpus": QUOTA_PART * usable},
        )


def cpuset_narrow(evidence: Evidence) -> Iterator[Hit]:
    """An affinity mask or cpuset that hides CPUs."""
    usable, online = _usable(evidence), evidence.node.cpu.threads
    if usable and online and usable < online:
        yield Hit(
            text=f"only {usable} of {online} CPUs may be used",
            evidence={"usable_cpus": usable, "online_cpus": online, "cpuset_cpus": evidence.node.cgroup.cpuset_cpus},
        )


def cgroup_throttled(evidence: Evidence) -> Iterator[Hit]:
    """The quota stopped our threads while they measured."""
    seen = {
        key: ratio
        for key, measurement in evidence.measurements.items()
        if (ratio := number(measurement.context, "throttled_ratio"))
    }
    sampled = [reading.throttled_ratio for reading in evidence.telemetry if reading.throttled_ratio]
    if seen or sampled:
        worst = max([*seen.values(), *sampled])
        yield Hit(
            text=f"the cgroup's quota stopped us in up to {percent(worst)} of its periods",
            evidence={
                "throttled_ratio": worst,
                "readings": len(sampled),
                "figures": ", ".join(sorted(seen)),
                "limit": 0.0,
            },
        )


def cpu_steal(evidence: Evidence) -> Iterator[Hit]:
    """The hypervisor gave our CPUs to others."""
    probed = evidence.node.load.steal_ratio
    sampled = [r.steal_ratio for r in evidence.telemetry if r.steal_ratio is not None and r.running]
    mean = statistics.fmean(sampled) if sampled else None
    worst = max(ratio for ratio in (probed, mean, 0.0) if ratio is not None)
    if worst > MOST_STEAL:
        yield Hit(
            text=f"the hypervisor kept {percent(worst)} of the CPU time",
            evidence={"before_ratio": probed, "during_ratio": mean, "limit_ratio": MOST_STEAL},
            severity="failure" if mean is not None and mean > STEAL_FAILURE else "warning",
        )


def noisy_before(evidence: Evidence) -> Iterator[Hit]:
    """Others were busy before we began."""
    load, cpus = evidence.node.load, evidence.node.cpu.threads or _usable(evidence)
    named = sum(_percent_of(process) for process in load.foreign) / 100
    busy = (load.busy_ratio or 0.0) * cpus
    if named >= FOREIGN_CPUS:
        who = ", ".join(load.foreign[:3])
        yield Hit(
            text=f"before the run others kept {named:.2g} CPUs busy: {who}",
            evidence={"foreign_cpus": named, "foreign": who, "limit_cpus": FOREIGN_CPUS},
            remedy=f"End {load.foreign[0].partition(' (')[0]} and the like, or run when the machine is idle.",
        )
    elif busy >= max(BUSY_CPUS, BUSY_RATIO * cpus):
        limit = max(BUSY_CPUS, BUSY_RATIO * cpus)
        yield Hit(
            text=f"before the run {busy:.2g} of {cpus} CPUs were busy, with processes that cannot be seen from here",
            evidence={"busy_cpus": busy, "cpus": cpus, "limit_cpus": limit},
        )


def noisy_beside(evidence: Evidence) -> Iterator[Hit]:
    """Others were busy while a single thread of ours measured."""
    cpus = evidence.node.cpu.threads
    readings = [r.busy_ratio for r in evidence.telemetry if r.running == ALONE and r.busy_ratio is not None]
    if cpus and len(readings) >= ALONE_READINGS:
        others = statistics.median(readings) * cpus - 1
        if others >= FOREIGN_CPUS:
            yield Hit(
                text=f"while one thread of ours ran, {others:.2g} further CPUs were busy",
                evidence={"foreign_cpus": others, "readings": len(readings), "limit_cpus": FOREIGN_CPUS},
            )


def noisy_figures(evidence: Evidence) -> Iterator[Hit]:
    """Our threads were put aside for others while figures were measured."""
    yield from _over_figures(evidence, _crowded, "others took part of the CPUs while {} measured")


def noisy_neighbour(evidence: Evidence) -> Iterator[Hit]:
    """All that tells of others' load."""
    yield from noisy_before(evidence)
    yield from noisy_beside(evidence)
    yield from noisy_figures(evidence)


def cpu_starved(evidence: Evidence) -> Iterator[Hit]:
    """Our threads wanted to run, nobody here was put before them, and still they did not run."""
    yield from _over_figures(evidence, _starved, "threads that wanted to run did not while {} measured")


def cpu_below_claim(evidence: Evidence) -> Iterator[Hit]:
    """Fewer cores than were claimed."""
    claimed = evidence.claim.cores if evidence.claim else None
    cpu, usable = evidence.node.cpu, _usable(evidence)
    if claimed is None or not usable:
        return
    found = float(usable)
    if cpu.smt and cpu.cores and cpu.threads and not is_virtual(evidence.node):
        found = usable * cpu.cores / cpu.threads
    if evidence.node.cgroup.cpu_quota_cpus is not None:
        found = min(found, evidence.node.cgroup.cpu_quota_cpus)
    if found < claimed:
        yield Hit(
            text=f"{claimed} cores are claimed, {found:g} can be used",
            evidence={"claimed_cores": claimed, "found_cores": found, "usable_cpus": usable, "threads": cpu.threads},
        )


def _usable(evidence: Evidence) -> int:
    return len(evidence.node.cpu.usable_cpus) or evidence.node.cpu.threads or 0


def _percent_of(process: str) -> float:
    """98 of "stress (pid 123) 98 %"."""
    found = re.search(r"(\d+(?:\.\d+)?) ?%$", process)
    return float(found[1]) if found else 0.0


def _crowded(attempt: Attempt) -> Side | None:
    if number(attempt.context, "cpu_share") is None:
        return None
    return "misses" if is_crowded(attempt) else "meets"


def _starved(attempt: Attempt) -> Side | None:
    stolen = (number(attempt.context, "steal_ratio") or 0.0) > MOST_STEAL
    throttled = (number(attempt.context, "throttled_ratio") or 0.0) > 0
    if number(attempt.context, "cpu_share") is None or is_crowded(attempt) or stolen or throttled:
        return None  # what took the time is known, and has a code of its own
    return "misses" if is_starved(attempt) else "meets"


def _over_figures(evidence: Evidence, side: Callable[[Attempt], Side | None], words: str) -> Iterator[Hit]:
    """One hit for all figures that tell of the same thing: what several figures show needs no repetition of each."""
    rulings = {key: rule_attempts(measurement, side) for key, measurement in sorted(evidence.measurements.items())}
    rulings = {key: ruling for key, ruling in rulings.items() if ruling.misses}
    sure = {key: ruling for key, ruling in rulings.items() if ruling.missed or ruling.misses == ruling.judged}
    told = sure or dict(list(rulings.items())[:1])
    if told:
        keys = list(told)
        named = ", ".join(keys[:NAMED_FIGURES]) + (
            f" and {len(keys) - NAMED_FIGURES} more" * (len(keys) > NAMED_FIGURES)
        )
        yield Hit(
            text=words.format(f"{named} {'was' if len(keys) == 1 else 'were'}"),
            evidence={"figures": {key: _share_evidence(evidence.measurements[key]) for key in keys}},
            key=keys[0] if len(keys) == 1 else None,
            ruling=Ruling(
                misses=sum(ruling.misses for ruling in told.values()),
                judged=sum(ruling.judged for ruling in told.values()),
                is_open=False,
            ),
            doubtful=tuple(key for key, ruling in rulings.items() if ruling.is_open),
        )


def _share_evidence(measurement: Measurement) -> dict[str, Json]:
    threads = number(measurement.context, "threads")
    return {
        "cpu_share": [number(attempt.context, "cpu_share") for attempt in attempts(measurement)],
        "involuntary_switches_per_s": number(measurement.context, "involuntary_switches_per_s"),
        "threads": threads,
        "limit": least_cpu_share(threads or 1.0),
    }


RULES = (
    Rule(
        code="CPU_QUOTA",
        severity="warning",
        fires="a cgroup quota leaves less CPU time than the CPUs that may be used",
        limit=f"quota below {percent(QUOTA_PART)} of the usable CPUs; a fact of the configuration, not a measurement",
        remedy="Raise or remove cpu.max (docker run --cpus, Kubernetes resources.limits.cpu).",
        find=cpu_quota,
    ),
    Rule(
        code="CGROUP_THROTTLED",
        severity="warning",
        fires="the quota stopped our threads while they measured",
        limit="any throttled period during a benchmark; even one stops every thread for tens of milliseconds",
        remedy="Raise cpu.max of this group or of the one above it.",
        find=cgroup_throttled,
    ),
    Rule(
        code="CPUSET_NARROW",
        severity="info",
        fires="an affinity mask or cpuset hides CPUs of the machine",
        limit="fewer usable CPUs than are online; only those are measured and offered",
        remedy="Widen cpuset.cpus, or start without taskset, to offer the whole machine.",
        find=cpuset_narrow,
    ),
    Rule(
        code="CPU_STEAL",
        severity="failure",
        fires="the hypervisor kept CPU time that this machine wanted",
        limit=f"more than {percent(MOST_STEAL)} before the run or on average during it (a failure from "
        f"{percent(STEAL_FAILURE)}): hosts that are not oversold stay below 1 %",
        remedy="Move the virtual machine to a host that is not oversold, or buy dedicated CPUs.",
        find=cpu_steal,
    ),
    Rule(
        code="NOISY_NEIGHBOUR",
        severity="warning",
        fires="other processes were busy before or while we measured",
        limit=f"{FOREIGN_CPUS} CPUs of named processes, or {percent(BUSY_RATIO)} of all CPUs; for a figure less than "
        f"{percent(SHARE_OF_FEW)} (few threads) to {percent(SHARE_OF_MANY)} (many) of the CPU time its threads wanted "
        "while the kernel preempted them, 2 of 3",
        remedy="Run when the machine is idle, and stop other work on it.",
        find=noisy_neighbour,
    ),
    Rule(
        code="CPU_STARVED",
        severity="warning",
        fires="threads that wanted to run did not, though nothing here was put before them: a limit we cannot see",
        limit=f"less than {percent(STARVED_SHARE)} of the CPU time wanted, 2 of 3",
        remedy="Look for a quota above this container, or a capped virtual machine.",
        find=cpu_starved,
    ),
    Rule(
        code="CPU_BELOW_CLAIM",
        severity="failure",
        fires="fewer cores can be used than are claimed",
        limit="the number claimed; physical cores where the machine shows them, virtual CPUs in a virtual machine",
        remedy="Claim what can be used, or lift the limit that hides the rest.",
        find=cpu_below_claim,
    ),
)
