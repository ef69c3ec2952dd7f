"""Made traces of sound and of faulty GPUs through the fake NVML, the real reader and the real rules."""

from __future__ import annotations

import dataclasses

import pytest

import kernels.benches
from kernels.spec import Bench
from qualify import gates
from qualify.records import Measurement
from qualify.registry import load
from tests.qualify import gpu_replay, traces
from tests.qualify.gpu_replay import FAULTY, HEALTHY, SKUS, Trace, evidence

BENCHES: dict[str, Bench] = load(kernels.benches, "BENCH")
CLASSES = {"hopper", "ampere", "ada", "blackwell", "workstation", "consumer", "old", "mig", "passive", "laptop"}


def _name(trace: Trace) -> str:
    return str(trace["name"])


@pytest.mark.parametrize("trace", FAULTY, ids=_name)
def test_a_faulty_gpu_raises_its_code_and_no_other_failure_or_warning(trace: Trace) -> None:
    """The codes a trace names, and nothing graver than a remark besides."""
    found = gates.judge(evidence(trace))

    assert {finding.code for finding in found} >= set(trace["expect"])
    graver = {finding.code for finding in found if finding.severity != "info"}
    assert graver <= {*trace["expect"], *trace.get("also", ())}
    for finding in found:
        if finding.code in trace["expect"]:
            assert finding.text
            assert finding.remedy
            assert finding.evidence


@pytest.mark.parametrize("trace", HEALTHY, ids=_name)
def test_a_sound_gpu_raises_neither_failure_nor_warning(trace: Trace) -> None:
    """Power caps, idle links, absent counters and cards without fans are no faults."""
    found = gates.judge(evidence(trace))

    assert [(finding.code, finding.text) for finding in found if finding.severity != "info"] == []


#: what a trace does not carry of the standard profile, as one H100 on PCIe 5 gives it
LINKED = {
    "hostlink.h2d": 55.2e9,
    "hostlink.d2h": 54.1e9,
    "hostlink.both": 98e9,
    "hostlink.h2d_pageable": 11e9,
    "hostlink.d2h_pageable": 9e9,
    "memory.sweep": 2.9e12,
}
TIMED = {"launch.sync": 9e-6, "launch.sync_p99": 15e-6, "launch.queued": 4e-6, "launch.graph": 1.1e-6,
         "memlatency.l1": 2e-8, "memlatency.l2": 1.4e-7}  # fmt: skip
ALONE = ("peerlink.slowest", "allreduce.busbw", "allreduce.algbw", "allreduce.latency", "allreduce.pair")


def test_a_single_h100_with_published_figures_is_qualified() -> None:
    """Every planned figure, those of several GPUs skipped; at its power limit, over a link that slept before it."""
    (trace,) = [one for one in HEALTHY if one["name"] == "h100 alone in a virtual machine, as published"]
    found = evidence(trace)
    figures = dict(found.measurements)
    figures |= {key: traces.measured(key, value, unit="B/s") for key, value in LINKED.items()}
    figures |= {key: traces.measured(key, value, unit="s") for key, value in TIMED.items()}
    decline = {"burst_flops_per_s": 780e12, "burst_s": 2.0, "lasted_s": 30.0, "gpu": 0}
    figures["stress.sustained"] = traces.measured("stress.sustained", 760e12, unit="FLOP/s")
    figures["stress.decline"] = traces.measured("stress.decline", 0.975, unit="ratio", context=decline)
    for key in ALONE:
        figures[key] = Measurement(
            key=key, unit="", status="skipped", reason="one GPU", context={"error": "unsupported"}
        )
    figures["matmul.fp32_numba"] = traces.measured("matmul.fp32_numba", 34e12, unit="FLOP/s")
    planned = {key for bench in BENCHES.values() if "standard" in bench.seconds for key in bench.keys.get("cuda", ())}
    whole = dataclasses.replace(found, measurements=figures)

    findings = gates.judge(whole)

    assert planned <= set(figures)
    assert [(one.code, one.text) for one in findings if one.severity != "info"] == []
    assert gates.verdict(findings, figures, frozenset(planned))[0] == "qualified"


def test_every_code_about_gpus_is_raised_by_a_trace() -> None:
    """None is without a fault that it finds."""
    codes = {code for code in gates.CODES if code.startswith("GPU_")}

    assert codes == {code for trace in FAULTY for code in trace["expect"]} & codes


def test_there_are_enough_codes_and_traces_of_every_class() -> None:
    """40 codes, 40 faults, 20 sound machines, every class of boards among them, no name twice."""
    assert sum(code.startswith("GPU_") for code in gates.CODES) >= 40
    assert len(FAULTY) >= 40
    assert len(HEALTHY) >= 20
    assert {SKUS[trace["sku"]]["class"] for trace in HEALTHY} == CLASSES
    names = [trace["name"] for trace in (*FAULTY, *HEALTHY)]
    assert len(set(names)) == len(names)


def test_the_replay_shows_what_the_trace_says() -> None:
    """A healthy H100 under load, read back in SI units: the test bed itself is not empty."""
    (trace,) = [one for one in gpu_replay.HEALTHY if one["name"] == "h100 x8 at its power limit"]

    found = evidence(trace)

    assert len(found.node.gpus) == 8
    assert found.telemetry[3].gpus[7].reasons == {"sw_power_cap": 1.0}
    assert found.telemetry[3].gpus[7].busy_ratio == 0.99


def test_a_node_measured_on_its_cpu_is_not_judged_by_its_gpus() -> None:
    """The same broken GPU, beside a CPU that is for rent."""
    found = evidence(FAULTY[0])
    beside = dataclasses.replace(found, node=dataclasses.replace(found.node, device_kind="cpu"), measurements={})

    assert any(finding.code.startswith("GPU_") for finding in gates.judge(found))
    assert not any(finding.code.startswith("GPU_") for finding in gates.judge(beside))
