"""Rules about a GPU's power, heat and clocks. A power cap under full load is normal; what the hardware does is not."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from qualify.records import Gpu
from qualify.rule import Evidence, Hit, Rule, percent, si
from qualify.rule_gpu import LEAST_READINGS, each, hit, later, readings, reason_part, settings, span_s

POWER_PART = 0.98  #: of the maker's limit
HARDWARE_PART = 0.01  #: of the time under load; a single sample may be noise (NVIDIA/DCGM issue 242)
SOFTWARE_PART = 0.05
LOCKED_PART = 0.5
MARGIN_C = 3.0
WARM_IDLE_C = 70.0
LOCKED_CLOCK = 0.97  #: of the default, or of what the GPU can: steps of the clock are 15 MHz
SLOW_CLOCK = 0.5  #: of the highest: no load takes a healthy GPU there without a reason being given
APART = 0.90  #: a GPU's clock beside those of its kind under one benchmark; parts differ by some percent (SC22)
#: since the driver was loaded the counters may hold anything: their rise in the run is judged
VIOLATION_PART = 0.02


def power_limit(_: Evidence, gpu: Gpu) -> Hit | None:
    """The owner lowered the power, and with it every figure."""
    limit, default = gpu.power_limit_w, gpu.power_default_w
    if limit is None or not default or limit >= POWER_PART * default:
        return None
    return hit(gpu, f"may use {limit:.0f} W, its maker gives it {default:.0f} W", limit_w=limit, default_w=default)


def clocks_locked(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Somebody fixed the clock below what the GPU does by itself."""
    app, default = settings(gpu).sm_clock_app_hz, settings(gpu).sm_clock_app_default_hz
    if app is not None and default and app < LOCKED_CLOCK * default:
        words = f"has its clock set to {si(app, 'Hz')}, by default it has {si(default, 'Hz')}"
        return hit(gpu, words, clock_hz=app, default_hz=default)
    under_load = readings(evidence, gpu)
    part = reason_part(under_load, "application_clocks")
    clocks = [one.sm_clock_hz for one in under_load if one.sm_clock_hz is not None]
    goal = default or gpu.sm_clock_max_hz
    if not part or part < LOCKED_PART or not clocks or not goal:
        return None
    usual = statistics.median(clocks)
    if usual >= LOCKED_CLOCK * goal:
        return None
    words = f"is held at {si(usual, 'Hz')} by a setting; it can do {si(goal, 'Hz')}"
    return hit(gpu, words, clock_hz=usual, default_hz=goal, part_of_time=part)


def _held(reason: str, limit: float, words: str) -> Callable[[Evidence, Gpu], Hit | None]:
    """A reason of the clock that held for more than `limit` of the samples under load."""

    def tell(evidence: Evidence, gpu: Gpu) -> Hit | None:
        part = reason_part(readings(evidence, gpu), reason)
        if part is None or part <= limit:
            return None
        return hit(gpu, f"{words} for {percent(part)} of its time under load", part_of_time=part, limit=limit)

    return tell


