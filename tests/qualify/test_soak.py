"""Sustained load beside telemetry: when the temperature stood still, and the cause of a decline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from qualify import gates
from qualify.gpu_records import GpuReading
from qualify.records import Finding, Gpu, Json, Measurement, Telemetry
from qualify.soak import with_soak
from tests.qualify import traces
from tests.qualify.traces import evidence

ORIGIN_S, BEGAN_S, LASTED_S = 1000.0, 1010.0, 60.0  #: on the machine's clock
ADDRESSES = ("0000:0a:00.0", "0000:1b:00.0")
GPUS = traces.node(
    device_kind="cuda",
    gpus=tuple(Gpu(index=index, name="NVIDIA L4", pci_address=address) for index, address in enumerate(ADDRESSES)),
)
TIMES: dict[str, Json] = {"started_mono_s": BEGAN_S, "lasted_s": LASTED_S}


def warming(at_s: float) -> float:
    """From 40 to 80 degrees with a time constant of 5 s: within 2 of the last after 5 ln 20 = 15 s."""
    return 80.0 - 40.0 * math.exp(-max(0.0, at_s) / 5.0)


def readings(take: Callable[[float], Telemetry]) -> list[Telemetry]:
    """Four a second from 5 s before the load to 5 s after it; `take` is told the seconds since the load began."""
    places = range(-20, round(4 * LASTED_S) + 20)
    return [dataclasses.replace(take(n / 4), at_s=BEGAN_S - ORIGIN_S + n / 4) for n in places]


def gpu(index: int, reasons: dict[str, float] | None = None, temperature_c: float | None = None) -> GpuReading:
    return GpuReading(index=index, n=6, reasons=reasons, temperature_c=temperature_c)


def decline(value: float = 0.85, **context: Json) -> Measurement:
    return Measurement(key="stress.decline", unit="ratio", status="ok", value=value, context={**TIMES, **context})


def watched(measurement: Measurement, telemetry: list[Telemetry], node: Any = GPUS) -> dict[str, Any]:
    found = with_soak({measurement.key: measurement}, telemetry, node=node, origin_s=ORIGIN_S)
    return dict(found[measurement.key].context)


def test_the_temperature_stands_still_when_it_stays_near_its_last() -> None:
    """15 s after the load began, whatever it was before."""
    found = watched(decline(), readings(lambda at_s: Telemetry(at_s=0, gpus=(gpu(0, {}, warming(at_s)), gpu(1)))))

    first, second = found["soak"]
    assert first["temperature_still_after_s"] == pytest.approx(5 * math.log(20), abs=0.25)
    assert first["temperature_start_c"] == pytest.approx(40.0)
    assert first["temperature_steady_c"] == pytest.approx(80.0, abs=0.01)
    assert second["temperature_steady_c"] is None
    assert found["temperature_still_after_s"] is None  # of one GPU it is not known


@pytest.mark.parametrize(
    ("temperature", "after_s"),
    [
        (lambda at_s: 71.0, 0.0),
        (lambda at_s: 40.0 + at_s, None),  # it rises to the end
        (lambda at_s: 60.0 if at_s < 30 else 70.0, 30.0),
        (lambda at_s: 90.0 if 50 < at_s < 52 else 70.0, None),  # still moving in the last quarter
    ],
    ids=["steady", "rising", "a step", "restless"],
)
def test_a_temperature_that_does_not_settle_has_no_time(
    temperature: Callable[[float], float], after_s: float | None
) -> None:
    """It must have come to rest before the last quarter."""
    one = dataclasses.replace(GPUS, gpus=GPUS.gpus[:1])
    found = watched(
        decline(), readings(lambda at_s: Telemetry(at_s=0, gpus=(gpu(0, {}, temperature(at_s)),))), node=one
    )

    assert found["temperature_still_after_s"] == after_s


@pytest.mark.parametrize(
    ("reasons", "cause"),
    [
        ({"sw_power_cap": 1.0}, "sw_power_cap"),
        ({"sw_power_cap": 1.0, "sw_thermal": 0.5}, "sw_thermal"),
        ({"sw_power_cap": 1.0, "hw_slowdown": 1.0, "hw_thermal": 0.2}, "hw_thermal"),
        ({"sw_power_cap": 1.0, "hw_slowdown": 0.2, "hw_power_brake": 0.2}, "hw_power_brake"),
        ({"sw_power_cap": 0.04}, "none_told"),
        ({"idle": 1.0}, "none_told"),
        ({}, "none_told"),
        (None, None),
    ],
    ids=str,
)
def test_the_gravest_reason_is_the_cause(reasons: dict[str, float] | None, cause: str | None) -> None:
    """Several bits at once are the rule; nothing read is not nothing found."""
    found = watched(
        decline(gpu=1), readings(lambda at_s: Telemetry(at_s=0, gpus=(gpu(0, {"hw_thermal": 1.0}), gpu(1, reasons))))
    )

    assert found["decline_cause"] == cause


def test_only_the_late_half_of_the_load_counts() -> None:
    """A power cap of the first seconds, and heat after the load, explain no decline."""

    def take(at_s: float) -> Telemetry:
        reason = "sw_power_cap" if at_s < 25 else "hw_thermal"
        return Telemetry(at_s=0, gpus=(gpu(0, {} if 25 <= at_s <= LASTED_S else {reason: 1.0}),))

    assert watched(decline(gpu=0), readings(take))["decline_cause"] == "none_told"


def test_gpus_are_found_by_their_address() -> None:
    """CUDA's first is NVML's second; the address stands beside the other of the two figures."""
    sustained = dataclasses.replace(
        decline(), key="stress.sustained", context={**TIMES, "gpu_addresses": [*reversed(ADDRESSES)]}
    )
    telemetry = readings(lambda at_s: Telemetry(at_s=0, gpus=(gpu(0, {}), gpu(1, {"sw_power_cap": 1.0}))))
    both = {m.key: m for m in (sustained, decline(gpu=0))}

    found = with_soak(both, telemetry, node=GPUS, origin_s=ORIGIN_S)
    soak: Any = found["stress.decline"].context["soak"]

    assert [one["gpu"] for one in soak] == [1, 0]
    assert found["stress.decline"].context["decline_cause"] == "sw_power_cap"
    assert found["stress.sustained"].context["decline_cause"] == "sw_power_cap"

    again = with_soak(
        {"stress.decline": decline(gpu=0)}, telemetry, node=GPUS, origin_s=ORIGIN_S, earlier={sustained.key: sustained}
    )
    assert again["stress.decline"].context == found["stress.decline"].context


@pytest.mark.parametrize(
    ("take", "cause"),
    [
        (lambda at_s: {"throttled_ratio": 0.2 if at_s > 40 else 0.0}, "cgroup_quota"),
        (lambda at_s: {"steal_ratio": 0.2 if at_s > 20 else 0.0}, "hypervisor"),
        (lambda at_s: {"clock_hz": 3.5e9 if at_s < 10 else 2.8e9, "temperature_c": 94.0}, "thermal"),
        (lambda at_s: {"clock_hz": 3.5e9 if at_s < 10 else 2.8e9, "temperature_c": 61.0}, "clock"),
        (lambda at_s: {"clock_hz": 3.5e9 if at_s < 10 else 2.8e9}, "clock"),
        (lambda at_s: {"clock_hz": 3.5e9}, "none_told"),
        (lambda at_s: {}, "none_told"),
    ],
)
def test_a_processor_is_told_by_what_the_kernel_counts(take: Callable[[float], dict[str, Any]], cause: str) -> None:
    """Quota, hypervisor, heat, a clock that fell; a machine without sensors has fewer of them."""
    found = watched(decline(), readings(lambda at_s: Telemetry(at_s=0, **take(at_s))), node=traces.node())

    assert found["decline_cause"] == cause


def test_a_processor_has_its_temperature_too() -> None:
    """One record, without a number."""
    found = watched(
        decline(), readings(lambda at_s: Telemetry(at_s=0, temperature_c=warming(at_s))), node=traces.node()
    )

    assert found["soak"][0]["gpu"] is None
    assert found["temperature_still_after_s"] == pytest.approx(15.0, abs=0.25)


def test_without_a_beginning_nothing_is_added() -> None:
    """An older benchmark; other figures are left alone, and what was added once is not added twice."""
    old = dataclasses.replace(decline(), context={"lasted_s": 60.0})
    telemetry = readings(lambda at_s: Telemetry(at_s=0, gpus=(gpu(0, {}),)))
    other = traces.measured("memory.triad")
    once = with_soak({"stress.decline": decline()}, telemetry, node=GPUS, origin_s=ORIGIN_S)

    assert with_soak({"stress.decline": old, other.key: other}, telemetry, node=GPUS, origin_s=ORIGIN_S) == {
        "stress.decline": old,
        other.key: other,
    }
    assert with_soak(once, [], node=GPUS, origin_s=ORIGIN_S) == once


def _findings(measurement: Measurement, node: Any = GPUS) -> list[Finding]:
    judged = dataclasses.replace(evidence(node=node, telemetry=()), measurements={measurement.key: measurement})
    return [finding for finding in gates.judge(judged) if finding.code == "SUSTAINED_DECLINE"]


@pytest.mark.parametrize(
    ("value", "severity"), [(0.99, None), (0.975, None), (0.95, "info"), (0.91, "info"), (0.85, "warning")]
)
def test_a_decline_is_told_with_its_cause(value: float, severity: str | None) -> None:
    """Some percent are a power limit's normal work; more than a tenth twice is a warning."""
    told = decline(value, gpu=1, decline_cause="sw_power_cap", soak=[{"gpu": 0}, {"gpu": 1}])
    found = _findings(traces.tried(told, value))

    assert [finding.severity for finding in found] == ([severity] if severity else [])
    for finding in found:
        assert finding.text.startswith("GPU 1 kept ")
        assert finding.text.endswith("under full load, held by its power limit")
        assert "power limit" in finding.remedy


def test_a_decline_beside_another_tenant_says_nothing() -> None:
    """The processor was not alone: other rules tell of that."""
    disturbed = decline(0.7, cpu_share=0.4, threads=2, decline_cause="none_told")

    assert _findings(traces.tried(disturbed, 0.7, 0.7), traces.node()) == []


def test_a_decline_that_nobody_watched_says_so() -> None:
    """No telemetry: the cause is unknown, not absent."""
    (finding,) = _findings(traces.tried(decline(0.8), 0.8), traces.node())

    assert finding.text.startswith("the processor kept 80 % of its early speed under full load")
    assert finding.text.endswith("held by an unknown cause: nobody watched")


@pytest.mark.parametrize(("cause", "severity"), [("none_told", "info"), ("thermal", "warning")])
def test_a_virtual_machine_is_not_blamed_for_its_neighbours(cause: str, severity: str) -> None:
    """Half of the speed lost and nothing tells why: other tenants may have it; heat is the machine's own."""
    lost = traces.tried(decline(0.5, decline_cause=cause), 0.5)

    assert [finding.severity for finding in _findings(lost, traces.node(hypervisor="kvm"))] == [severity]
    assert [finding.severity for finding in _findings(lost, traces.node())] == ["warning"]
