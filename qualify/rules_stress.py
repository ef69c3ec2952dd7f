"""Rules about sustained load: what is left of the speed, and what took the rest."""

from __future__ import annotations

from collections.abc import Iterator

from qualify.records import Attempt, Json, Measurement
from qualify.reference import is_virtual
from qualify.rule import Evidence, Hit, Rule, percent
from qualify.soak import NONE_TOLD
from qualify.trial import Side, attempts, is_disturbed, number, rule_attempts

KEY = "stress.decline"
#: a power limit costs any GPU some percent as it warms up; more than a tenth is cooling or supply
LEAST_LEFT, TOLD_LEFT = 0.90, 0.97
WORDS = {
    "hw_power_brake": "the machine's power brake",
    "hw_thermal": "its hardware, for heat",
    "sw_thermal": "the driver, for heat",
    "hw_slowdown": "its hardware's slow-down",
    "board_limit": "its board's limit",
    "reliability": "its voltage limit",
    "sw_power_cap": "its power limit",
    "application_clocks": "a clock that was set",
    "sync_boost": "the clock of its group",
    "cgroup_quota": "a limit on CPU time",
    "hypervisor": "the hypervisor, which gave CPU time to others",
    "thermal": "heat: its clock fell",
    "clock": "a clock that fell; heat was not seen",
    NONE_TOLD: "nothing that tells",
}
REMEDIES = {
    "hw_power_brake": "Check power supplies and their redundancy: the server asks its GPUs to save power.",
    "sw_power_cap": "Raise the power limit to the maker's, and cool it better: a warm chip needs more power.",
    "application_clocks": "nvidia-smi -rgc and -rac.",
    "cgroup_quota": "Lift the limit (cpu.max), or claim what it leaves.",
    "hypervisor": "Move the virtual machine to a host that is not oversold, or buy dedicated CPUs.",
    NONE_TOLD: "Look for another load beside this one; measure again when nothing else runs.",
}


def declined(evidence: Evidence) -> Iterator[Hit]:
    """It does not keep its speed, and why."""
    measurement = evidence.measurements.get(KEY)
    if measurement is None or measurement.value is None:
        return
    ruling = rule_attempts(measurement, _side)
    cause, left = measurement.context.get("decline_cause"), measurement.value
    words = WORDS.get(str(cause), "an unknown cause: nobody watched")
    hit = Hit(
        text=f"{_who(evidence, measurement)} kept {percent(left)} of its early speed under full load, held by {words}",
        evidence={
            "left": [attempt.value for attempt in attempts(measurement)],
            "limit": LEAST_LEFT,
            "cause": cause,
            "lasted_s": number(measurement.context, "lasted_s"),
            "temperature_still_after_s": measurement.context.get("temperature_still_after_s"),
        },
        key=KEY,
        remedy=REMEDIES.get(str(cause)),
        ruling=ruling,
        severity="info" if _may_be_others(evidence, cause) else None,
    )
    if ruling.misses or ruling.is_open:
        yield hit
    elif left < TOLD_LEFT and not is_disturbed(measurement):
        yield Hit(text=hit.text, evidence=hit.evidence, key=KEY, severity="info", remedy=hit.remedy)


def _may_be_others(evidence: Evidence, cause: Json) -> bool:
    """A virtual machine's processor is shared with tenants it cannot see: without a cause it is nobody's fault."""
    node = evidence.node
    return node.device_kind == "cpu" and is_virtual(node) and cause in (None, NONE_TOLD)


def _side(attempt: Attempt) -> Side | None:
    if attempt.value is None or is_disturbed(attempt):
        return None
    return "misses" if attempt.value < LEAST_LEFT else "meets"


def _who(evidence: Evidence, measurement: Measurement) -> str:
    if evidence.node.device_kind != "cuda":
        return "the processor"
    seen, worst = measurement.context.get("soak"), number(measurement.context, "gpu")
    one = seen[int(worst)] if isinstance(seen, list) and worst is not None and worst < len(seen) else None
    gpu = one.get("gpu") if isinstance(one, dict) else None
    return "a GPU" if gpu is None else f"GPU {gpu}"


RULES = (
    Rule(
        code="SUSTAINED_DECLINE",
        severity="warning",
        fires="a device does not keep its speed under sustained load; the cause is told with it",
        limit=f"less than {percent(LEAST_LEFT)} of the first seconds' speed in the last half, 2 of 3; told from "
        f"{percent(TOLD_LEFT)} on, and no more than told of a virtual machine's processor when nothing gives a cause",
        remedy="Clean or improve the cooling.",
        find=declined,
    ),
)
