"""Rules about clocks: how fast the cores tick, whether heat slows them, whether the time of day can be believed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from qualify.rule import Evidence, Hit, Rule, percent, si
from qualify.trial import number

#: ordinary servers of the last ten years run above their base clock under any load that is not throttled
CLOCK_PART = 0.93
CLOCK_FIGURES = 2
#: turbo gives way to the power limit within the first minute on a healthy machine, so a fall alone says nothing:
#: it must also end below the base clock or at a temperature where parts begin to protect themselves
CLOCK_FALL, WARM_C = 0.10, 90.0
FALL_READINGS = 6
#: Tjmax is 95 to 105 °C; a part that works there protects itself by slowing down
HOT_C, HOT_READINGS = 97.0, 3
#: clocksources that are read through a slow device: about 1 µs a reading, against 20 ns for the time-stamp counter
SLOW_SOURCES = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies"})
#: a clock that nobody disciplines drifts this much in a day or two (10 to 100 ppm for a crystal)
MOST_CLOCK_ERROR_S = 1.0


def clock_low(evidence: Evidence) -> Iterator[Hit]:
    """The cores ran below the clock their maker guarantees."""
    base, clocks = evidence.node.cpu.base_hz, _clocks(evidence)
    slow = [hz for hz in clocks if base and hz < CLOCK_PART * base]
    if base and len(slow) >= CLOCK_FIGURES and len(slow) * 2 > len(clocks):
        middle = statistics.median(clocks)
        yield Hit(
            text=f"the cores ran at {si(middle, 'Hz')}, below their base clock of {si(base, 'Hz')}",
            evidence={"clock_hz": middle, "base_hz": base, "limit_hz": CLOCK_PART * base, "figures": len(slow)},
        )


def governor_powersave(evidence: Evidence) -> Iterator[Hit]:
    """The governor holds the clock down; intel_pstate's "powersave" does not, it only is called so."""
    cpu, clocks = evidence.node.cpu, _clocks(evidence)
    floor = cpu.base_hz or (cpu.max_hz and 0.6 * cpu.max_hz)
    if cpu.governor and "powersave" in cpu.governor.split(", ") and floor and clocks:
        middle = statistics.median(clocks)
        if middle < CLOCK_PART * floor:
            yield Hit(
                text=f"the clock governor is {cpu.governor} and the cores ran at {si(middle, 'Hz')}",
                evidence={"governor": cpu.governor, "clock_hz": middle, "limit_hz": CLOCK_PART * floor},
            )


def thermal_decline(evidence: Evidence) -> Iterator[Hit]:
    """The clock fell under one and the same load, and to where only heat or a power limit takes it."""
    base = evidence.node.cpu.base_hz
    for bench in sorted({reading.running for reading in evidence.telemetry if reading.running}):
        readings = [r for r in evidence.telemetry if r.running == bench and r.clock_hz is not None]
        if len(readings) < FALL_READINGS:
            continue
        third = len(readings) // 3
        early, late = (
            statistics.median(r.clock_hz for r in part if r.clock_hz) for part in (readings[:third], readings[-third:])
        )
        hottest = max((r.temperature_c for r in readings if r.temperature_c is not None), default=None)
        hot, low = hottest is not None and hottest >= WARM_C, base is not None and late < base
        if late < (1 - CLOCK_FALL) * early and (hot or low):
            yield Hit(
                text=f"while {bench} ran the clock fell from {si(early, 'Hz')} to {si(late, 'Hz')}",
                evidence={
                    "early_hz": early,
                    "late_hz": late,
                    "limit_hz": (1 - CLOCK_FALL) * early,
                    "temperature_c": hottest,
                    "base_hz": base,
                },
            )