def thermal_margin(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """It works next to the temperature where it slows itself down."""
    limit = settings(gpu).slowdown_c
    margins = []
    for one in readings(evidence, gpu):
        if one.margin_c is not None:
            margins.append(one.margin_c)
        elif limit is not None and one.temperature_c is not None:
            margins.append(limit - one.temperature_c)
    close = [margin for margin in margins if margin < MARGIN_C]
    if len(close) < LEAST_READINGS:
        return None
    words = f"came to {min(close):g} °C from where it slows itself down"
    return hit(gpu, words, margin_c=min(close), limit_c=MARGIN_C, readings=len(close))


def memory_hot(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Its memory is at its own limit."""
    limit = settings(gpu).memory_limit_c
    seen = [one.memory_temperature_c for one in readings(evidence, gpu) if one.memory_temperature_c is not None]
    hot = [degrees for degrees in seen if limit is not None and degrees >= limit]
    if len(hot) < LEAST_READINGS:
        return None
    return hit(gpu, f"has memory of {max(hot):g} °C, its limit is {limit:g} °C", temperature_c=max(hot), limit_c=limit)


def warm_idle(_: Evidence, gpu: Gpu) -> Hit | None:
    """It is hot before anything runs: no air, or somebody's load."""
    if gpu.temperature_c is None or gpu.temperature_c < WARM_IDLE_C:
        return None
    words = f"has {gpu.temperature_c:g} °C before any load"
    return hit(gpu, words, temperature_c=gpu.temperature_c, limit_c=WARM_IDLE_C)


def clock_low(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """It works far below its clock and says no reason."""
    under_load = readings(evidence, gpu)
    silent = [one.sm_clock_hz for one in under_load if one.sm_clock_hz is not None and one.reasons == {}]
    if gpu.sm_clock_max_hz is None or len(silent) < LEAST_READINGS or 2 * len(silent) < len(under_load):
        return None
    usual = statistics.median(silent)
    if usual >= SLOW_CLOCK * gpu.sm_clock_max_hz:
        return None
    words = f"works at {si(usual, 'Hz')} without a reason; it can do {si(gpu.sm_clock_max_hz, 'Hz')}"
    return hit(gpu, words, clock_hz=usual, limit_hz=SLOW_CLOCK * gpu.sm_clock_max_hz)


def violations(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """The driver's own stopwatch of heat and reliability, which misses nothing between two samples."""
    every, seconds = readings(evidence, gpu, busy=False), span_s(evidence)
    if len(every) < LEAST_READINGS or seconds <= 0:
        return None
    first, last = every[0].violations_s, every[-1].violations_s
    held = {
        name: max(0.0, last[name] - first[name]) / seconds
        for name in ("thermal", "reliability")
        if name in first and name in last
    }
    worst = max(held, key=lambda name: held[name], default="")
    if not held or held[worst] <= VIOLATION_PART:
        return None
    words = f"was slowed by its {worst} limit for {percent(held[worst])} of the run"
    return hit(gpu, words, policy=worst, part_of_time=held[worst], limit=VIOLATION_PART)


def clock_apart(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """Under one benchmark it is slower than the others of its kind."""
    benches = {taken.running for taken in evidence.telemetry if taken.running}
    for bench in sorted(benches):
        clocks: dict[int, list[float]] = {}
        for taken in evidence.telemetry:
            for one in taken.gpus:
                if taken.running == bench and one.sm_clock_hz and (one.busy_ratio or 0.0) >= LOCKED_PART:
                    clocks.setdefault(one.index, []).append(one.sm_clock_hz)
        alike = {other.index for other in evidence.node.gpus if other.name == gpu.name}
        usual = {i: statistics.median(c) for i, c in clocks.items() if i in alike and len(c) >= LEAST_READINGS}
        if gpu.index not in usual or len(usual) < 2:
            continue
        best = max(usual.values())
        if usual[gpu.index] < APART * best:
            words = f"ran {bench} at {si(usual[gpu.index], 'Hz')}, another of its kind at {si(best, 'Hz')}"
            return hit(gpu, words, clock_hz=usual[gpu.index], best_hz=best, limit=APART)
    return None


def power_changed(evidence: Evidence, gpu: Gpu) -> Hit | None:
    """The limit of power was changed while we measured."""
    after = later(evidence, gpu).power_limit_w
    if gpu.power_limit_w is None or after is None or after == gpu.power_limit_w:
        return None
    words = f"had its power limit changed during the run, from {gpu.power_limit_w:.0f} to {after:.0f} W"
    return hit(gpu, words, before_w=gpu.power_limit_w, after_w=after)


_TIME = f"more than {percent(HARDWARE_PART)} of the samples under load; one alone may be noise"
RULES = (
    Rule(
        code="GPU_POWER_LIMIT",
        severity="warning",
        fires="a GPU's power limit is below its maker's",
        limit=f"below {percent(POWER_PART)} of the default",
        remedy="nvidia-smi -pl with the default, or claim the lower figures.",
        find=each(power_limit),
    ),
    Rule(
        code="GPU_POWER_CHANGED",
        severity="warning",
        fires="a GPU's power limit was changed while it was measured",
        limit="any difference between before and after",
        remedy="Stop what changes it, and measure again.",
        find=each(power_changed),
    ),
    Rule(
        code="GPU_CLOCKS_LOCKED",
        severity="warning",
        fires="a GPU's clock is fixed below what it does by itself",
        limit=f"application clocks below {percent(LOCKED_CLOCK)} of the default, or clocks so low that a setting held "
        f"for {percent(LOCKED_PART)} of the time under load",
        remedy="nvidia-smi -rgc and -rac.",
        find=each(clocks_locked),
    ),
    Rule(
        code="GPU_HW_SLOWDOWN",
        severity="failure",
        fires="a GPU's hardware halved its clock to protect itself",
        limit=_TIME,
        remedy="Check airflow, heat sink and power supply.",
        find=each(_held("hw_slowdown", HARDWARE_PART, "slowed itself down")),
    ),
    Rule(
        code="GPU_HW_THERMAL",
        severity="failure",
        fires="a GPU's hardware slowed down for heat",
        limit=_TIME,
        remedy="Clean or improve the cooling; a passive card needs the server's fans.",
        find=each(_held("hw_thermal", HARDWARE_PART, "was slowed by its hardware for heat")),
    ),
    Rule(
        code="GPU_POWER_BRAKE",
        severity="failure",
        fires="the machine pulled a GPU's power brake",
        limit=_TIME,
        remedy="Check power supplies and their redundancy: the server asks its GPUs to save power.",
        find=each(_held("hw_power_brake", HARDWARE_PART, "was braked by the machine's power supply")),
    ),
    Rule(
        code="GPU_SW_THERMAL",
        severity="warning",
        fires="the driver slowed a GPU for heat",
        limit=f"more than {percent(SOFTWARE_PART)} of the samples under load",
        remedy="Clean or improve the cooling.",
        find=each(_held("sw_thermal", SOFTWARE_PART, "was slowed by the driver for heat")),
    ),
    Rule(
        code="GPU_BOARD_LIMIT",
        severity="warning",
        fires="a limit of the board, not of the chip, held the clock down",
        limit=f"more than {percent(SOFTWARE_PART)} of the samples under load",
        remedy="Check the power cables: each socket wants its own.",
        find=each(_held("board_limit", SOFTWARE_PART, "was held by its board's limit")),
    ),
    Rule(
        code="GPU_RELIABILITY_LIMIT",
        severity="warning",
        fires="the voltage that is safe for the chip held the clock down",
        limit=f"more than {percent(SOFTWARE_PART)} of the samples under load",
        remedy="Undo overclocking and changes of voltage.",
        find=each(_held("reliability", SOFTWARE_PART, "was held by its voltage limit")),
    ),
    Rule(
        code="GPU_SYNC_BOOST",
        severity="info",
        fires="a GPU's clock follows the slowest of a group",
        limit=f"more than {percent(SOFTWARE_PART)} of the samples under load",
        remedy="Nothing to mend; dissolve the group to let each GPU have its own clock.",
        find=each(_held("sync_boost", SOFTWARE_PART, "was held to the clock of its group")),
    ),
    Rule(
        code="GPU_THERMAL_MARGIN",
        severity="warning",
        fires="a GPU works next to the temperature where it slows itself down",
        limit=f"less than {MARGIN_C:g} °C away in {LEAST_READINGS} or more readings under load",
        remedy="Clean or improve the cooling; a warm day will slow it.",
        find=each(thermal_margin),
    ),
    Rule(
        code="GPU_MEMORY_HOT",
        severity="warning",
        fires="a GPU's memory is at its limit of temperature",
        limit=f"the board's own limit, in {LEAST_READINGS} or more readings under load",
        remedy="Improve the cooling; renew the pads between memory and heat sink.",
        find=each(memory_hot),
    ),
    Rule(
        code="GPU_WARM_IDLE",
        severity="warning",
        fires="a GPU is hot before anything runs",
        limit=f"{WARM_IDLE_C:g} °C before the first benchmark",
        remedy="Check fans and airflow, and whether somebody else uses it.",
        find=each(warm_idle),
    ),
    Rule(
        code="GPU_CLOCK_LOW",
        severity="warning",
        fires="a GPU works far below its clock and gives no reason",
        limit=f"a median below {percent(SLOW_CLOCK)} of its highest clock under load",
        remedy="Reload the driver; look for a virtual machine that shares the GPU.",
        find=each(clock_low),
    ),
    Rule(
        code="GPU_VIOLATION_TIME",
        severity="warning",
        fires="heat or voltage held a GPU's clock down, by the driver's own stopwatch",
        limit=f"more than {percent(VIOLATION_PART)} of the run",
        remedy="Clean or improve the cooling; undo overclocking.",
        find=each(violations),
    ),
    Rule(
        code="GPU_CLOCKS_APART",
        severity="warning",
        fires="a GPU is slower than the others of its kind in the node",
        limit=f"its median clock below {percent(APART)} of the best under the same benchmark",
        remedy="Compare temperature, power limit and slot of the two.",
        find=each(clock_apart),
    ),
)