def thermal_hot(evidence: Evidence) -> Iterator[Hit]:
    """The processor worked at its limit of temperature."""
    hot = [r.temperature_c for r in evidence.telemetry if r.temperature_c is not None and r.temperature_c >= HOT_C]
    if len(hot) >= HOT_READINGS:
        yield Hit(
            text=f"the processor reached {max(hot):.0f} °C",
            evidence={"temperature_c": max(hot), "readings": len(hot), "limit_c": HOT_C},
        )


def clock_unsynced(evidence: Evidence) -> Iterator[Hit]:
    """Nobody keeps the time of day right."""
    clock = evidence.node.clock
    if clock.synchronized is False:
        yield Hit(
            text="the system clock is not synchronised",
            evidence={"synchronized": False, "max_error_s": clock.max_error_s, "source": clock.source},
        )
    elif clock.max_error_s is not None and clock.max_error_s > MOST_CLOCK_ERROR_S:
        yield Hit(
            text=f"the system clock may be wrong by {clock.max_error_s:.1f} s",
            evidence={
                "synchronized": clock.synchronized,
                "max_error_s": clock.max_error_s,
                "limit_s": MOST_CLOCK_ERROR_S,
            },
        )


def clocksource_slow(evidence: Evidence) -> Iterator[Hit]:
    """Every reading of the time goes through a slow device."""
    source = evidence.node.clock.source
    if source in SLOW_SOURCES:
        yield Hit(text=f"the kernel reads its time from {source}", evidence={"source": source})


def _clocks(evidence: Evidence) -> list[float]:
    if evidence.node.device_kind != "cpu":  # there they are a GPU's
        return []
    found = (number(measurement.context, "clock_hz") for measurement in evidence.measurements.values())
    return [hz for hz in found if hz is not None]


RULES = (
    Rule(
        code="CLOCK_LOW",
        severity="warning",
        fires="the cores ran below the clock their maker guarantees",
        limit=f"most figures below {percent(CLOCK_PART)} of the base clock",
        remedy="Check cooling, power limits and the BIOS power profile.",
        find=clock_low,
    ),
    Rule(
        code="GOVERNOR_POWERSAVE",
        severity="warning",
        fires="a clock governor holds the cores below their base clock",
        limit=f"governor powersave and a median clock below {percent(CLOCK_PART)} of the base clock; intel_pstate's "
        "governor of that name does not hold the clock down and raises nothing",
        remedy="Set the governor: cpupower frequency-set -g performance.",
        find=governor_powersave,
    ),
    Rule(
        code="THERMAL_DECLINE",
        severity="warning",
        fires="the clock fell while one benchmark ran, to where only heat or a power limit takes it",
        limit=f"the last third {percent(CLOCK_FALL)} below the first, over {FALL_READINGS} or more readings, and below "
        f"the base clock or at {WARM_C:g} °C; turbo that ends above both is healthy",
        remedy="Clean or improve the cooling; check the power limit.",
        find=thermal_decline,
    ),
    Rule(
        code="THERMAL_HOT",
        severity="warning",
        fires="the processor worked at its limit of temperature",
        limit=f"{HOT_READINGS} readings at {HOT_C:.0f} °C or more; makers' limits are 95 to 105 °C",
        remedy="Clean or improve the cooling.",
        find=thermal_hot,
    ),
    Rule(
        code="CLOCK_UNSYNCED",
        severity="warning",
        fires="nobody keeps the time of day right",
        limit=f"the kernel's clock is undisciplined (adjtimex), or may be wrong by more than {MOST_CLOCK_ERROR_S:g} s",
        remedy="Start chrony or systemd-timesyncd.",
        find=clock_unsynced,
    ),
    Rule(
        code="CLOCKSOURCE_SLOW",
        severity="warning",
        fires="the kernel reads its time from a slow device",
        limit="clocksource hpet, acpi_pm or jiffies; each costs about 1 µs a reading, which every timed system pays",
        remedy="Boot with tsc=reliable where the hardware's counter is invariant; update the firmware.",
        find=clocksource_slow,
    ),
)
